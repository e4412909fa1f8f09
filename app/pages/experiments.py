"""The Compare room: the list of experiments, the form of a new one, and the ladder with its verdict."""

from collections.abc import Mapping
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.experiment import PROMPT_RUNGS, TITLES
from app.domain.fitting import POLICIES
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.doors import Person
from app.errors import FettleError, Invalid, NotFound
from app.pages import ladder_view
from app.pages.forms import number, one_of, prompt_choices, typed, whole
from app.pages.render import fragment, is_fragment, page, seen
from app.services import datasets, experiments, fits, models
from app.services.experiments import Ladder
from app.services.generate import Request as Asked

router = APIRouter(prefix="/experiments")

MOST_SHOTS = 64
MOST_MARGIN = 50.0
USUAL = (*PROMPT_RUNGS, "lora")
"""Ticked before anybody chooses."""

REFUSALS = {
    "no_rungs": "rungs", "no_such_split": "dataset", "no_label_set": "dataset", "too_few_shots": "shots", "unknown_variable": "prompt_version",
    "not_a_foundation_model": "model", "not_this_method": "rungs",
}  # fmt: skip
"""The form's field at which an error of the service is shown."""


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    lines, following = experiments.lines(person, after)
    return page(request, "experiments/index.html", person, "compare", lines=lines, following=following, paged=after is not None)


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server."""
    return _form(request, person, dict(request.query_params))


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    views = [view for view in datasets.recent(person)[0] if view.version.splits.get("test")]
    chosen = next((view for view in views if values.get("dataset") in (str(view.dataset.id), view.version.reference)), views[0] if views else None)
    tuned = _tuned(person, values.get("tuned", ""))
    ticked = _ticked(values)
    try:
        tuning = [parse(METHODS, name, {}).total_steps(chosen.version.splits.get("train", 0)) for name in METHODS if name in ticked] if chosen else []
        rungs = _rungs(values, tuned)
    except Invalid as refused:
        error, rungs, tuning = error or refused, [], []
    context: dict[str, Any] = {
        "values": values,
        "datasets": views,
        "dataset": chosen,
        "models": models.foundation(person),
        "prompts": prompt_choices(person, values.get("prompt_version", "")),
        "prompt_rungs": {name: TITLES[name] for name in PROMPT_RUNGS},
        "usual_shots": PROMPT_RUNGS["few_shot"],
        "most_shots": MOST_SHOTS,
        "methods": METHODS,
        "ticked": ticked,
        "tuned": tuned,
        "rungs": rungs,
        "tuning": tuning,
        "error": error.as_dict() if error else None,
        "policies": POLICIES,
        "most_drawn": max((int(rung.get("shots", PROMPT_RUNGS[rung["technique"]])) for rung in rungs if rung["technique"] in PROMPT_RUNGS), default=None),
        "refused": {} if error is None else {str(error.detail.get("field") or REFUSALS.get(error.code, "")): f"{error.message} {error.advice}"},
    }
    if is_fragment(request):
        return fragment("experiments/_form.html", **context)
    return page(request, "experiments/new.html", person, "compare", error.status if error and request.method == "POST" else 200, **context)


@router.get("/fit")
async def fit(person: Person, dataset: str, model: str, prompt_version: str = "", shots: Annotated[int, Query(ge=0, le=MOST_SHOTS)] = 0) -> HTMLResponse:
    """How the test rows fit the model with so many shots, counted by the engine process; why not, where it cannot be said."""

    def ask() -> Asked:
        answer = "likelihood" if datasets.find(person, dataset).version.labels else "generate"
        return fits.start(person, model=model, dataset=dataset, prompt_version=prompt_version or None, answer=answer, shots=shots)

    try:
        found = await fits.fit(await to_thread.run_sync(ask))
    except FettleError as error:
        return fragment("experiments/_fit.html", fit=None, error=error.as_dict(), shots=shots)
    return fragment("experiments/_fit.html", fit=found, error=None, shots=shots)


def _tuned(person: Who, key: str) -> Model | None:
    """A tuned model that shall take part as it is."""
    if not key:
        return None
    model = models.find(person, key).model
    if model.kind != "tuned":
        raise NotFound("tuned model", key)
    return model


def _ticked(values: Mapping[str, str]) -> set[str]:
    """The techniques that are ticked; before the form was drawn, the usual ones (a tuned model takes the place of tuning)."""
    names = (*PROMPT_RUNGS, *METHODS)
    if values.get("drawn"):
        return {name for name in names if values.get(name)}
    return {name for name in USUAL if name in PROMPT_RUNGS or not values.get("tuned")}


def _rungs(values: Mapping[str, str], tuned: Model | None) -> list[dict[str, Any]]:
    """The rungs as the service takes them. Raises Invalid for a number of shots that cannot be."""
    ticked = _ticked(values)
    rungs: list[dict[str, Any]] = [{"technique": name} for name in (*PROMPT_RUNGS, *METHODS) if name in ticked]
    for rung in rungs:
        if rung["technique"] == "few_shot":
            rung["shots"] = whole(values.get("shots") or str(PROMPT_RUNGS["few_shot"]), "shots", 2, MOST_SHOTS)
    return rungs if tuned is None else [*rungs, {"technique": tuned.method, "model": tuned.id}]


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue every rung. What is refused comes back in the form."""
    try:
        key = experiments.create(
            person,
            name=values.get("name", ""),
            dataset=values.get("dataset", ""),
            model=values.get("model", ""),
            rungs=_rungs({**values, "drawn": "yes"}, _tuned(person, values.get("tuned", ""))),
            prompt_version=values.get("prompt_version") or None,
            fit=one_of(values.get("fit") or "refuse", "fit", POLICIES),
            margin=number(values.get("margin") or "0", "margin", 0, MOST_MARGIN) / 100,
        )
    except Invalid as error:
        return _form(request, person, {**values, "drawn": "yes"}, error)
    return seen(f"/experiments/{key}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int) -> HTMLResponse:
    """The verdict and the table; while rungs are under way the page asks again for this part only."""
    ladder = experiments.find(person, key)
    context = _context(ladder)
    if is_fragment(request):
        return fragment("experiments/_ladder.html", **context)
    return page(request, "experiments/show.html", person, "compare", **context)


def _context(ladder: Ladder) -> dict[str, Any]:
    lines = ladder_view.lines(ladder)
    sentence, aside = ladder_view.verdict(ladder)
    return {
        "ladder": ladder,
        "experiment": ladder.experiment,
        "lines": lines,
        "axis": ladder_view.shared_axis(lines),
        "sentence": sentence,
        "aside": aside,
        "reasons": [ladder_view.typographic(reason) for reason in ladder.recommendation.reasons] if ladder.recommendation else [],
        "measured": ladder_view.measured(ladder),
        "policies": POLICIES,
    }


@router.post("/{key}/rungs/{position}/rerun")
def rerun(person: Person, key: int, position: int) -> Response:
    """A failed or cancelled rung once more; the others stand."""
    experiments.rerun(person, key, position)
    return seen(f"/experiments/{key}")
