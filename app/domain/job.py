"""Jobs: one unit of queued work each. The only place where a job's state changes.

The row is the job. A worker owns it through a lease: `claim` hands out a token in one UPDATE, every later write carries
the token and changes nothing once it no longer matches (fencing), and `expire` takes back what a silent worker holds.
All times are the database's clock in milliseconds, so machines with wrong clocks agree.
"""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who
from app.domain.base import Base, Owned, db_now
from app.domain.search import Search
from app.errors import Conflict, FettleError

STATES = ("queued", "running", "stopping", "succeeded", "failed", "cancelled")
PHASES = ("load", "preflight", "train", "evaluate", "save")
ACTIVE = ("queued", "running", "stopping")
HELD = ("running", "stopping")
FINAL = ("succeeded", "failed", "cancelled")
KINDS = {"tune": "gpu", "evaluate": "gpu"}
"""The queue of each kind. Work that only asks an endpoint goes to `light` instead: it needs no device and should not wait for one."""

MAX_ATTEMPTS = 3

MOVES: dict[str, tuple[str, ...]] = {
    "queued": ("running", "cancelled"),
    "running": ("stopping", "queued", "succeeded", "failed", "cancelled"),
    "stopping": ("cancelled", "failed"),
    "succeeded": (),
    "failed": ("queued",),
    "cancelled": ("queued",),
}


class Fenced(FettleError):
    """The job was taken back: this worker no longer owns it and must write nothing more."""

    def __init__(self, job: int) -> None:
        super().__init__("fenced", f"Job {job} is no longer held with this lease.", "Another worker may have it; nothing was written.")


class Job(Owned, Base):
    """`settings` are what a person chose, frozen at acceptance; `event` numbers everything a page may want to replay."""

    __tablename__ = "job"
    __table_args__ = (Index("ix_job_queue_state_priority_position", "queue", "state", "priority", "position"),)

    kind: Mapped[str]
    queue: Mapped[str]
    name: Mapped[str]
    state: Mapped[str]
    phase: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0)
    position: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    retried_at_attempt: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None]
    lease_until: Mapped[int | None]
    heartbeat_at: Mapped[int | None]
    worker: Mapped[str | None]
    settings: Mapped[dict[str, Any]]
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    eta_seconds: Mapped[float | None]
    event: Mapped[int] = mapped_column(default=0)
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    phases: Mapped[dict[str, Any]] = mapped_column(default=dict)
    woken_at: Mapped[int | None]
    cancel_requested_at: Mapped[int | None]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]

    @property
    def over(self) -> bool:
        return self.state in FINAL

    @property
    def in_trials(self) -> bool:
        """Whether its steps are counted anew for every trial of a search, and so say little about the whole."""
        return Search.model_validate(self.settings.get("search") or {}).has_trials

    def person(self) -> Who:
        """On whose behalf the worker acts: what a job makes belongs to the job's author."""
        return Who(self.author_id or 0, self.workspace_id, "", "member")


class Attempt(Base):
    """One try of a job on one worker, and how it ended."""

    __tablename__ = "attempt"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    number: Mapped[int]
    worker: Mapped[str]
    started_at: Mapped[int]
    ended_at: Mapped[int | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]


def add(session: Session, person: Who, kind: str, name: str, settings: dict[str, Any], priority: int = 0, light: bool = False) -> Job:
    """A new queued job at the end of its queue."""
    queue = "light" if light else KINDS[kind]
    position = (session.scalar(select(func.max(Job.position)).where(Job.queue == queue)) or 0) + 1
    job = Job(
        workspace_id=person.workspace_id,
        author_id=person.user_id,
        kind=kind,
        queue=queue,
        name=name,
        settings=settings,
        priority=priority,
        position=position,
        state="queued",
    )
    session.add(job)
    session.flush()
    return job


