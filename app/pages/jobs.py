"""The Tune room: queue and history, the form of a new job, a job's page and what can be done with it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from app.domain import search as searches
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.order import PRIORITIES
from app.domain.search import Search
from app.domain.tuning import chosen_prompt
from app.doors import Person
from app.errors import FettleError, Invalid
from app.pages import estimate_words, job_charts, job_events, job_form, job_many, job_samples, job_view, job_words, queue_board, search_form
from app.pages.forms import prompt_choices, typed, whole
from app.pages.job_view import job_context
from app.pages.render import fragment, is_fragment, page, seen
from app.services import curves, datasets, estimates, fits, jobs, models
from app.services.estimates import Estimate
from app.services.fits import Question

router = APIRouter(prefix="/jobs")
router.include_router(job_events.router)

MAX_LENGTH = MethodParameters.model_fields["max_length"].default

SEED = (0, 2**31 - 1)
REFUSALS = {"unknown_variable": "prompt_version", "not_a_foundation_model": "model", "no_train_split": "dataset", "unknown_method": "method"}
"""The form's field at which an error of the service is shown."""
DRAWN = ("model", "dataset", "prompt_version", "priority", "seed", "search_how", "search_space", "search_trials", "search_factor", *job_many.FIELDS)
"""Fields of every form, besides the parameters of the method and of its search."""


@router.get("")
def index(request: Request, person: Person, after: int | None = None, state: str | None = None) -> HTMLResponse:
    """What runs and waits, who works on it, and what is over. The page asks again for its tables only."""
    context = queue_board.tables(person, after, state)
    if is_fragment(request):
        return fragment("jobs/_tables.html", **context)
    return page(request, "jobs/index.html", person, "tune", **context)


@router.get("/new")
def new(request: Request, person: Person, like: int | None = None) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server. `like` starts from another job's settings, with what the address changes of them."""
    values: dict[str, str] = {}
    if like is not None:
        job = jobs.find(person, like).job
        chosen, values = job.settings, {"priority": str(job.priority)}
        values |= {name: str(chosen[name]) for name in ("model", "dataset", "method", "seed") if name in chosen} | {"prompt_version": chosen_prompt(chosen)}
        values |= {name: job_form.plain(value) for name, value in chosen.get("parameters", {}).items() if value is not None}
        values |= search_form.typed(chosen["search"]) if "search" in chosen else {}
    return _form(request, person, values | dict(request.query_params))


