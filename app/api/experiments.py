"""/api/v1/experiments"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.domain.fitting import Policy
from app.domain.ladder import Comparison
from app.doors import Person
from app.services import experiments
from app.services.experiments import Ladder, RungRow

router = APIRouter(prefix="/experiments")


class NewRung(shapes.Body):
    technique: str
    model: int | str | None = None
    shots: int | None = Field(None, ge=0, le=64)
    answer: Literal["likelihood", "generate"] | None = None
    seeds: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field([0], min_length=1, max_length=1, description="One for now: each run is one seed.")
    prompt_version: int | str | None = None
    parameters: dict[str, Any] | None = None
    fit: Policy | None = None


class NewExperiment(shapes.Body):
    name: str = ""
    dataset: int | str
    model: int | str
    rungs: list[NewRung] = Field(min_length=1, max_length=40)
    prompt_version: int | str | None = None
    fit: Policy = Field("refuse", description="What happens to test rows that are too long for a rung: shots + input + answer. A rung may have its own.")
    margin: float = Field(0.0, ge=0.0, le=0.5, description="A loss (fraction) that would be acceptable for something cheaper.")
    targets: dict[str, Any] = Field({}, max_length=0, description="Reserved: targets are not computed yet, so they are refused.")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = experiments.recent(person, after, limit)
    return shapes.listing([{"id": row.id, "name": row.name, "created_at": row.created_at} for row in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewExperiment) -> dict[str, Any]:
    values = body.model_dump()
    key = experiments.create(person, **values)
    return shape(experiments.find(person, key))


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shape(experiments.find(person, key))


def shape(view: Ladder) -> dict[str, Any]:
    recommendation = view.recommendation
    return {
        "id": view.experiment.id,
        "name": view.experiment.name,
        "dataset": view.version.reference,
        "state": view.state,
        "margin": view.experiment.margin,
        "majority": view.majority,
        "rows": [row_shape(row) for row in view.rows],
        "recommendation": {
            "rung": recommendation.position,
            "verdict": recommendation.verdict,
            "kind": recommendation.kind,
            "reasons": list(recommendation.reasons),
        }
        if recommendation
        else None,
    }


def row_shape(row: RungRow) -> dict[str, Any]:
    scores = row.scores or {}
    return {
        "rung": row.rung.position,
        "technique": row.rung.technique,
        "title": row.rung.title,
        "state": row.state,
        "score": scores.get("accuracy"),
        "interval": scores.get("interval"),
        "n": scores.get("n"),
        "latency_ms": scores.get("latency_ms"),
        "cost": scores.get("cost", 0.0) if scores else None,
        "trainable_parameters": row.model.trainable_parameters if row.rung.tunes else 0,
        "training_seconds": row.model.training_seconds if row.rung.tunes else 0.0,
        "labels_used": row.labels_used,
        "fit": scores.get("fit"),
        "comparison": _comparison(row.comparison),
        "model": row.model.id,
        "prompt_version": row.prompt.reference,
        "tune_job": row.rung.tune_job_id,
        "evaluation": row.rung.evaluation_id,
    }


def _comparison(one: Comparison | None) -> dict[str, Any] | None:
    if one is None:
        return None
    of = one.difference
    return {
        "baseline": one.baseline,
        "difference": of.difference,
        "interval": [of.low, of.high],
        "p_value": of.p_value,
        "gained": of.gained,
        "lost": of.lost,
        "verdict": asdict(one.verdict),
    }
