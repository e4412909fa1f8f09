"""The order in which waiting jobs are taken: highest priority first, then the longest in place. Moving one leaves the others in their order."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.domain import queue as queues
from app.domain.job import Job
from app.errors import Conflict

PRIORITIES = (-100, 100)

Move = Literal["up", "down", "first", "last"]


class Waiting(NamedTuple):
    """A waiting job's place in its queue."""

    id: int
    workspace_id: int
    priority: int
    position: int


def line(session: Session, queue: str) -> Sequence[Waiting]:
    """What waits in a queue, the next one first."""
    query = select(Job.id, Job.workspace_id, Job.priority, Job.position).where(Job.queue == queue, Job.state == "queued")
    return [Waiting(*row) for row in session.execute(query.order_by(Job.priority.desc(), Job.position, Job.id))]


def places(session: Session) -> dict[int, int]:
    """The place of every waiting job in its queue, counted from 1."""
    query = select(Job.id, Job.queue).where(Job.state == "queued").order_by(Job.priority.desc(), Job.position, Job.id)
    counts: dict[str, int] = {}
    found = {}
    for key, queue in session.execute(query):
        found[key] = counts[queue] = counts.get(queue, 0) + 1
    return found


def move(session: Session, job: Job, to: Move) -> None:
    """Put a waiting job one place on or back among its workspace's, or at an end of them. It takes the priority of the job it passes, which keeps its own.

    Raises Conflict when it does not wait any more.
    """
    queues.held(session, job.workspace_id, job.queue)
    before = line(session, job.queue)
    mine = [one for one in before if one.workspace_id == job.workspace_id]
    here = next((at for at, one in enumerate(mine) if one.id == job.id), None)
    if here is None:
        raise _gone(session, job)
    there = {"up": max(here - 1, 0), "down": min(here + 1, len(mine) - 1), "first": 0, "last": len(mine) - 1}[to]
    if there == here:
        return
    passed, moved = mine[there], mine[here]._replace(priority=mine[there].priority)
    rest = [one for one in before if one.id != job.id]
    at = rest.index(passed) + (there > here)
    _number(session, moved, [one for one in (*rest[:at], moved, *rest[at:]) if one.priority == moved.priority])


def _number(session: Session, moved: Waiting, group: Sequence[Waiting]) -> None:
    """Write the places of the jobs of one priority, in this order: the numbers they have, handed out anew."""
    numbers = list(_rising(sorted(one.position for one in group)))
    changed = [{"id": one.id, "position": number, "priority": moved.priority} for one, number in zip(group, numbers, strict=True) if one.position != number]
    if moved.id not in {one["id"] for one in changed}:
        changed.append({"id": moved.id, "position": moved.position, "priority": moved.priority})
    session.execute(update(Job), changed)


def _rising(numbers: Iterable[int]) -> Iterable[int]:
    """Sorted numbers, of which no two are the same any more."""
    last: int | None = None
    for number in numbers:
        last = number if last is None or number > last else last + 1
        yield last


def prioritise(session: Session, job: Job, priority: int) -> None:
    """Give a waiting job a priority. Among those that have it already it goes by how long it waits. Raises Conflict when it does not wait any more."""
    query = update(Job).where(Job.id == job.id, Job.state == "queued").values(priority=priority)
    if not session.execute(query, execution_options={"synchronize_session": False}).rowcount:  # type: ignore[attr-defined]
        raise _gone(session, job)
    session.refresh(job)


def _gone(session: Session, job: Job) -> Conflict:
    session.refresh(job)
    return Conflict("not_waiting", f"Job {job.id} does not wait any more: it is {job.state}.", "Only a waiting job has a place in the queue.")
