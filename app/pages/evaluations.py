"""Evaluations: the list, the form of a new one, the figures of one, and its rows behind the seal of their split."""

from collections.abc import Mapping
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.fitting import POLICIES, said
from app.domain.scheme import METRICS, Scheme
from app.domain.scoring.check_lines import read_checks, read_fields, write_checks, write_fields
from app.doors import Person
from app.errors import Conflict, FettleError, Invalid, Sealed
from app.pages import evaluation_view, reliability_words
from app.pages.forms import number, one_of, prompt_choices, typed, whole
from app.pages.paging import from_start, pager
from app.pages.render import fragment, is_fragment, page, seen
from app.services import datasets, evaluations, fits, jobs, judgements, models, predictions, prompts, reliability
from app.services.evaluations import ANSWERS, EvaluationView
from app.services.fits import Question
from app.services.predictions import ONLY, Filter, Only

router = APIRouter(prefix="/evaluations")

ROWS = 50
SCORINGS = (("raw", "as they are"), ("normalised", "by token"), ("calibrated", "calibrated"))
EXTRACTORS = (("auto", "the usual"), ("exact", "all of it"), ("first_line", "the first line"), ("regex", "by a pattern"), ("json_field", "a JSON field"))
SHAPES = (("auto", "seen from the rows"), ("labels", "labels"), ("text", "text"), ("json", "JSON"), ("number", "a number"))
REFUSALS = {
    "no_such_split": "split", "no_label_set": "answer", "unknown_variable": "prompt_version", "no_prompt": "prompt_version", "no_likelihood": "answer",
    "not_weighed": "scoring", "not_one_calibration": "scoring", "no_token_counts": "scoring", "nothing_written": "extractor",
}  # fmt: skip
"""The form's field at which an error of the service is shown."""


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    views, following = evaluations.recent(person, after)
    named = [(view, evaluations.named(person, view.evaluation)) for view in views]
    return page(request, "evaluations/index.html", person, "compare", views=named, following=following, paged=after is not None)


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server. `like` starts from another evaluation's job, with what the address changes."""
    values = dict(request.query_params)
    return _form(request, person, (_like(person, int(values["like"])) if values.get("like", "").isdecimal() else {}) | values)


def _like(person: Who, key: int) -> dict[str, str]:
    """What was typed for the evaluation of a job. Raises Invalid where it cannot be asked for again."""
    evaluation, job = evaluations.of_job(person, key), jobs.find(person, key).job
    if evaluation is None or not job.cloneable:
        raise Invalid("not_cloneable", f"Job {key} is no evaluation that stands for itself.", "Start it again from the page that it was started from.")
    scheme = Scheme.model_validate(evaluation.scheme)
    chosen = {name: str(job.settings[name]) for name in ("model", "dataset", "prompt_version", "split", "answer", "fit")}
    judged = {name: str(getattr(scheme, name)) for name in ("scoring", "extractor", "pattern", "json_field", "shape", "metric", "candidates")}
    lines = {"checks": write_checks(scheme.checks), "fields": write_fields(scheme.fields)}
    return {**chosen, **judged, **lines, "limit": str(evaluation.row_limit or ""), "tolerance": f"{scheme.tolerance:.15g}" if scheme.tolerance else ""}


@router.get("/fit")
async def fit(
    person: Person, dataset: str, model: str, prompt_version: str = "", split: str = "validation", answer: str = "likelihood", limit: str = ""
) -> HTMLResponse:
    """How the rows of a split that would be scored fit, or why nobody knows."""

    def ask() -> Question:
        prompt = prompt_version or _own_or_usual(person, model)
        return fits.start(person, model=model, dataset=dataset, prompt_version=prompt, split=split, answer=answer, limit=_limit(limit))

    try:
        found = await fits.fit(await to_thread.run_sync(ask))
    except FettleError as error:
        return fragment("evaluations/_fit.html", fit=None, error=error.as_dict())
    return fragment("evaluations/_fit.html", fit=found, error=None)


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    views = datasets.recent(person)[0]
    chosen = next((view for view in views if values.get("dataset") in (str(view.dataset.id), view.version.reference)), views[0] if views else None)
    if values.get("like") and chosen and values["dataset"] not in (str(chosen.dataset.id), chosen.version.reference):
        chosen = datasets.find(person, values["dataset"])  # an older version is offered where an evaluation of it is cloned
        views = [chosen, *views]
    offered, splits = models.recent(person)[0], [name for name in (chosen.version.splits if chosen else {}) if name not in ("unlabelled", "reserve")]
    if values.get("like"):  # what is cloned is offered as it was, an opened reserve and a model of long ago as well
        if values["model"] not in {str(model.id) for model in offered}:
            offered = [models.find(person, values["model"]).model, *offered]
        splits += [values["split"]] if chosen and values["split"] == "reserve" and "reserve" in chosen.version.splits else []
    answer = values.get("answer") or ("likelihood" if chosen and chosen.version.labels else "generate")
    context: dict[str, Any] = {
        "values": values,
        "datasets": views,
        "dataset": chosen,
        "models": offered,
        "prompts": prompt_choices(person, values.get("prompt_version", "")),
        "splits": splits,
        "answer": answer,
        "scorings": SCORINGS,
        "extractors": EXTRACTORS,
        "shapes": SHAPES,
        "metrics": [("auto", "the usual"), *{metric.name: (metric.name, metric.title) for known in METRICS.values() for metric in known.values()}.values()],
        "policies": list(POLICIES.items()),
        "error": error.as_dict() if error else None,
        "refused": {} if error is None else {str(error.detail.get("field") or REFUSALS.get(error.code, "")): f"{error.message} {error.advice}"},
    }
    if is_fragment(request):
        return fragment("evaluations/_form.html", **context)
    return page(request, "evaluations/new.html", person, "compare", error.status if error and request.method == "POST" else 200, **context)


