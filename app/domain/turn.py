"""When a waiting job's turn comes, by the clock, as far as that is measured: nothing here is guessed.

A job in hand ends when its own pace lets expect. One that waits takes what jobs like it took: the same settings but for seed and learning rate. From the first
job on of which neither is known, nothing is said of those behind it.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, load_only

from app.domain import order
from app.domain import worker as workers
from app.domain.device import spoken
from app.domain.job import HELD, Job
from app.domain.queue import Queue
from app.domain.worker import ALIVE_MS, Worker

FORESEEN = 50
"""So many places of each queue are looked at."""

LIKE = 100
"""Jobs that ended last, among which those are that the waiting ones are like."""

MINUTE = 60_000

_NEEDED = (
    Job.workspace_id, Job.kind, Job.queue, Job.state, Job.phase, Job.phases, Job.settings, Job.step, Job.total_steps, Job.eta_seconds, Job.worker, Job.attempt,
    Job.finish, Job.started_at, Job.finished_at, Job.heartbeat_at, Job.needs_gpu, Job.devices, Job.needs_bytes,
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A waiting job's place in its queue, and when it begins (milliseconds on the database's clock, to the minute).

    `behind` is the job whose end makes room first, where its workspace has it; `device` what that runs on, as people call it, and `until` when it ends.
    """

    place: int
    begins: int | None = None
    behind: int | None = None
    device: str | None = None
    until: int | None = None


def ends(job: Job, now: int) -> int | None:
    """When a job in hand ends, in milliseconds. None while nothing is measured, when it is asked to stop, and when nothing is heard of it."""
    if job.state != "running" or job.finish or (job.heartbeat_at or 0) < now - ALIVE_MS:
        return None
    return None if job.eta_seconds is None else now + int(1000 * job.eta_seconds)


def to_the_minute(moment: int | None) -> int | None:
    """An estimate changes all the time, and nobody wants to read that."""
    return None if moment is None else moment // MINUTE * MINUTE


def turns(session: Session, workspace_id: int, now: int) -> dict[int, Turn]:
    """The turn of every waiting job of a workspace, by job. The same number of queries however many there are."""
    places = order.places(session)
    if not places:
        return {}
    mine = session.scalars(select(Job.id).where(Job.workspace_id == workspace_id, Job.state == "queued"))
    found = {key: Turn(places[key]) for key in mine if key in places}
    near = [key for key, place in places.items() if place <= FORESEEN]
    rows = session.scalars(select(Job).options(load_only(*_NEEDED)).where(or_(Job.id.in_(near), Job.state.in_(HELD)))).all()
    held, there = [job for job in rows if job.state in HELD], workers.alive(session)
    waiting = sorted((job for job in rows if job.id in places and job.state == "queued"), key=lambda job: places[job.id])
    paused = {(workspace, name) for workspace, name in session.execute(select(Queue.workspace_id, Queue.name).where(Queue.paused_at.is_not(None)))}
    took = _took(session, held, now)
    for queue in {job.queue for job in waiting}:
        serving = [worker for worker in there if worker.queue == queue]
        hands = {worker.name: next((job for job in held if f"{job.worker}/{job.queue}" == worker.name), None) for worker in serving}
        line = [job for job in waiting if job.queue == queue and (job.workspace_id, queue) not in paused and _may_be_taken(job, serving)]
        begins = _begins(line, [now if job is None else ends(job, now) for job in hands.values()], _lasts(took, {row.machine for row in serving}), now)
        first = _first_to_end(hands, workspace_id, serving, now)
        found |= {job.id: replace(first, place=places[job.id], begins=to_the_minute(begins.get(job.id))) for job in line if job.id in found}
    return found


def _may_be_taken(job: Job, serving: Sequence[Worker]) -> bool:
    """Whether it waits for its turn alone, and for no GPU and no room that nobody has."""
    room = workers.most_room(serving, job.kind)
    return not job.lacks_gpus(workers.gpus(serving)) and not (job.needs_bytes and room is not None and room < job.needs_bytes)


def _first_to_end(hands: Mapping[str, Job | None], workspace_id: int, serving: Sequence[Worker], now: int) -> Turn:
    """What a waiting job waits behind: nothing while a worker has nothing in hand."""
    if not hands or None in hands.values():
        return Turn(0)
    ending = {name: ends(job, now) for name, job in hands.items() if job is not None}
    name = min(ending, key=lambda name: (ending[name] is None, ending[name] or 0))
    job = hands[name]
    if job is None or job.workspace_id != workspace_id:
        return Turn(0)
    until = None if None in ending.values() else to_the_minute(ending[name])  # of one that is not known the end may come first
    device = next((spoken(worker.devices[0]["name"]) for worker in serving if worker.name == name and worker.devices), None)
    return Turn(0, None, job.id, device, until)


def _begins(line: Sequence[Job], free: Sequence[int | None], lasts: Mapping[str, float], now: int) -> dict[int, int]:
    """When each of these begins, in order, where the workers are `free` then. Among several workers one that needs a GPU or several is not foreseen."""
    if None in free:
        return {}
    hands, found = [at for at in free if at is not None], dict[int, int]()
    heapq.heapify(hands)
    for job in line:
        if not hands or (len(hands) > 1 and (job.needs_gpu or job.devices > 1)):
            break
        at = heapq.heappop(hands)
        if at > now:
            found[job.id] = at
        took = lasts.get(_likeness(job))
        if took is None:
            break
        heapq.heappush(hands, at + int(took))
    return found


def _took(session: Session, held: Sequence[Job], now: int) -> dict[tuple[str, str], float]:
    """How long jobs take in milliseconds, by machine and likeness: the median of those that ended lately, and of those in hand what they will have taken."""
    over = select(Job).options(load_only(*_NEEDED)).where(Job.state == "succeeded", Job.attempt == 1, Job.finish.is_(False))
    took = defaultdict[tuple[str, str], list[int]](list)
    for job in session.scalars(over.order_by(Job.id.desc()).limit(LIKE)):
        if job.started_at and job.finished_at:
            took[job.machine, _likeness(job)].append(job.finished_at - job.started_at)
    for job in held:
        end = ends(job, now)
        if end is not None and job.started_at and job.attempt == 1:
            took[job.machine, _likeness(job)].append(end - job.started_at)
    return {like: median(found) for like, found in took.items()}


def _lasts(took: Mapping[tuple[str, str], float], machines: Collection[str]) -> dict[str, float]:
    """How long jobs of each likeness take on whichever of these machines: where it is known of all of them, what they take on the slowest."""
    found = {likeness: [took.get((machine, likeness)) for machine in machines] for _, likeness in took}
    return {likeness: max(known) for likeness, each in found.items() if (known := [one for one in each if one is not None]) and len(known) == len(each)}


def _likeness(job: Job) -> str:
    """What jobs share that take about as long: all they were given but what does not cost time."""
    parameters = {name: value for name, value in job.settings.get("parameters", {}).items() if name != "learning_rate"}
    rest = {name: value for name, value in job.settings.items() if name not in ("seed", "parameters")}
    return json.dumps([job.kind, rest, parameters], sort_keys=True)
