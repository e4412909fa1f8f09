"""/api/v1/judgements"""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import shapes
from app.domain.judging import Brief, Kind
from app.domain.outcomes import verdict
from app.doors import Person
from app.services import blind, discarding, judgements, ruling
from app.services.judgements import JudgementView, Ruled, WithPeople

router = APIRouter(prefix="/judgements")


class NewJudgement(shapes.Body):
    kind: Kind = Field("pairwise", description="pairwise: against another evaluation; rubric: each answer by itself; blind: against another one, by people.")
    evaluation: int = Field(description="The evaluation whose answers are judged, or are A.")
    other: int | None = Field(None, description="The evaluation on the same rows whose answers are B.")
    model: int | str | None = Field(None, description="The judge; none where people compare blind.")
    brief: Brief = Brief()
    limit: int | None = Field(None, ge=1, description="Judge only so many rows, the same every time.")

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude={"brief"}) | {"brief": self.brief.model_dump()}


def _shape(view: JudgementView) -> dict[str, Any]:
    row, job = view.judgement, view.job
    if row.hidden:  # nothing that says whose answers these are
        return {"id": row.id, "kind": row.kind, "brief": row.asked().model_dump(), "limit": row.row_limit, "created_at": row.created_at, "state": "open"}
    scores = {**row.scores, "verdict": verdict(row.scores)} if row.scores and row.other_id else row.scores
    about = {"id": row.id, "kind": row.kind, "evaluation": row.evaluation_id, "other": row.other_id, "model": row.model_id}
    more = {"brief": row.asked().model_dump(), "limit": row.row_limit, "scores": scores, "created_at": row.created_at}
    return {**about, **more, "job": row.job_id, "state": job.state if job else "closed", "error": job.error if job else None}


def _row(ruled: Ruled) -> dict[str, Any]:
    names = ("value", "written", "likelihoods", "input_tokens", "output_tokens", "latency_ms")
    rulings = {order: {name: getattr(one, name) for name in names} for order, one in ruled.rulings.items()}
    answers = {"a": ruled.first.answer, "b": ruled.second.answer if ruled.second else None}
    found = {"outcome": ruled.judging.outcome or None, "flip": ruled.judging.flip, "marks": [{"by": name, "value": value} for name, value in ruled.marks]}
    return {"example": ruled.example.id, "input": ruled.example.input, "gold": ruled.first.gold, "answers": answers, **found, "rulings": rulings}


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    views, following = judgements.recent(person, after, limit)
    return shapes.listing([_shape(view) for view in views], following)


@router.post("", status_code=202)
def create(person: Person, body: NewJudgement) -> dict[str, Any]:
    given = body.given()
    if body.kind != "blind":
        return _shape(judgements.create(person, **given))
    return _shape(blind.create(person, **{name: given[name] for name in ("evaluation", "other", "brief", "limit")}))


@router.post("/plan")
def plan(person: Person, body: NewJudgement) -> dict[str, Any]:
    """What it would take: rows, readings, tokens about, and US dollars; `cost` is null where the judge has no price."""
    return vars(judgements.plan(person, **body.given()))


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    """Its figures; by a rubric, also how far the judge agrees with people."""
    return _shape(judgements.find(person, key)) | {"people": _people(judgements.with_people(person, key))}


def _people(found: WithPeople | None) -> dict[str, Any] | None:
    if found is None:
        return None
    one, among = found.agreement, found.among
    same = {"rows": one.n, "same": one.same, "share": one.share, "interval": one.interval, "more_rows": one.more}
    kappa = {"value": one.kappa, "interval": one.kappa_interval, "weighted": one.weighted}
    return {"marked": found.marked, "people": found.people, "agreement": {**same, "kappa": kappa}, "alpha": vars(among)}


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Its rulings go with it. Refused with 409 `in_use` while it runs."""
    discarding.judgement(person, key)


@router.get("/{key}/rows")
def rows(person: Person, key: shapes.Key, only: str = "all", offset: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    """Row by row: both answers, the ruling in each order (`ab`: A stood first), and what they amount to."""
    found = judgements.rows(person, key, only, offset=offset, limit=limit)
    items = [_row(one) for one in found.rows]
    return shapes.counted(items, offset, found)


@router.post("/{key}/close")
def close(person: Person, key: shapes.Key) -> dict[str, Any]:
    """End a blind comparison: its figures, and whose answers they were."""
    return _shape(blind.close(person, key))


class NewRuling(shapes.Body):
    example: int = Field(ge=1)
    value: str | None = Field(max_length=20, description="The grade; in a blind comparison A (the first answer), B or tie. Null takes it back.")


@router.get("/{key}/queue")
def queue(person: Person, key: shapes.Key, limit: Annotated[int, Query(ge=1, le=50)] = 8) -> dict[str, Any]:
    """The rows that wait for this person, and how far they are."""
    found = ruling.queue(person, key, limit)
    return {"items": [vars(row) for row in found.rows], "progress": vars(found.progress)}


@router.post("/{key}/rulings")
def rule(person: Person, key: shapes.Key, body: NewRuling) -> dict[str, Any]:
    """Say what one thinks of a row. It replaces what one said before; the answer is how far one is."""
    return vars(ruling.take_back(person, key, body.example) if body.value is None else ruling.rule(person, key, body.example, body.value))
