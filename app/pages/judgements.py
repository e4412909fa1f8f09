"""Judgements: the form of a new one, what it found, and its rows behind the seal of their split."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.judgement import Judgement
from app.domain.judging import CRITERION, Brief
from app.domain.outcomes import filters
from app.doors import Person
from app.errors import FettleError, Invalid, NotFound, Sealed
from app.pages import judgement_words
from app.pages.forms import one_of, typed, whole
from app.pages.paging import from_start, pager
from app.pages.render import fragment, is_fragment, page, seen
from app.services import blind, evaluations, jobs, judgements, models, ruling

router = APIRouter(prefix="/judgements")

ROWS = 50
AHEAD = 8
"""Rows that wait for a person which are fetched at a time."""

KINDS = (("pairwise", "two answers, by a model"), ("rubric", "each answer by a rubric"), ("blind", "two answers, by people, blind"))
SCALES = (("points", "points"), ("pass_fail", "pass or fail"))
WAYS = (("auto", "by likelihood, or the first line it writes"), ("first_line", "from the first line it writes"), ("constrained", "held to the answers"))
REFUSALS = {
    "which_other": "other",
    "not_comparable": "other",
    "no_common_rows": "other",
    "not_read_so": "read",
    "not_found": "model",
    "no_rubric": "text",
    "which_judge": "model",
    "all_the_same": "other",
    "sealed": "other",
}
"""The form's field at which an error of the service is shown."""


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The form. Its state is its address: what changes is drawn again by the server. `like` begins with what another judgement was told."""
    values = dict(request.query_params)
    if values.get("like", "").isdecimal():
        values = _typed_like(judgements.told(person, int(values["like"])))
    return _form(request, person, values)


def _typed_like(row: Judgement) -> dict[str, str]:
    """The form's fields as they were for a judgement, all but the judge."""
    brief = row.asked()
    values = {"evaluation": str(row.evaluation_id), "kind": row.kind, "text": brief.text, "limit": str(row.row_limit or "")}
    values |= {"other": str(row.other_id)} if row.other_id else {}
    values |= {"reference": "on"} if brief.reference else {}
    return values | ({"scale": brief.scale.kind, "low": str(brief.scale.low), "high": str(brief.scale.high)} if brief.scale else {})


