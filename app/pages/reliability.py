"""Reliability checks: the form of a new one with the forms that it would ask in, what it found, and the rows behind the seal of their split."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.reliability import MOST
from app.doors import Person
from app.errors import FettleError, Invalid, Sealed
from app.pages import reliability_words
from app.pages.formatting import axis
from app.pages.forms import typed, whole
from app.pages.paging import from_start, pager
from app.pages.render import fragment, is_fragment, page, seen
from app.services import evaluations, reliability
from app.services.reliability import FILTERS, ReliabilityView

router = APIRouter(prefix="/reliability")

ROWS = 50
USUAL_REPEATS, USUAL_FORMS = 4, 8
"""What is asked for where nothing is said; no repeats where they would be equal."""


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server."""
    return _form(request, person, dict(request.query_params))


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    key = values.get("evaluation", "")
    view = evaluations.find(person, int(key) if key.isdecimal() else 0)
    planned: Any = None
    try:
        planned = reliability.plan(person, **_given(values))
    except Invalid as problem:
        error = error or problem
    refused = {} if error is None else {str(error.detail.get("field") or ""): f"{error.message} {error.advice}"}
    context = {
        "evaluation": view.evaluation, "named": evaluations.named(person, view.evaluation), "values": values, "plan": planned,
        "usual": {"repeats": USUAL_REPEATS, "forms": USUAL_FORMS}, "error": error.as_dict() if error else None, "refused": refused,
    }  # fmt: skip
    if is_fragment(request):
        return fragment("reliability/_form.html", **context)
    return page(request, "reliability/new.html", person, "compare", error.status if error and request.method == "POST" else 200, **context)


def _given(values: Mapping[str, str]) -> dict[str, Any]:
    """What the service takes, from what was typed. Raises Invalid naming the field."""
    counts = {name: whole(values.get(name, "").strip() or str(usual), name, 0, MOST) for name, usual in (("repeats", USUAL_REPEATS), ("forms", USUAL_FORMS))}
    seed = whole(values.get("seed", "").strip() or "0", "seed", 0, 2**53)
    return {"evaluation": whole(values.get("evaluation", ""), "evaluation", 1, 2**53), **counts, "seed": seed}


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue it. What is refused comes back in the form, at its field."""
    try:
        view = reliability.create(person, **_given({"repeats": "0", **values}))
    except Invalid as error:
        return _form(request, person, values, error)
    return seen(f"/reliability/{view.check.id}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int, only: str = "all", offset: Annotated[int, Query(ge=0, le=2**31)] = 0) -> HTMLResponse:
    """What was found, and the rows that a filter leaves."""
    view = reliability.find(person, key)
    context: dict[str, Any] = {
        "check": view.check,
        "job": view.job,
        "runs": _runs(view),
        "done": sum(run.evaluation.scores is not None for run in view.runs[1:]),
        "evaluation": view.runs[0].evaluation,
        "named": evaluations.named(person, view.runs[0].evaluation),
        "scores": view.check.scores,
        "words": reliability_words,
    }
    context["axis"] = axis([value for _, _, main in context["runs"] for value in main["interval"]])
    return page(request, "reliability/show.html", person, "compare", **context, **_rows(person, view, only, from_start(offset, ROWS)))


def _runs(view: ReliabilityView) -> list[tuple[reliability.Run, str, dict[str, Any]]]:
    """(run, lowest or highest of the forms, main figure) of those that are finished. Several may be the lowest."""
    spread = ((view.check.scores or {}).get("forms") or {}).get("spread") or {"min": 0.0, "max": 0.0}
    ends = {spread["min"]: "lowest", spread["max"]: "highest"} if spread["min"] < spread["max"] else {}
    found = []
    for run in view.runs:
        if scores := run.evaluation.scores:
            main = scores.get("main") or {"value": scores["accuracy"], "interval": scores["interval"]}
            formed = run.number == 0 or run.number > view.check.repeats
            found.append((run, ends.get(main["value"], "") if formed else "", main))
    return found


def _rows(person: Who, view: ReliabilityView, only: str, offset: int) -> dict[str, Any]:
    """The part with the rows: sealed, not there yet, or a page of them."""
    empty: dict[str, Any] = {"found": None, "sealed": False, "only": only, "filters": FILTERS, "pager": None}
    if view.check.scores is None:
        return empty
    try:
        found = reliability.rows(person, view.check.id, only, offset=offset, limit=ROWS)
    except Sealed:
        return empty | {"sealed": True}
    place = pager("rows", offset, ROWS, len(found.rows), found.found, lambda at: f"/reliability/{view.check.id}?only={only}&offset={at}#rows")
    return empty | {"found": found, "pager": place}


@router.get("/{key}/rows/{example}")
def row(request: Request, person: Person, key: int, example: int) -> HTMLResponse:
    """One row: what every run answered, side by side."""
    view, found = reliability.find(person, key), reliability.whole(person, key, example)
    answers = list(zip(view.runs, found.answers, strict=True))
    return page(request, "reliability/row.html", person, "compare", check=view.check, row=found, answers=answers)