def claim(session: Session, queue: str, worker: str, lease_seconds: int) -> Job | None:
    """Take the best queued job of a queue in one UPDATE: highest priority, then position. None when nothing waits."""
    best = select(Job.id).where(Job.queue == queue, Job.state == "queued").order_by(Job.priority.desc(), Job.position, Job.id).limit(1)
    if session.get_bind().dialect.name == "postgresql":
        best = best.with_for_update(skip_locked=True)
    taken = _taken("running", lease_token=secrets.token_hex(16), worker=worker, attempt=Job.attempt + 1, lease_until=db_now() + lease_seconds * 1000)
    query = update(Job).where(Job.id == best.scalar_subquery(), Job.state == "queued").values(taken).returning(Job.id)
    row = session.execute(query, execution_options={"synchronize_session": False}).first()
    if row is None:
        return None
    job = session.get_one(Job, row.id, populate_existing=True)
    session.add(Attempt(job_id=job.id, number=job.attempt, worker=worker, started_at=job.heartbeat_at, ended_at=None, outcome=None, reason=None))
    session.flush()
    return job


def _taken(state: str, **values: Any) -> dict[str, Any]:
    return {
        "state": state,
        "phase": "load",
        "phases": {},
        "heartbeat_at": db_now(),
        "started_at": func.coalesce(Job.started_at, db_now()),
        "event": Job.event + 1,
        "eta_seconds": None,
        "error": None,
        **values,
    }


def write(session: Session, job_id: int, token: str, events: int = 1, **values: Any) -> int:
    """A fenced write of the worker that holds the job; returns the job's event counter after it. Raises Fenced."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state.in_(HELD))
    row = session.execute(query.values(event=Job.event + events, **values).returning(Job.event), execution_options={"synchronize_session": False}).first()
    if row is None:
        raise Fenced(job_id)
    return int(row.event)


def beat(session: Session, job_id: int, token: str, lease_seconds: int) -> bool:
    """Prolong the lease. True when the job should stop. Raises Fenced when it is no longer ours."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state.in_(HELD))
    query = query.values(heartbeat_at=db_now(), lease_until=db_now() + lease_seconds * 1000)
    row = session.execute(query.returning(Job.state), execution_options={"synchronize_session": False}).first()
    if row is None:
        raise Fenced(job_id)
    return bool(row.state == "stopping")


def enter(session: Session, job_id: int, token: str, phase: str, total: int | None) -> None:
    """A phase begins. The time of its first beginning is kept, so that pages can show how long each took (training is interrupted by validations)."""
    job = session.get_one(Job, job_id, populate_existing=True)
    began = session.execute(select(db_now())).scalar_one()
    write(session, job_id, token, phase=phase, phases={phase: began, **job.phases}, **({} if total is None else {"total_steps": total}))


def cancel(session: Session, job: Job) -> None:
    """Ask for the end of a job: a queued one is over at once, a running one stops within a step. Raises Conflict when it is over."""
    requested = {"cancel_requested_at": db_now(), "event": Job.event + 1}
    waiting = update(Job).where(Job.id == job.id, Job.state == "queued").values(state="cancelled", finished_at=db_now(), **requested)
    running = update(Job).where(Job.id == job.id, Job.state == "running").values(state="stopping", **requested)
    moved = any(session.execute(query, execution_options={"synchronize_session": False}).rowcount for query in (waiting, running))  # type: ignore[attr-defined]
    session.refresh(job)
    if not moved and job.state != "stopping":
        raise Conflict("job_over", f"Job {job.id} has already {job.state}.", "Nothing needs to be stopped.")


def succeed(session: Session, job_id: int, token: str, result: dict[str, Any]) -> None:
    """The work is done. A cancel that came first wins: then this raises Fenced and the caller ends the job with `stop`."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state == "running")
    _end(session, query, job_id, "succeeded", None, result=result)


def stop(session: Session, job_id: int, token: str) -> None:
    """The worker has stopped as it was asked to."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state == "stopping")
    _end(session, query, job_id, "cancelled", "stopped on request")


