"""/api/v1/evaluations"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import shapes
from app.domain.fitting import Policy
from app.doors import Person
from app.services import evaluations

router = APIRouter(prefix="/evaluations")


class NewEvaluation(shapes.Body):
    model: int | str
    dataset: int | str
    prompt_version: int | str | None = None
    split: Literal["train", "validation", "test", "reserve"] = "test"
    answer: Literal["likelihood", "generate"] = "likelihood"
    limit: int | None = Field(None, ge=1)
    fit: Policy = Field("refuse", description="What happens to rows that are too long for the model: shots + input + answer.")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = evaluations.recent(person, after, limit)
    return shapes.listing([shapes.evaluation(view.evaluation, view.job) for view in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewEvaluation) -> dict[str, Any]:
    view = evaluations.create(person, **body.model_dump())
    return shapes.evaluation(view.evaluation, view.job)


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    view = evaluations.find(person, key)
    return shapes.evaluation(view.evaluation, view.job)


@router.get("/{key}/predictions")
def predictions(person: Person, key: shapes.Key, offset: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    rows = evaluations.predictions(person, key, offset=offset, limit=limit)
    return shapes.listing([shapes.prediction(row, example) for row, example in rows], offset + len(rows) if len(rows) == limit else None)


@router.get("/{key}/against/{other}")
def against(person: Person, key: shapes.Key, other: shapes.Key) -> dict[str, Any]:
    """This evaluation minus another one, paired; across dataset versions on the rows that both have."""
    found = evaluations.against(person, key, other)
    one = found.difference
    numbers = {"difference": one.difference, "interval": [one.low, one.high], "p_value": one.p_value, "gained": one.gained, "lost": one.lost}
    return numbers | {"verdict": found.verdict.kind, "rows": found.common, "of": list(found.of), "sentence": f"{found.verdict.sentence} {found.sentence}"}
