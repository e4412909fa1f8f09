"""/api/v1/reliability"""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import shapes
from app.domain.reliability import MOST
from app.doors import Person
from app.services import discarding, reliability
from app.services.reliability import Compared, ReliabilityView

router = APIRouter(prefix="/reliability")


class NewReliability(shapes.Body):
    evaluation: int = Field(description="The finished evaluation that is asked again.")
    repeats: int = Field(0, ge=0, le=MOST, description="Further runs with other seeds; none where they are equal by construction.")
    forms: int = Field(8, ge=0, le=MOST, description="Runs in other forms of the same prompt.")
    seed: int = Field(0, ge=0, le=2**53, description="Which forms are drawn.")


def _shape(view: ReliabilityView) -> dict[str, Any]:
    row, job = view.check, view.job
    about = {"id": row.id, "evaluation": row.evaluation_id, "repeats": row.repeats, "forms": row.forms, "seed": row.seed, "scores": row.scores}
    runs = [{"evaluation": one.evaluation.id, "seed": one.evaluation.seed, "form": one.evaluation.form, "words": one.words} for one in view.runs]
    return {**about, "runs": runs, "created_at": row.created_at, "job": job.id, "state": job.state, "error": job.error}


def _row(row: Compared) -> dict[str, Any]:
    answers = [{"answer": one.answer, "correct": one.correct} for one in row.answers]
    return {"example": row.example.id, "input": row.example.input, "gold": row.gold, "answers": answers}


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    views, following = reliability.recent(person, after, limit)
    return shapes.listing([_shape(view) for view in views], following)


@router.post("", status_code=202)
def create(person: Person, body: NewReliability) -> dict[str, Any]:
    return _shape(reliability.create(person, **body.model_dump()))


@router.post("/plan")
def plan(person: Person, body: NewReliability) -> dict[str, Any]:
    """What it would take, and every form with a train row in it; `equal` says why repeats would say nothing, where they would not."""
    found = reliability.plan(person, **body.model_dump())
    forms = [{"form": one.form.as_json(), "words": one.form.words, "prompt": one.prompt} for one in found.forms]
    return {**vars(found), "forms": forms, "equal": found.equal or None}


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    return _shape(reliability.find(person, key))


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Its runs go with it. Refused with 409 `in_use` while it runs, or while a judgement of one of its runs is kept."""
    discarding.reliability(person, key)


@router.get("/{key}/rows")
def rows(person: Person, key: shapes.Key, only: str = "all", offset: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    """Row by row what every run answered, in the order of `runs`; those with most different answers first."""
    found = reliability.rows(person, key, only, offset=offset, limit=limit)
    items = [_row(one) for one in found.rows]
    return shapes.counted(items, offset, found)