def _scheme(values: Mapping[str, str]) -> dict[str, Any]:
    """A scheme from what was typed; an empty field is left out. Raises Invalid naming the field."""
    found: dict[str, Any] = {name: values[name] for name in ("scoring", "extractor", "pattern", "json_field", "shape", "metric") if values.get(name)}
    if values.get("tolerance", "").strip():
        found["tolerance"] = number(values["tolerance"], "tolerance", 0, 1e12)
    if values.get("candidates", "").strip():
        found["candidates"] = whole(values["candidates"], "candidates", 2, 200)
    return found | {"checks": [check.model_dump() for check in read_checks(values.get("checks", ""))]} | {"fields": _fields(values)}


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    return {path: comparator.model_dump() for path, comparator in read_fields(values.get("fields", "")).items()}


def _limit(typed: str) -> int | None:
    """Of how many rows; None for all. Raises Invalid."""
    return whole(typed, "limit", 1, 10**9) if typed.strip() else None


def _own_or_usual(person: Who, model: str) -> str | None:
    """Without a choice a tuned model answers through the prompt it was tuned through, another one through the usual prompt."""
    return None if models.find(person, model).model.prompt_version_id is not None else prompts.usual(person).reference


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue it. What is refused comes back in the form, at its field."""
    try:
        view = evaluations.create(
            person,
            model=values.get("model", ""),
            prompt_version=values.get("prompt_version") or _own_or_usual(person, values.get("model", "")),
            dataset=values.get("dataset", ""),
            split=values.get("split", "validation"),
            answer=one_of(values.get("answer", ""), "answer", ANSWERS),
            limit=_limit(values.get("limit", "")),
            fit=one_of(values.get("fit") or "refuse", "fit", POLICIES),
            scheme=_scheme(values),
            cloned_from=int(values["like"]) if values.get("like", "").isdecimal() else None,
        )
    except Invalid as error:
        return _form(request, person, values, error)
    return seen(f"/evaluations/{view.evaluation.id}")


@router.get("/{key}")
def show(
    request: Request,
    person: Person,
    key: int,
    only: Only = "all",
    other: str = "",
    other_only: Only = "all",
    against: str = "",
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> HTMLResponse:
    """The figures, those of another evaluation beside them, and the rows that a filter leaves."""
    view = evaluations.find(person, key)
    wanted = Filter(only, int(other) if other.isdecimal() else None, other_only)
    context = _context(person, view) | _against(person, view, against) | _rows(person, view, wanted, from_start(offset, ROWS))
    return page(request, "evaluations/show.html", person, "compare", **context)


def _context(person: Who, view: EvaluationView) -> dict[str, Any]:
    evaluation, scores = view.evaluation, view.evaluation.scores
    scheme = Scheme.model_validate(evaluation.scheme)
    return {
        "evaluation": evaluation,
        "job": view.job,
        "named": evaluations.named(person, evaluation),
        "scores": scores,
        "scheme": scheme,
        "draw": evaluation_view,
        "judgements": judgements.of_evaluation(person, evaluation.id),
        "reliability": reliability.of_evaluation(person, evaluation),
        "reliability_asked": reliability_words.asked,
        "now": jobs.now(),
    }


def _against(person: Who, view: EvaluationView, other: str) -> dict[str, Any]:
    """The part that sets it against another evaluation of the dataset, on the rows that both have."""
    empty: dict[str, Any] = {"rivals": [], "rival": None, "against": None, "no_comparison": None}
    if view.evaluation.scores is None:
        return empty
    known = {**empty, "rivals": [(one.id, name) for one, name in evaluations.rivals(person, view.evaluation)]}
    if not other.isdecimal():
        return known
    try:
        return known | {"rival": int(other), "against": evaluations.against(person, view.evaluation.id, int(other))}
    except (Conflict, Invalid) as error:
        return known | {"rival": int(other), "no_comparison": error.as_dict()}


def _rows(person: Who, view: EvaluationView, wanted: Filter, offset: int) -> dict[str, Any]:
    """The part with the rows: sealed, not there yet, or a page of them."""
    key = view.evaluation.id
    empty: dict[str, Any] = {"found": None, "sealed": False, "wanted": wanted, "only": ONLY, "others": [], "pager": None}
    if view.evaluation.scores is None:
        return empty
    try:
        found = predictions.find(person, key, wanted, offset=offset, limit=ROWS)
    except Sealed:
        return empty | {"sealed": True}
    query = f"only={wanted.only}" + (f"&other={wanted.other}&other_only={wanted.other_only}" if wanted.other is not None else "")
    others = [(one.id, name) for one, name in evaluations.comparable(person, view.evaluation)]
    place = pager("rows", offset, ROWS, len(found.rows), found.found, lambda at: f"/evaluations/{key}?{query}&offset={at}#rows")
    return empty | {"found": found, "others": others, "pager": place}


@router.get("/{key}/rows/{example}")
def row(request: Request, person: Person, key: int, example: int) -> HTMLResponse:
    """One row: the prompt as the model read it, what it answered, and what is said of that."""
    view, found = evaluations.find(person, key), predictions.whole(person, key, example)
    most = max((value for _, value in found.likelihoods), default=0.0)
    context: dict[str, Any] = {"evaluation": view.evaluation, "named": evaluations.named(person, view.evaluation), "row": found, "most": most, "said": said}
    return page(request, "evaluations/row.html", person, "compare", **context)