def fail(session: Session, job_id: int, token: str, error: dict[str, Any]) -> None:
    """The work cannot be done; the same settings would fail again."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state.in_(HELD))
    _end(session, query, job_id, "failed", error["message"], error=error)


def give_back(session: Session, job_id: int, token: str, reason: str, counts: bool = True) -> None:
    """The attempt ended without an end of the work: queue it again, or fail it when it was the last attempt.

    `counts=False` for a worker that is asked to leave (a deploy): the attempt is not held against the job.
    """
    job = session.get_one(Job, job_id, populate_existing=True)
    held = update(Job).where(Job.id == job_id, Job.lease_token == token)
    if job.state == "stopping":
        _end(session, held.where(Job.state == "stopping"), job_id, "cancelled", reason)
    elif counts and _lost(session, job) + 1 >= MAX_ATTEMPTS:
        error = {
            "code": "worker_lost",
            "message": f"Lost {MAX_ATTEMPTS} times; the last attempt ended: {reason}.",
            "advice": "Read the log of the last attempt, then retry.",
        }
        _end(session, held.where(Job.state == "running"), job_id, "failed", reason, error=error)
    else:
        again = {"state": "queued", "lease_token": None, "lease_until": None, "woken_at": None, "eta_seconds": None, "event": Job.event + 1}
        query = held.where(Job.state == "running").values(again)
        if not session.execute(query, execution_options={"synchronize_session": False}).rowcount:  # type: ignore[attr-defined]
            raise Fenced(job_id)
        _close_attempt(session, job_id, job.attempt, "lost" if counts else "handed back", reason)


def _lost(session: Session, job: Job) -> int:
    """Attempts lost since the job was queued by a person. Those handed back by a worker that left are not held against it."""
    since = [Attempt.job_id == job.id, Attempt.outcome == "lost", Attempt.number > job.retried_at_attempt]
    return int(session.scalar(select(func.count()).where(*since)) or 0)


def _end(session: Session, query: Any, job_id: int, state: str, reason: str | None, **values: Any) -> None:
    final = {"state": state, "lease_token": None, "lease_until": None, "eta_seconds": None, "finished_at": db_now(), "event": Job.event + 1, **values}
    row = session.execute(query.values(final).returning(Job.attempt), execution_options={"synchronize_session": False}).first()
    if row is None:
        raise Fenced(job_id)
    _close_attempt(session, job_id, row.attempt, state, reason)
    session.expire_all()


def _close_attempt(session: Session, job_id: int, number: int, outcome: str, reason: str | None) -> None:
    query = update(Attempt).where(Attempt.job_id == job_id, Attempt.number == number)
    session.execute(query.values(ended_at=db_now(), outcome=outcome, reason=reason), execution_options={"synchronize_session": False})


def expire(session: Session) -> list[int]:
    """Take back every job whose lease has run out; returns their ids."""
    lost = session.scalars(select(Job).where(Job.state.in_(HELD), Job.lease_until < db_now())).all()
    ids = [job.id for job in lost]
    for job in lost:
        # It may end, or be heard of, between the two statements: then it is not lost.
        with suppress(Fenced):
            give_back(session, job.id, job.lease_token or "", f"no heartbeat from {job.worker}")
    return ids


def waiting(session: Session, resend_seconds: int) -> list[str]:
    """The queues in which a job waits whose wake-up was not sent, or was sent long ago. Marks them as sent."""
    due = [Job.state == "queued", or_(Job.woken_at.is_(None), Job.woken_at < db_now() - resend_seconds * 1000)]
    query = update(Job).where(*due).values(woken_at=db_now()).returning(Job.queue)
    return list(session.scalars(query, execution_options={"synchronize_session": False}))


def retry(session: Session, job: Job) -> None:
    """Queue a failed or cancelled job again, with its losses counted anew. It resumes from its newest checkpoint."""
    again = {
        "state": "queued",
        "retried_at_attempt": Job.attempt,
        "error": None,
        "cancel_requested_at": None,
        "finished_at": None,
        "woken_at": None,
        "event": Job.event + 1,
    }
    query = update(Job).where(Job.id == job.id, Job.state.in_(("failed", "cancelled"))).values(again)
    if not session.execute(query, execution_options={"synchronize_session": False}).rowcount:  # type: ignore[attr-defined]
        raise Conflict("job_not_over", f"Job {job.id} is {job.state}.", "Only a failed or cancelled job can be retried.")
    session.refresh(job)


def queue_place(session: Session, job: Job) -> int | None:
    """How many jobs go before this one, plus one; None when it does not wait."""
    if job.state != "queued":
        return None
    ahead = select(func.count()).where(
        Job.queue == job.queue, Job.state == "queued", or_(Job.priority > job.priority, (Job.priority == job.priority) & (Job.position < job.position))
    )
    return int(session.scalar(ahead) or 0) + 1


def attempts(session: Session, job_id: int) -> Iterable[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
