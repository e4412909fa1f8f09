"""Queues: what runs and waits in which order, who works on it, and what a person can change about that."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from app import queue as way_out
from app.db import now, reading, transaction
from app.domain import job as jobs
from app.domain import order
from app.domain import queue as queues
from app.domain import worker as workers
from app.domain.access import Who, write
from app.domain.base import db_now
from app.domain.job import FINAL, HELD, Job
from app.domain.order import Move
from app.domain.queue import QUEUES
from app.domain.turn import Turn, turns
from app.domain.worker import Worker
from app.errors import Invalid
from app.services import milestones
from app.services.milestones import Milestone

SHOWN = 50
"""Waiting jobs of each queue on the page; how many more there are is said."""

NEWS_MS = 3_600_000
"""For so long the strip tells that a job has ended, to pages that were not looked at meanwhile."""

TOLD = 50
"""Jobs in the strip: of those that run, and of those that ended last, so many each."""

_LINE = (
    Job.id, Job.workspace_id, Job.kind, Job.queue, Job.name, Job.state, Job.phase, Job.priority, Job.step, Job.total_steps, Job.eta_seconds, Job.settings,
    Job.worker, Job.created_at, Job.started_at, Job.finished_at, Job.heartbeat_at, Job.error, Job.needs_gpu, Job.devices, Job.needs_bytes,
)  # fmt: skip


@dataclass(frozen=True)
class Pause:
    """Since when a queue is paused, and by whom."""

    since: int
    by: str | None


@dataclass(frozen=True)
class Post:
    """A worker or engine process at its post, or silent; `job` is what it has in hand."""

    worker: Worker
    alive: bool
    job: Job | None


@dataclass(frozen=True)
class Board:
    """Everything about the queues at one moment. `waiting` are the next SHOWN of each queue in order; `turns` has the place of each in its whole queue."""

    running: list[Job]
    waiting: list[Job]
    turns: dict[int, Turn]
    counts: dict[str, int]
    paused: dict[str, Pause]
    posts: list[Post]
    now: int
    silent: dict[str, int | None] = field(default_factory=dict)
    """Queues in which something waits that nobody serves, with when somebody last did."""


@dataclass(frozen=True)
class Strip:
    """What every page carries: `ended` are the jobs that ended within the last hour, newest first, without those that only lead to a verdict;
    `milestones` are the verdicts."""

    running: list[Job]
    ended: list[Job]
    milestones: list[Milestone]
    counts: dict[str, int]
    paused: list[str]
    now: int


def board(person: Who) -> Board:
    with reading() as session:
        mine = select(Job).options(load_only(*_LINE)).where(Job.workspace_id == person.workspace_id)
        running = list(session.scalars(mine.where(Job.state.in_(HELD)).order_by(Job.queue, Job.started_at, Job.id)))
        order_of = (Job.priority.desc(), Job.position, Job.id)
        turn = func.row_number().over(partition_by=Job.queue, order_by=order_of).label("turn")
        lines = select(Job.id, turn).where(Job.workspace_id == person.workspace_id, Job.state == "queued").subquery()
        waiting = mine.join(lines, lines.c.id == Job.id).where(lines.c.turn <= SHOWN).order_by(Job.queue, *order_of)
        moment, counts = now(session), _counts(session, person)
        posts = _posts(session, moment, running)
        served = {post.worker.queue for post in posts if post.alive}
        last = {post.worker.queue: post.worker.heartbeat_at for post in reversed(posts)}
        return Board(
            running,
            list(session.scalars(waiting)),
            turns(session, person.workspace_id, moment),
            counts,
            _paused(session, person),
            posts,
            moment,
            {name: last.get(name) for name in counts if name not in served},
        )


def strip(person: Who) -> Strip:
    with reading() as session:
        moment = now(session)
        mine = select(Job).options(load_only(*_LINE)).where(Job.workspace_id == person.workspace_id)
        running = list(session.scalars(mine.where(Job.state.in_(HELD)).order_by(Job.started_at, Job.id).limit(TOLD)))
        ended = mine.where(Job.state.in_(FINAL), Job.finished_at > moment - NEWS_MS)
        over = list(session.scalars(ended.order_by(Job.finished_at.desc()).limit(TOLD)))
        reached, steps = milestones.of(session, over)
        news = [job for job in over if job.id not in steps or job.state == "failed"]
        return Strip(running, news, reached, _counts(session, person), list(_paused(session, person)), moment)


def _counts(session: Session, person: Who) -> dict[str, int]:
    """How many wait in each queue in which any do."""
    query = select(Job.queue, func.count()).where(Job.workspace_id == person.workspace_id, Job.state == "queued").group_by(Job.queue)
    return dict(session.execute(query).all())


def _paused(session: Session, person: Who) -> dict[str, Pause]:
    return {row.name: Pause(row.paused_at or 0, by) for row, by in queues.paused(session, person.workspace_id)}


def _posts(session: Session, moment: int, running: Sequence[Job]) -> list[Post]:
    """Those that answer first, then by how long they are silent. Web processes, which do none of the work, are not among them."""
    there = select(Worker).where(Worker.heartbeat_at > db_now() - workers.FORGET_MS, Worker.queue != workers.WEB)
    rows = session.scalars(there.order_by(Worker.heartbeat_at.desc(), Worker.name)).all()
    held = {f"{job.worker}/{job.queue}": job for job in running}
    posts = [Post(row, row.heartbeat_at > moment - workers.ALIVE_MS, held.get(row.name)) for row in rows]
    return sorted(posts, key=lambda post: (not post.alive, post.worker.queue != "gpu", -post.worker.heartbeat_at if not post.alive else 0, post.worker.name))


def posts(person: Who) -> list[Post]:
    """Who is there to work, and who has been in the last week."""
    return board(person).posts


def waits(person: Who) -> dict[int, Turn]:
    """The turn of every waiting job that this person may read."""
    with reading() as session:
        return turns(session, person.workspace_id, now(session))


def pause(person: Who, name: str) -> None:
    """Nothing more is taken from this queue; what runs goes on."""
    with transaction() as session:
        queues.pause(session, person.workspace_id, _known(name), person.user_id)


def resume(person: Who, name: str) -> None:
    with transaction() as session:
        queues.resume(session, person.workspace_id, _known(name))
        jobs.look_again(session, person.workspace_id, name)
        way_out.announce(session)


def move(person: Who, key: int, to: Move) -> Job:
    """Put a waiting job elsewhere in its queue. Raises Conflict when it does not wait any more."""
    with transaction() as session:
        job = write(session, person, Job, key, "job")
        order.move(session, job, to)
        session.refresh(job)
        return job


def prioritise(person: Who, key: int, priority: int) -> Job:
    low, high = order.PRIORITIES
    if not low <= priority <= high:
        raise Invalid("bad_priority", f"There is no priority {priority}.", f"Give a whole number from {low} to {high}.", detail={"field": "priority"})
    with transaction() as session:
        job = write(session, person, Job, key, "job")
        order.prioritise(session, job, priority)
        return job


def _known(name: str) -> str:
    if name not in QUEUES:
        raise Invalid("unknown_queue", f"There is no queue named {name}.", f"There are: {', '.join(QUEUES)}.")
    return name
