"""/api/v1/experiments"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.domain.experiment import VALIDATION_ROWS
from app.domain.figures import not_offered
from app.domain.fitting import Policy
from app.domain.ladder import Comparison
from app.domain.scheme import DEFAULT, Metric, Scheme, value_of
from app.domain.shots import Selection
from app.domain.targets import MARGIN, Targets
from app.doors import Person
from app.services import discarding, experiments
from app.services.experiments import Ladder
from app.services.ladders import CellRow, RungRow
from app.services.rungs import MOST_SHOTS

router = APIRouter(prefix="/experiments")


Shots = Annotated[int, Field(ge=0, le=MOST_SHOTS)]
Calibration = Literal["raw", "normalised", "calibrated"]


class NewRung(shapes.Body):
    technique: str
    model: int | str | None = None
    shots: Shots | list[Shots] | None = Field(None, description="How many shots, of a tuned rung beside its tuning; of several, each is a cell of the grid.")
    selection: Selection | list[Selection] | None = Field(None, description="How the shots are drawn; balanced, unless the prompt has as many of its own.")
    calibration: Calibration | list[Calibration] | None = Field(
        None, description="How label likelihoods are weighed; as `scheme.scoring` unless said otherwise."
    )
    answer: Literal["likelihood", "generate"] | None = None
    constrained: bool | list[bool] | None = Field(None, description="Hold answers that are written to the labels, or to a JSON schema of the train rows.")
    seeds: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field(
        [0], min_length=1, max_length=20, description="Draws of shots, or runs of tuning: what is chosen is tested once for each."
    )
    prompt_version: int | str | list[int | str] | None = None
    parameters: dict[str, Any] | None = Field(None, description="Of the method; a list of values makes a grid of them.")
    label_budget: int | None = Field(None, ge=2, description="Read only so many train labels: the first of each seed's order.")
    label_curve: list[int] | None = Field(None, max_length=12, description="Further label budgets, scored on validation rows, to draw quality over labels.")
    fit: Policy | None = None


class NewExperiment(shapes.Body):
    name: str = ""
    dataset: int | str
    model: int | str
    rungs: list[NewRung] = Field(min_length=1, max_length=40)
    prompt_version: int | str | None = None
    fit: Policy = Field("refuse", description="What happens to test rows that are too long for a rung: shots + input + answer. A rung may have its own.")
    margin: float = Field(MARGIN, ge=0.0, le=0.5, description="A loss (fraction) that would be acceptable for something cheaper.")
    targets: Targets = Targets()
    validation_rows: int = Field(VALIDATION_ROWS, ge=10, le=10_000, description="Validation rows that every cell is scored on first; 100 are a quick look.")
    scheme: Scheme = Field(DEFAULT, description="How answers are read and judged; `metric` is the figure that rungs are compared by.")
    baseline: int | None = Field(
        None, ge=0, lt=40, description="Which of `rungs`, counted from 0, the others are compared with; else the first one that has figures, signals aside."
    )
    quick_look: bool = Field(
        False, description="Score 100 validation rows, and cut tuning short so that a verdict on them is there in about three minutes. It opens no test rows."
    )
    open_test: bool = Field(
        True,
        description="Open the test rows when every rung is scored on validation rows; false, of a quick look, or after a rung was cancelled: "
        "wait for POST /{id}/test.",
    )


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = experiments.recent(person, after, limit)
    return shapes.listing([{"id": row.id, "name": row.name, "created_at": row.created_at} for row in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewExperiment) -> dict[str, Any]:
    key = experiments.create(person, **{**body.model_dump(), "targets": body.targets, "scheme": body.scheme.as_json()})
    return shape(experiments.find(person, key))


@router.post("/{key}/test", status_code=202)
def open_test(person: Person, key: shapes.Key) -> dict[str, Any]:
    """Open the test rows for every rung, once."""
    experiments.open_test(person, key)
    return shape(experiments.find(person, key))


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Its evaluations go with it, models that were tuned for it stay. Refused with 409 `in_use` while one of its jobs is not over."""
    discarding.experiment(person, key)


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
        "provisional": view.provisional,
        "test": {
            "opened_at": view.experiment.opened_at,
            "scored": view.looks["test"].scored,
            "ready": view.ready,
            "held_by": [row.rung.position for row in view.held],
        },
        "margin": view.experiment.margin,
        "baseline": {"rung": view.baseline, "chosen": view.chosen_baseline.rung.position if view.chosen_baseline else None},
        "targets": view.experiment.targets,
        "metric": view.experiment.figure.name,
        "scheme": view.experiment.scheme,
        "majority": view.majority,
        "linear": row_shape(view.linear, view.experiment.figure) if view.linear else None,
        "rows": [row_shape(row, view.experiment.figure) for row in view.rows],
        "recommendation": {
            "rung": recommendation.position,
            "verdict": recommendation.verdict,
            "kind": recommendation.kind,
            "reasons": list(recommendation.reasons),
            "smallest_margin": recommendation.smallest_margin,
            "more_rows": recommendation.more_rows,
        }
        if recommendation
        else None,
    }


def row_shape(row: RungRow, figure: Metric) -> dict[str, Any]:
    scores = row.scores or {}
    return {
        "rung": row.rung.position,
        "technique": row.rung.technique,
        "title": row.title,
        "state": row.state,
        "score": scores.get("value"),
        "interval": scores.get("interval"),
        "n": scores.get("n"),
        "validation": row.validation["value"] if row.validation else None,
        "validation_interval": row.validation["interval"] if row.validation else None,
        "seeds": [cell_shape(one, figure) for one in row.own] if row.rung.chosen is not None else [],
        "cells": [cell_shape(one, figure) for one in row.cells] if len({one.cell.number for one in row.cells}) > 1 else [],
        "label_curve": [cell_shape(one, figure) for one in row.curve],
        "latency_ms": scores.get("latency_ms"),
        "cost": scores.get("cost", 0.0) if scores else None,
        "cost_per_request": row.request_cost,
        "elsewhere": row.elsewhere,
        "trained_elsewhere": row.trained_elsewhere,
        "trainable_parameters": row.model.trainable_parameters if row.rung.tunes else 0,
        "training_seconds": row.model.training_seconds if row.rung.tunes else 0.0,
        "artefact_bytes": row.artefact_bytes,
        "labels_used": row.labels_used,
        "validation_labels": row.validation_labels,
        "input_tokens": scores.get("input_tokens"),
        "output_tokens": scores.get("output_tokens"),
        "fit": scores.get("fit"),
        "not_offered": not_offered(scores),
        "checks": [{"name": one["name"], "rate": one["rate"]} for one in scores.get("checks", [])],
        "comparison": _comparison(row.comparison),
        "model": row.model.id,
        "prompt_version": row.prompt.reference,
        "tune_job": row.lead.cell.tune_job_id,
        "evaluation": row.lead.cell.evaluation_id,
    }


def cell_shape(one: CellRow, figure: Metric) -> dict[str, Any]:
    """A cell of a grid, a seed, or a point of a label curve."""
    return {
        "title": one.title,
        "number": one.cell.number,
        "seed": one.cell.seed,
        "labels": one.labels,
        "validation_labels": one.read.validation,
        "state": one.state,
        "validation": value_of(one.validated, figure) if one.validated else None,
        "score": value_of(one.tested, figure) if one.tested else None,
        "model": one.model.id,
        "prompt_version": one.prompt.reference,
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
