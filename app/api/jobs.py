"""/api/v1/jobs"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import shapes
from app.domain.fitting import Policy
from app.domain.job import STATES
from app.domain.order import PRIORITIES, Move
from app.doors import Person
from app.services import discarding, estimates, jobs, queues

router = APIRouter(prefix="/jobs")

Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[1])]


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
    priority: Priority = 0


class NewJobs(shapes.Body):
    """Several jobs, in the order in which they should wait."""

    items: list[NewJob] = Field(min_length=1, max_length=jobs.MOST)


class Changes(shapes.Body):
    """What a clone has different: some parameters, and whatever else is named. `split`, `answer`, `limit`, `fit` and `scheme` are an evaluation's."""

    parameters: dict[str, Any] = {}
    model: int | str | None = None
    dataset: int | str | None = None
    method: str | None = None
    prompt_version: int | str | None = None
    search: dict[str, Any] | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    split: Literal["train", "validation", "test", "reserve"] | None = None
    answer: Literal["likelihood", "generate"] | None = None
    limit: int | None = Field(None, ge=1)
    fit: Policy | None = None
    scheme: dict[str, Any] | None = None
    priority: Priority | None = None


class Place(shapes.Body):
    """Where a waiting job goes: one place up or down, or to an end of the queue."""

    to: Move


class Edit(shapes.Body):
    priority: Priority


@router.get("")
def index(
    person: Person,
    after: shapes.After = None,
    limit: shapes.Limit = 50,
    state: Annotated[str | None, Query(pattern=f"^({'|'.join(STATES)})$")] = None,
    kind: str | None = None,
) -> dict[str, Any]:
    """Newest first; of one state or kind only when that is asked for. A waiting job has its position in the queue, and when its turn comes where that is measured."""
    rows, following = jobs.recent(person, after, limit, kind, (state,) if state else STATES)
    turns = queues.waits(person) if any(row.state == "queued" for row in rows) else {}
    return shapes.listing([shapes.job(row, turns.get(row.id)) for row in rows], following)


@router.post("", status_code=202)
def create(person: Person, body: NewJob) -> dict[str, Any]:
    view = jobs.start_tune(person, **body.model_dump(exclude={"kind"}))
    return {"id": view.job.id, "state": view.job.state, "position": view.position}


@router.post("/many", status_code=202)
def create_many(person: Person, body: NewJobs) -> dict[str, Any]:
    """All of them or none: a refusal names the job, counted from 1, as `item`. When one fails later the others go on."""
    rows = jobs.start_many(person, [one.model_dump(exclude={"kind"}) for one in body.items])
    turns = queues.waits(person)
    return {"items": [{"id": row.id, "state": row.state, "position": turns[row.id].place if row.id in turns else None} for row in rows]}


@router.post("/estimate")
def estimate(person: Person, body: Wanted) -> dict[str, Any]:
    """Steps, trained parameters and memory of a job before it is one, of a search the most that one of its trials takes; null where the model's files or a worker are out of reach."""
    return shapes.estimate(estimates.tune(person, **body.model_dump(exclude={"kind"})))


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Refused with 409 `in_use` while it is not over, or a model or comparison stands on it."""
    discarding.job(person, key)


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    view = jobs.find(person, key)
    return shapes.job(view.job, view.turn)


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


@router.post("/{key}/finish", status_code=202)
def finish(person: Person, key: shapes.Key) -> dict[str, Any]:
    """End a tuning run where it stands, or stood, and keep its best moment as the result."""
    return shapes.job(jobs.finish(person, key))


@router.post("/{key}/clone", status_code=202)
def clone(person: Person, key: shapes.Key, body: Changes | None = None) -> dict[str, Any]:
    """The same work again, with what the body names changed."""
    asked = body.model_dump(exclude_unset=True) if body else {}
    return shapes.job(jobs.clone(person, key, asked.pop("parameters", None), **asked))


@router.post("/{key}/move", status_code=202)
def move(person: Person, key: shapes.Key, body: Place) -> dict[str, Any]:
    """Change a waiting job's place. It takes the priority of the job it passes."""
    return shapes.job(queues.move(person, key, body.to), queues.waits(person).get(key))


@router.patch("/{key}")
def edit(person: Person, key: shapes.Key, body: Edit) -> dict[str, Any]:
    return shapes.job(queues.prioritise(person, key, body.priority), queues.waits(person).get(key))
