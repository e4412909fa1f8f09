"""/api/v1/evaluations"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import shapes
from app.domain.fitting import Policy
from app.domain.scheme import Scheme
from app.doors import Person
from app.services import discarding, evaluations, predictions
from app.services.predictions import Filter, Only

router = APIRouter(prefix="/evaluations")


class NewEvaluation(shapes.Body):
    model: int | str
    dataset: int | str
    prompt_version: int | str | None = None
    split: Literal["train", "validation", "test", "reserve"] = "test"
    answer: Literal["likelihood", "generate"] = "likelihood"
    limit: int | None = Field(None, ge=1)
    fit: Policy = Field("refuse", description="What happens to rows that are too long for the model: shots + input + answer.")
    scheme: Scheme = Field(Scheme(), description="How answers are got and judged: scoring, extractor, shape, metric, fields, checks, candidates.")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = evaluations.recent(person, after, limit)
    return shapes.listing([shapes.evaluation(view.evaluation, view.job) for view in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewEvaluation) -> dict[str, Any]:
    view = evaluations.create(person, **body.model_dump())
    return shapes.evaluation(view.evaluation, view.job)


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Its predictions go with it. Refused with 409 `in_use` while it runs, or a comparison stands on it."""
    discarding.evaluation(person, key)


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    view = evaluations.find(person, key)
    return shapes.evaluation(view.evaluation, view.job)


@router.get("/{key}/predictions")
def listed(
    person: Person,
    key: shapes.Key,
    only: Only = "all",
    other: int | None = None,
    other_only: Only = "all",
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: shapes.Limit = 100,
) -> dict[str, Any]:
    """Row by row, the worst first. With `other`, another evaluation on the same rows, `only=wrong&other_only=right` are the rows that it has and this one has not."""
    found = predictions.find(person, key, Filter(only, other, other_only), offset=offset, limit=limit)
    rows = [shapes.prediction(row.prediction, row.example, row.other) for row in found.rows]
    return shapes.counted(rows, offset, found)


@router.get("/{key}/predictions/{example}")
def whole(person: Person, key: shapes.Key, example: shapes.Key) -> dict[str, Any]:
    """One row with the prompt that the model read."""
    found = predictions.whole(person, key, example)
    return shapes.prediction(found.prediction, found.example) | {"prompt": found.prompt}


@router.get("/{key}/against/{other}")
def against(person: Person, key: shapes.Key, other: shapes.Key, metric: str | None = None) -> dict[str, Any]:
    """This evaluation minus another one, paired by its main figure or by `metric`; across dataset versions on the rows that both have."""
    found = evaluations.against(person, key, other, metric)
    one = found.difference
    numbers = {"difference": one.difference, "interval": [one.low, one.high], "p_value": one.p_value, "gained": one.gained, "lost": one.lost}
    return numbers | {
        "metric": found.metric,
        "verdict": found.verdict.kind,
        "rows": found.common,
        "of": list(found.of),
        "sentence": f"{found.verdict.sentence} {found.sentence}",
    }
