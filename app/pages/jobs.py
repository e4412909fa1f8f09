"""The Tune room: queue and history, the form of a new job, a job's page and what can be done with it."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from app.domain import search as searches
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import FINAL
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.search import Search
from app.domain.tuning import chosen_prompt
from app.doors import Person
from app.errors import FettleError, Invalid
from app.pages import estimate_words, job_events, job_form, job_samples, search_form
from app.pages.forms import prompt_choices, typed, whole
from app.pages.job_view import job_context
from app.pages.render import fragment, is_fragment, page, seen
from app.services import datasets, estimates, jobs, models
from app.services.estimates import Estimate

router = APIRouter(prefix="/jobs")
router.include_router(job_events.router)

SEED = (0, 2**31 - 1)
REFUSALS = {"unknown_variable": "prompt_version", "not_a_foundation_model": "model", "no_train_split": "dataset", "unknown_method": "method"}
"""The form's field at which an error of the service is shown."""


@router.get("")
def index(request: Request, person: Person, after: int | None = None, state: str | None = None) -> HTMLResponse:
    """What runs and waits, and what is over. The page asks again for its tables only."""
    over = (state,) if state in FINAL else FINAL
    active = jobs.active(person) if after is None and state not in FINAL else []
    history, following = jobs.recent(person, after, states=over)
    context: dict[str, Any] = {
        "active": active,
        "history": history,
        "following": following,
        "paged": after is not None,
        "state": state if state in FINAL else None,
    }
    if is_fragment(request):
        return fragment("jobs/_tables.html", **context)
    return page(request, "jobs/index.html", person, "tune", **context)


@router.get("/new")
def new(request: Request, person: Person, like: int | None = None) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server. `like` starts from another job's settings, with what the address changes of them."""
    values: dict[str, str] = {}
    if like is not None:
        chosen = jobs.find(person, like).job.settings
        values |= {name: str(chosen[name]) for name in ("model", "dataset", "method", "seed") if name in chosen} | {"prompt_version": chosen_prompt(chosen)}
        values |= {name: job_form.plain(value) for name, value in chosen.get("parameters", {}).items() if value is not None}
        values |= search_form.typed(chosen["search"]) if "search" in chosen else {}
    return _form(request, person, values | dict(request.query_params))


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    bases, views = models.foundation(person), datasets.recent(person)[0]
    views = [view for view in views if view.version.splits.get("train")]
    chosen = next((view for view in views if values.get("dataset") in (str(view.dataset.id), view.version.reference)), views[0] if views else None)
    method, base = job_form.chosen_method(values), values.get("model") or (str(bases[0].id) if bases else "")
    estimate = found = None
    try:
        given, wanted = job_form.given_parameters(values), search_form.given(values, method)
        if chosen and base:
            asked = values.get("prompt_version") or None
            found = estimates.tune(person, model=base, dataset=chosen.version.reference, method=method, parameters=given, prompt_version=asked, search=wanted)
            estimate = _estimate(parse(METHODS, method, given), searches.parse(wanted), chosen.version, found)
        else:
            parse(METHODS, method, given)
    except FettleError as refused:
        error = error or refused
    context: dict[str, Any] = {
        "values": values,
        "models": bases,
        "datasets": views,
        "dataset": chosen,
        "prompts": prompt_choices(person, values.get("prompt_version", "")),
        "methods": METHODS,
        "method": METHODS[method],
        "fields": job_form.parameter_fields(values, found.rate if found else None),
        "estimate": estimate,
        "warning": estimate_words.warning(found) if found else "",
        "suggestion": found.suggestion if found else None,
        "search_how": search_form.how(values),
        "hows": search_form.HOWS,
        "space": search_form.fields(values, method),
        "error": error.as_dict() if error else None,
        "refused": {} if error is None else {_field_of(error): _at_field(error)},
    }
    if is_fragment(request):
        return fragment("jobs/_form.html", **context)
    return page(request, "jobs/new.html", person, "tune", error.status if error and request.method == "POST" else 200, **context)


def _estimate(parameters: MethodParameters, search: Search, version: DatasetVersion, found: Estimate) -> str:
    """What the job amounts to: the steps of a run, those of the search, parameters and memory."""
    searched = search_form.estimate(search, parameters, version.splits.get("train", 0))
    return " ".join(part for part in (estimate_words.run(parameters, version), searched, estimate_words.cost(found)) if part)


def _at_field(error: FettleError) -> str:
    """An error as it stands at its field, which need not be named there."""
    said = error.message.removeprefix(f"{error.detail.get('field')}: ").replace("Input should", "It should", 1)
    return f"{said}." if error.code == "bad_parameter" else f"{said} {error.advice}"


def _field_of(error: FettleError) -> str:
    return str(error.detail.get("field") or REFUSALS.get(error.code, "")).replace(".", "_")


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue the job. A refused value comes back in the form, at its field."""
    try:
        view = jobs.start_tune(
            person,
            model=values.get("model", ""),
            dataset=values.get("dataset", ""),
            method=job_form.chosen_method(values),
            parameters=job_form.given_parameters(values),
            prompt_version=values.get("prompt_version") or None,
            seed=whole(values.get("seed") or "0", "seed", *SEED),
            search=search_form.given(values, job_form.chosen_method(values)),
        )
    except Invalid as error:
        return _form(request, person, values, error)
    return seen(f"/jobs/{view.job.id}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int) -> HTMLResponse:
    """Everything about a job, from the database; the stream goes on where this ends."""
    news = jobs.news(person, key, 0)
    context: dict[str, Any] = job_context(person, key) | {"lines": news.lines, "after": news.job.event, "points": news.points}
    context["samples"] = job_samples.table(person, context["tuning"], key)
    return page(request, "jobs/show.html", person, "tune", **context)


@router.post("/{key}/cancel")
def cancel(person: Person, key: int) -> Response:
    jobs.cancel(person, key)
    return seen(f"/jobs/{key}")


@router.post("/{key}/retry")
def retry(person: Person, key: int) -> Response:
    jobs.retry(person, key)
    return seen(f"/jobs/{key}")


@router.post("/{key}/clone")
def clone(person: Person, key: int, changes: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """The same work again as a new job, with the parameters that the form names changed."""
    return seen(f"/jobs/{jobs.clone(person, key, changes).id}")