def _form(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    key = values.get("evaluation", "")
    view = evaluations.find(person, int(key) if key.isdecimal() else 0)
    others = [(str(one.id), name) for one, name in evaluations.comparable(person, view.evaluation)]
    kind = values.get("kind") or ("pairwise" if others else "rubric")
    judges = [(str(one.id), one.shown) for one in models.recent(person)[0]]
    chosen = {"other": others[0][0] if others else "", "model": judges[0][0] if judges else "", **values, "kind": kind}
    planned: Any = None
    if error is None and kind != "blind" and (others or kind == "rubric"):
        try:
            planned = judgements.plan(person, **_given(chosen))
        except FettleError as problem:
            error = problem if problem.code != "no_rubric" else None
    remote = next((one.remote for one in models.recent(person)[0] if str(one.id) == chosen["model"]), False)
    refused = {} if error is None else {str(error.detail.get("field") or REFUSALS.get(error.code, "")): f"{error.message} {error.advice}"}
    context = {
        "evaluation": view.evaluation, "named": evaluations.named(person, view.evaluation), "values": chosen, "others": others, "judges": judges,
        "remote": remote, "ways": WAYS, "kinds": KINDS, "scales": SCALES, "plan": planned, "criterion": CRITERION, "error": error.as_dict() if error else None, "refused": refused,
    }  # fmt: skip
    if is_fragment(request):
        return fragment("judgements/_form.html", **context)
    return page(request, "judgements/new.html", person, "compare", error.status if error and request.method == "POST" else 200, **context)


def _given(values: Mapping[str, str]) -> dict[str, Any]:
    """What the service takes, from what was typed. Raises Invalid naming the field."""
    brief: dict[str, Any] = {"text": values.get("text", ""), "reference": "reference" in values or "text" not in values}
    if values.get("read") and values["read"] != "auto":
        brief["read"] = values["read"]
    kind = one_of(values.get("kind") or "pairwise", "kind", [name for name, _ in KINDS])
    if kind == "rubric":
        low, high = (whole(values.get(name) or usual, name, 0, 9) for name, usual in (("low", "1"), ("high", "5")))
        brief["scale"] = {"kind": "pass_fail"} if values.get("scale") == "pass_fail" else {"low": low, "high": high}
    return {
        "kind": kind,
        "evaluation": whole(values.get("evaluation", ""), "evaluation", 1, 2**53),
        "other": whole(values["other"], "other", 1, 2**53) if values.get("other") and kind != "rubric" else None,
        "model": values.get("model", ""),
        "brief": brief,
        "limit": whole(values["limit"], "limit", 1, 10**9) if values.get("limit", "").strip() else None,
    }


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Queue it. What is refused comes back in the form, at its field."""
    try:
        given = _given(values)
        if given["kind"] == "blind":
            view = blind.create(person, **{name: given[name] for name in ("evaluation", "other", "brief", "limit")})
        else:
            view = judgements.create(person, **given)
    except (Invalid, NotFound, Sealed) as error:
        return _form(request, person, values, error)
    return seen(f"/judgements/{view.judgement.id}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int, only: str = "all", offset: Annotated[int, Query(ge=0, le=2**31)] = 0) -> HTMLResponse:
    """What was found, and the rows that a filter leaves."""
    view = judgements.find(person, key)
    if view.judgement.hidden:
        return _blind(request, person, view.judgement)
    context: dict[str, Any] = {
        "judgement": view.judgement,
        "job": view.job,
        "judge": view.model,
        "sides": [_side(person, one) for one in (view.judgement.evaluation_id, view.judgement.other_id) if one],
        "scores": view.judgement.scores,
        "brief": view.judgement.asked(),
        "words": judgement_words,
        "people": judgements.with_people(person, key),
        "now": jobs.now(),
    }
    return page(request, "judgements/show.html", person, "compare", **context, **_rows(person, view.judgement, only, from_start(offset, ROWS)))


def _blind(request: Request, person: Who, row: Judgement) -> HTMLResponse:
    """Two answers to one row after the other. Nothing here says whose they are: no model, prompt or evaluation, and no running work."""
    found, brief = ruling.progress(person, row.id), row.asked()
    given = {"judgement": row.id, "choices": choices(brief), "progress": vars(found), "ahead": AHEAD}
    return page(request, "judgements/blind.html", person, "compare", key=row.id, brief=brief, progress=found, given=given)


@router.post("/{key}/close")
def close(person: Person, key: int) -> Response:
    """End a blind comparison: from now on its page says whose answers they were."""
    return seen(f"/judgements/{blind.close(person, key).judgement.id}")


def _side(person: Who, key: int) -> tuple[Evaluation, evaluations.Named]:
    found = evaluations.find(person, key).evaluation
    return found, evaluations.named(person, found)


def _rows(person: Who, judgement: Judgement, only: str, offset: int) -> dict[str, Any]:
    """The part with the rows: sealed, not there yet, or a page of them."""
    empty: dict[str, Any] = {"found": None, "sealed": False, "only": only, "filters": filters(judgement.kind, judgement.asked()), "pager": None}
    if judgement.scores is None:
        return empty
    try:
        found = judgements.rows(person, judgement.id, only, offset=offset, limit=ROWS)
    except Sealed:
        return empty | {"sealed": True}
    place = pager("rows", offset, ROWS, len(found.rows), found.found, lambda at: f"/judgements/{judgement.id}?only={only}&offset={at}#rows")
    return empty | {"found": found, "pager": place}


@router.get("/{key}/rows/{example}")
def row(request: Request, person: Person, key: int, example: int) -> HTMLResponse:
    """One row: what the judge read, and what it said in each order."""
    view = judgements.find(person, key)
    context: dict[str, Any] = {"judgement": view.judgement, "judge": view.model, "row": judgements.whole(person, key, example)}
    return page(request, "judgements/row.html", person, "compare", **context)


@router.get("/{key}/mark")
def mark(request: Request, person: Person, key: int) -> HTMLResponse:
    """One row after the other, graded by a person: static/js/judging.js shows them. The judge's own grades are not in sight."""
    view, found = judgements.find(person, key), ruling.progress(person, key)
    if view.judgement.kind != "rubric":
        return show(request, person, key)
    brief = view.judgement.asked()
    given = {"judgement": key, "choices": choices(brief), "progress": vars(found), "ahead": AHEAD}
    context: dict[str, Any] = {"judgement": view.judgement, "brief": brief, "progress": found, "given": given}
    return page(request, "judgements/mark.html", person, "compare", **context)


def choices(brief: Brief) -> list[dict[str, str]]:
    """What a person can say, each with its key: a digit or a letter."""
    words = {"A": "A is better", "B": "B is better", "tie": "A tie"}
    return [{"value": answer, "text": words.get(answer, answer), "key": answer[0].lower()} for answer in brief.answers]