@router.get("/fit")
async def fit(
    person: Person, dataset: str, model: str, prompt_version: str = "", max_length: Annotated[int, Query(ge=8, le=131_072)] = MAX_LENGTH
) -> HTMLResponse:
    """How the train rows fit, counted by the engine process; why not, where it cannot be said."""

    def ask() -> Question:
        answer = "likelihood" if len(datasets.find(person, dataset).version.label_texts()) > 1 else "generate"
        prompt = prompt_version or None
        return fits.start(person, model=model, dataset=dataset, prompt_version=prompt, answer=answer, split="train", max_length=max_length)

    try:
        found = await fits.fit(await to_thread.run_sync(ask))
    except FettleError as error:
        return fragment("jobs/_fit.html", fit=None, error=error.as_dict())
    return fragment("jobs/_fit.html", fit=found, error=None)


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    bases, views = models.foundation(person), datasets.recent(person)[0]
    views = [view for view in views if view.version.splits.get("train")]
    chosen = next((view for view in views if values.get("dataset") in (str(view.dataset.id), view.version.reference)), views[0] if views else None)
    method, base = job_form.chosen_method(values), values.get("model") or (str(bases[0].id) if bases else "")
    estimate = found = None
    several: list[dict[str, str]] = []
    try:
        several = job_many.jobs_of(values, METHODS[method])
        given, wanted = job_form.given_parameters(values), search_form.given(values, method)
        if chosen and base:
            asked = values.get("prompt_version") or None
            found = estimates.tune(person, model=base, dataset=chosen.version.reference, method=method, parameters=given, prompt_version=asked, search=wanted)
            estimate = _estimate(parse(METHODS, method, given), searches.parse(wanted), chosen.version, found)
        else:
            parse(METHODS, method, given)
    except FettleError as refused:
        error = error or refused
    fields, space = job_form.parameter_fields(values, found.rate if found else None), search_form.fields(values, method)
    drawn = {*DRAWN, *(field.name for field in fields), *(field.name for field in space)}
    context: dict[str, Any] = {
        "values": values,
        "models": bases,
        "datasets": views,
        "dataset": chosen,
        "prompts": prompt_choices(person, values.get("prompt_version", "")),
        "methods": METHODS,
        "method": METHODS[method],
        "fields": fields,
        "estimate": estimate,
        "warning": estimate_words.warning(found) if found else "",
        "suggestion": found.suggestion if found else None,
        "search_how": search_form.how(values),
        "hows": search_form.HOWS,
        "space": space,
        "many": several,
        "many_choices": job_many.choices(METHODS[method]),
        "error": error.as_dict() if error else None,
        "refused": {} if error is None else {_field_of(error, drawn): _at_field(error)},
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
    return f"{said.rstrip('.')}." if error.code == "bad_parameter" else f"{said} {error.advice}"


def _field_of(error: FettleError, drawn: Collection[str]) -> str:
    """Where an error is shown: at its field, or above the form (empty) when that is not drawn, so that no reason is ever left out."""
    name = str(error.detail.get("field") or REFUSALS.get(error.code, "")).replace(".", "_")
    return name if name in drawn else ""


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue the job, or one for each of several values. A refused value comes back in the form, at its field."""
    several: list[dict[str, str]] = []
    try:
        several = job_many.jobs_of(values, METHODS[job_form.chosen_method(values)])
        wanted = [_wanted({**values, **one}) for one in several or [{}]]
        started = jobs.start_many(person, wanted)
    except Invalid as error:
        if several:
            error.detail["field"] = error.detail["field"] if error.detail.get("field") in job_many.FIELDS else job_many.FIELDS[0]
        return _form(request, person, values, error)
    return seen("/jobs" if len(started) > 1 else f"/jobs/{started[0].id}")


def _wanted(values: Mapping[str, str]) -> dict[str, Any]:
    """What the form asks for, as the service takes it. Raises Invalid."""
    method = job_form.chosen_method(values)
    return {
        "model": values.get("model", ""),
        "dataset": values.get("dataset", ""),
        "method": method,
        "parameters": job_form.given_parameters(values),
        "prompt_version": values.get("prompt_version") or None,
        "seed": whole(values.get("seed") or "0", "seed", *SEED),
        "priority": whole(values.get("priority") or "0", "priority", *PRIORITIES),
        "search": search_form.given(values, method),
        "cloned_from": int(values["like"]) if values.get("like", "").isdigit() else None,
    }


@router.get("/{key}")
def show(request: Request, person: Person, key: int, beside: Annotated[list[int] | None, Query(alias="with")] = None, step: int | None = None) -> HTMLResponse:
    """Everything about a job, from the database; the stream goes on where this ends. `with` are jobs drawn beside it, `step` is one whose samples are asked for."""
    opening = curves.opening(person, key)
    context: dict[str, Any] = job_context(person, key)
    tuning, view = context["tuning"], context["view"]
    others = curves.beside(person, beside or [], key) if tuning and not tuning.search.has_trials else []
    context |= {
        "lines": opening.lines,
        "after": opening.job.event,
        "asked": step,
        "drawn": job_charts.charts(view.job, tuning, opening.points, others) if tuning else {},
        "taken": job_charts.taken(view.job, opening.points),
        "beside": job_view.beside(view, tuning, others),
        "offered": [job for job in curves.comparable(person, view.job) if job.id not in {one.job.id for one in others}] if tuning else [],
        "room": len(others) < curves.BESIDE and not (tuning and tuning.search.has_trials),
    }
    context["samples"] = job_samples.table(person, tuning, key, step)
    return page(request, "jobs/show.html", person, "tune", **context)


@router.get("/{key}/still")
def still(person: Person, key: int, event: int) -> Response:
    """Asked now and then by the page of a job that is over, which no stream follows: once something happened to the job, as a retry, it loads itself anew."""
    return Response(status_code=204, headers={} if jobs.find(person, key).job.event == event else {"HX-Refresh": "true"})


@router.get("/{key}/log")
def log(person: Person, key: int, text: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """The lines that hold a text; nothing for no text, so that the live log shows again."""
    job, lines = curves.log(person, key, text) if text.strip() else (None, [])
    return fragment("jobs/_found.html", job=job, lines=lines, text=text.strip(), most=500, offset=job_words.offset)


@router.get("/{key}/log.txt")
def log_file(person: Person, key: int) -> StreamingResponse:
    return _file(curves.log_file(person, key), "text/plain", f"job-{key}.log")


@router.get("/{key}/metrics.csv")
def csv_file(person: Person, key: int) -> StreamingResponse:
    """Every point of the job's curves, not only those that are drawn."""
    return _file(curves.csv_file(person, key), "text/csv", f"job-{key}.csv")


@router.get("/{key}/resources.csv")
def resources_file(person: Person, key: int) -> StreamingResponse:
    return _file(curves.csv_file(person, key, resources=True), "text/csv", f"job-{key}-resources.csv")


def _file(rows: Iterator[str], kind: str, name: str) -> StreamingResponse:
    return StreamingResponse(rows, media_type=f"{kind}; charset=utf-8", headers={"content-disposition": f'attachment; filename="{name}"'})


@router.post("/{key}/cancel")
def cancel(person: Person, key: int) -> Response:
    jobs.cancel(person, key)
    return seen(f"/jobs/{key}")


@router.post("/{key}/retry")
def retry(person: Person, key: int) -> Response:
    jobs.retry(person, key)
    return seen(f"/jobs/{key}")


@router.post("/{key}/finish")
def finish(person: Person, key: int) -> Response:
    jobs.finish(person, key)
    return seen(f"/jobs/{key}")


@router.post("/{key}/clone")
def clone(person: Person, key: int, changes: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """The same work again as a new job, with the parameters that the form names changed."""
    return seen(f"/jobs/{jobs.clone(person, key, changes).id}")
