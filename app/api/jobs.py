"""/api/v1/jobs"""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.doors import Person
from app.services import estimates, jobs

router = APIRouter(prefix="/jobs")


class Wanted(shapes.Body):
    """What an estimate depends on."""

    kind: Literal["tune"] = "tune"
    model: int | str
    dataset: int | str
    method: str
    parameters: dict[str, Any] = {}
    prompt_version: int | str | None = None
    search: dict[str, Any] | None = Field(None, description="how, trials, factor, space, seed: see docs/methods.md. Left out: one run.")


class NewJob(Wanted):
    seed: int = Field(0, ge=0, le=2**31 - 1)
    priority: int = Field(0, ge=-100, le=100)


class Changes(shapes.Body):
    """Parameters a clone has different."""

    parameters: dict[str, Any] = {}


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = jobs.recent(person, after, limit)
    return shapes.listing([shapes.job(row) for row in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewJob) -> dict[str, Any]:
    view = jobs.start_tune(person, **body.model_dump(exclude={"kind"}))
    return {"id": view.job.id, "state": view.job.state, "position": view.position}


@router.post("/estimate")
def estimate(person: Person, body: Wanted) -> dict[str, Any]:
    """Steps, trained parameters and memory of a job before it is one, of a search the most that one of its trials takes; null where the model's files or a worker are out of reach."""
    return shapes.estimate(estimates.tune(person, **body.model_dump(exclude={"kind"})))


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    view = jobs.find(person, key)
    return shapes.job(view.job, view.position)


@router.get("/{key}/metrics")
def metrics(person: Person, key: shapes.Key, after_step: int = -1) -> dict[str, Any]:
    return {"items": [{"name": point.name, "step": point.step, "value": point.value} for point in jobs.points(person, key, after_step)], "next": None}


@router.get("/{key}/samples")
def samples(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.listing([shapes.sample(row.sample, row.right) for row in jobs.samples(person, key)], None)


@router.get("/{key}/trials")
def trials(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.listing([shapes.trial(row) for row in jobs.trials_of(person, key)], None)


@router.post("/{key}/cancel", status_code=202)
def cancel(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.job(jobs.cancel(person, key))


@router.post("/{key}/retry", status_code=202)
def retry(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.job(jobs.retry(person, key))


@router.post("/{key}/clone", status_code=202)
def clone(person: Person, key: shapes.Key, body: Changes | None = None) -> dict[str, Any]:
    return shapes.job(jobs.clone(person, key, body.parameters if body else None))
