"""The Compare room: the list of experiments, the form of a new one, and the ladder with its verdict."""

from collections.abc import Mapping
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.fitting import POLICIES
from app.domain.scheme import value_of
from app.doors import Person
from app.errors import FettleError, Invalid
from app.pages import experiment_form, ladder_notes, ladder_view, plots
from app.pages.forms import typed
from app.pages.render import fragment, is_fragment, page, seen
from app.services import datasets, experiments, fits, standings
from app.services.experiments import Ladder
from app.services.fits import Question

router = APIRouter(prefix="/experiments")


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    ladders, following = standings.recent(person, after)
    return page(request, "experiments/index.html", person, "compare", ladders=ladders, following=following, paged=after is not None)


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server."""
    return _form(request, person, dict(request.query_params))


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    context = experiment_form.context(person, values, error)
    if is_fragment(request):
        return fragment("experiments/_form.html", **context)
    return page(request, "experiments/new.html", person, "compare", error.status if error and request.method == "POST" else 200, **context)


@router.get("/fit")
async def fit(
    person: Person, dataset: str, model: str, prompt_version: str = "", shots: Annotated[int, Query(ge=0, le=experiment_form.MOST_SHOTS)] = 0
) -> HTMLResponse:
    """How the test rows fit the model with so many shots, counted by the engine process; why not, where it cannot be said."""

    def ask() -> Question:
        answer = "likelihood" if datasets.find(person, dataset).version.labels else "generate"
        return fits.start(person, model=model, dataset=dataset, prompt_version=prompt_version or None, answer=answer, shots=shots)

    try:
        found = await fits.fit(await to_thread.run_sync(ask))
    except FettleError as error:
        return fragment("experiments/_fit.html", fit=None, error=error.as_dict(), shots=shots)
    return fragment("experiments/_fit.html", fit=found, error=None, shots=shots)


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue every rung, to be scored on validation rows; a quick look on fewer. What is refused comes back in the form."""
    try:
        key = experiments.create(person, **experiment_form.asked(person, values), open_test=False)
    except Invalid as error:
        return _form(request, person, {**values, "drawn": "yes"}, error)
    return seen(f"/experiments/{key}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int) -> HTMLResponse:
    """The verdict and the table; while rungs are under way the page asks again for this part only."""
    ladder = experiments.find(person, key)
    context = ladder_context(ladder)
    if is_fragment(request):
        return fragment("experiments/_ladder.html", **context)
    return page(request, "experiments/show.html", person, "compare", **context)


def ladder_context(ladder: Ladder) -> dict[str, Any]:
    """What the table and its words are drawn from, on the page and in the report."""
    lines = ladder_view.lines(ladder)
    sentence, aside = ladder_view.verdict(ladder)
    return {
        "ladder": ladder,
        "experiment": ladder.experiment,
        "lines": lines,
        "unpriced": ladder.experiment.targets.get("machine_hour") is None and not all(row.model.remote for row in ladder.rows),
        "axis": ladder_view.shared_axis(lines),
        "sentence": sentence,
        "aside": aside,
        "reasons": [ladder_view.typographic(reason) for reason in ladder.recommendation.reasons] if ladder.recommendation else [],
        "measured": ladder_view.measured(ladder),
        "figure": ladder_view.heading(ladder.experiment.figure),
        "rule": ladder_view.rule(ladder.experiment.figure),
        "tested": ladder_view.tested,
        "intervals": ladder_view.intervals(ladder.experiment.figure),
        "value_of": value_of,
        "looked": ladder.looks["test"],
        "baseline_said": ladder_notes.baseline(ladder),
        "many_looks": ladder_notes.many_looks(ladder),
        "untouched": ladder_notes.untouched(ladder),
        "policies": POLICIES,
        "pareto": plots.for_screens(lambda width: plots.pareto(lines, width)),
        "left_out": plots.left_out(lines),
        "curves": any(row.curve for row in ladder.all_rows),
    }


@router.post("/{key}/test")
def open_test(person: Person, key: int) -> Response:
    """Open the test rows for every rung, once."""
    experiments.open_test(person, key)
    return seen(f"/experiments/{key}")


@router.post("/{key}/rungs/{position}/rerun")
def rerun(person: Person, key: int, position: int) -> Response:
    """A failed or cancelled rung once more; the others stand."""
    experiments.rerun(person, key, position)
    return seen(f"/experiments/{key}")
