"""Jobs: one unit of queued work each. A job's state changes here alone, in `move`; `ending.py` has the ends and what follows them.

The row is the job. A worker owns it through a lease: `claim` hands out a token in one UPDATE, every later write carries
the token and changes nothing once it no longer matches (fencing), and `ending.expire` takes back what a silent worker holds.
All times are the database's clock in milliseconds, so machines with wrong clocks agree.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from sqlalchemy import ForeignKey, Index, Row, UniqueConstraint, func, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who
from app.domain.base import Base, Owned, db_now
from app.domain.queue import unpaused
from app.domain.search import Search
from app.errors import Conflict, FettleError

STATES = ("queued", "running", "stopping", "succeeded", "failed", "cancelled")
PHASES = ("load", "preflight", "train", "evaluate", "save")
ACTIVE = ("queued", "running", "stopping")
HELD = ("running", "stopping")
FINAL = ("succeeded", "failed", "cancelled")
KINDS = {"tune": "gpu", "evaluate": "gpu", "export": "gpu"}
"""The queue of each kind. Work that only asks an endpoint goes to `light` instead: it needs no device and should not wait for one."""

WRITES = {"tune": "jobs", "evaluate": "jobs", "export": "exports"}
"""The folder of the storage in which each kind writes most. (What an evaluation finds are rows: there it has a log.)"""

MAX_ATTEMPTS = 3
LOST = ("lost", "out_of_memory")
"""Outcomes of attempts that ended without an end of the work."""
MAX_WAITS = 10
"""How often a job is begun that then finds no room on the disk: whatever makes the room come and go, it is said in the end."""
NO_ROOM = "no_room"
"""The outcome of such an attempt."""
MAX_OUTAGES = 100
"""How often an attempt may end because a service was away. Each waits for minutes first, so this is for what never comes back and for what only looks like it."""
AWAY = "away"
"""The outcome of such an attempt."""

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
    __table_args__ = (
        Index("ix_job_queue_state_priority_position", "queue", "state", "priority", "position"),
        Index("ix_job_workspace_id_finished_at", "workspace_id", "finished_at"),
    )

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
    needs_gpu: Mapped[bool] = mapped_column(default=False)
    devices: Mapped[int] = mapped_column(default=1)
    """Over how many GPUs it is spread where there are any; on a processor these are processes, of which there is no lack."""
    needs_bytes: Mapped[int | None]
    """What has to be free on the disk of a worker that takes it, once an attempt has found too little there."""
    cloned_from: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="SET NULL"))
    finish: Mapped[bool] = mapped_column(default=False)
    """Whether its next attempt only ends the run where it stands, and keeps its best moment."""

    @property
    def over(self) -> bool:
        return self.state in FINAL

    def lacks_gpus(self, there: Collection[int]) -> int:
        """How many GPUs it waits for, where the workers have so many each; 0 when one of them may take it (see `_ready`), or there is none at all."""
        return self.devices if there and not any(self.devices <= gpus if gpus else not self.needs_gpu for gpus in there) else 0

    @property
    def in_trials(self) -> bool:
        """Whether its steps are counted anew for every trial of a search, and so say little about the whole."""
        return Search.of(self.settings).has_trials

    @property
    def cloneable(self) -> bool:
        """Whether the same can be asked for again with something changed: tuning, and an evaluation that stands for itself."""
        part = not self.settings.keys().isdisjoint(("judgement", "reliability", "label_budget")) or self.settings.get("answer") == "linear"
        return self.kind == "tune" or (self.kind == "evaluate" and not part)

    @property
    def ended_early(self) -> tuple[int, int] | None:
        """(the step at which somebody ended a run that is kept, the steps it was to make); None of one that came to its own end."""
        result = self.result or {}
        steps, planned = result.get("steps", 0), result.get("planned_steps", 0)
        return (steps, planned) if self.finish and self.state == "succeeded" and steps < planned else None

    @property
    def machine(self) -> str:
        """The machine that has it or had it last; "" while none had."""
        return (self.worker or "").rpartition(":")[0]

    def person(self) -> Who:
        """On whose behalf the worker acts: what a job makes belongs to the job's author."""
        return Who(self.author_id, self.workspace_id, "", "member")


class Attempt(Base):
    """One try of a job on one worker, and how it ended. `ran_with` is what it found there: hashes of its data and base model, versions, device."""

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
    ran_with: Mapped[dict[str, Any] | None]


def add(
    session: Session, person: Who, kind: str, name: str, settings: dict[str, Any], priority: int = 0, light: bool = False, cloned_from: int | None = None
) -> Job:
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
        needs_gpu=bool(settings.get("parameters", {}).get("four_bit")),
        devices=int(settings.get("parameters", {}).get("devices", 1)),
        cloned_from=cloned_from,
    )
    session.add(job)
    session.flush()
    return job


def move(session: Session, to: str, *where: Any, **values: Any) -> Row[int, int] | None:
    """Change the state of the job that `where` tells apart, by one of MOVES, in one UPDATE with its other `values`; None when that moved nothing.

    Returns its id and attempt. Whoever holds the job says so in `where`, by its token.
    """
    before = [state for state, following in MOVES.items() if to in following]
    query = update(Job).where(Job.state.in_(before), *where).values(state=to, event=Job.event + 1, **values)
    return session.execute(query.returning(Job.id, Job.attempt), execution_options={"synchronize_session": False}).first()


def claim(session: Session, queue: str, worker: str, lease_seconds: int, gpus: int | None = None, room: Mapping[str, int] | None = None) -> Job | None:
    """Take the best queued job of a queue in one UPDATE: highest priority, then position. None when nothing waits that may be taken.

    A worker without `gpus` leaves the jobs that need one, one with fewer than a job is spread over leaves that job, and one with so much `room` on its
    disk for each kind those that need more (none of either: it does not look).
    """
    best = select(Job.id).where(Job.queue == queue, *_ready(gpus, room)).order_by(Job.priority.desc(), Job.position, Job.id).limit(1)
    if session.get_bind().dialect.name == "postgresql":
        best = best.with_for_update(skip_locked=True, of=Job)
    lease = {"lease_token": secrets.token_hex(16), "lease_until": db_now() + lease_seconds * 1000}
    row = move(session, "running", Job.id == best.scalar_subquery(), worker=worker, attempt=Job.attempt + 1, **lease, **_afresh())
    if row is None:
        return None
    job = session.get_one(Job, row.id, populate_existing=True)
    job.phases = {"load": job.heartbeat_at}  # starting its process and importing what it needs belongs to it
    session.add(Attempt(job_id=job.id, number=job.attempt, worker=worker, started_at=job.heartbeat_at, ended_at=None, outcome=None, reason=None, ran_with=None))
    session.flush()
    return job


def ready(session: Session, queue: str, gpus: int | None = None, room: Mapping[str, int] | None = None) -> bool:
    """Does anything wait here that a worker may take?"""
    return session.scalars(select(Job.id).where(Job.queue == queue, *_ready(gpus, room)).limit(1)).first() is not None


def _ready(gpus: int | None = None, room: Mapping[str, int] | None = None) -> list[Any]:
    """What may be taken: a job that waits, in a queue that is not paused."""
    runs = [] if gpus is None else [Job.devices <= gpus] if gpus else [Job.needs_gpu.is_(False)]
    fits = [] if room is None else [or_(Job.needs_bytes.is_(None), *((Job.kind == kind) & (Job.needs_bytes <= free) for kind, free in room.items()))]
    return [Job.state == "queued", unpaused(Job.workspace_id, Job.queue), *runs, *fits]


def _afresh() -> dict[str, Any]:
    """What a new attempt knows of the job: nothing yet."""
    return {
        "phase": "load",
        "phases": {},
        "heartbeat_at": db_now(),
        "started_at": func.coalesce(Job.started_at, db_now()),
        "eta_seconds": None,
        "error": None,
        "needs_bytes": None,
    }


def write(session: Session, job_id: int, token: str, events: int = 1, **values: Any) -> int:
    """A fenced write of the worker that holds the job; returns the job's event counter after it. Raises Fenced."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state.in_(HELD))
    row = session.execute(query.values(event=Job.event + events, **values).returning(Job.event), execution_options={"synchronize_session": False}).first()
    if row is None:
        raise Fenced(job_id)
    return int(row.event)


Asked = Literal["stop", "finish"]
"""Of a job that runs: to end, or to end so that its best moment can be kept, for which it saves first."""


def beat(session: Session, job_id: int, token: str, lease_seconds: int) -> Asked | None:
    """Prolong the lease. What the job is asked to do, if anything. Raises Fenced when it is no longer ours."""
    query = update(Job).where(Job.id == job_id, Job.lease_token == token, Job.state.in_(HELD))
    query = query.values(heartbeat_at=db_now(), lease_until=db_now() + lease_seconds * 1000)
    row = session.execute(query.returning(Job.state, Job.finish), execution_options={"synchronize_session": False}).first()
    if row is None:
        raise Fenced(job_id)
    return None if row.state != "stopping" else "finish" if row.finish else "stop"


def enter(session: Session, job_id: int, token: str, phase: str, total: int | None) -> None:
    """A phase begins. The time of its first beginning is kept, so that pages can show how long each took (training is interrupted by validations)."""
    job = session.get_one(Job, job_id, populate_existing=True)
    began = session.execute(select(db_now())).scalar_one()
    write(session, job_id, token, phase=phase, phases={phase: began, **job.phases}, **({} if total is None else {"total_steps": total}))


def look_again(session: Session, workspace_id: int, queue: str) -> None:
    """What waits in a queue is worth a wake-up now, whenever the last one was sent."""
    mine = [Job.workspace_id == workspace_id, Job.queue == queue, Job.state == "queued"]
    session.execute(update(Job).where(*mine).values(woken_at=None), execution_options={"synchronize_session": False})


def found(session: Session, job_id: int, token: str, attempt: int, facts: dict[str, Any]) -> None:
    """Keep what an attempt works with, as it found it at its start. Raises Fenced."""
    write(session, job_id, token)
    query = update(Attempt).where(Attempt.job_id == job_id, Attempt.number == attempt).values(ran_with=facts)
    session.execute(query, execution_options={"synchronize_session": False})


def waiting(session: Session, resend_seconds: int) -> list[str]:
    """The queues in which a job waits whose wake-up was not sent, or was sent long ago. Marks them as sent."""
    due = [*_ready(), or_(Job.woken_at.is_(None), Job.woken_at < db_now() - resend_seconds * 1000)]
    query = update(Job).where(*due).values(woken_at=db_now()).returning(Job.queue)
    return list(session.scalars(query, execution_options={"synchronize_session": False}))


def retry(session: Session, job: Job, *, finish: bool = False) -> None:
    """Queue a failed or cancelled job again, with its losses counted anew. It resumes from its newest checkpoint, to its end or (`finish`) to save at once."""
    anew = dict.fromkeys(("needs_bytes", "error", "cancel_requested_at", "finished_at", "woken_at"))
    if move(session, "queued", Job.id == job.id, Job.state.in_(FINAL), retried_at_attempt=Job.attempt, finish=finish, **anew) is None:
        raise Conflict("job_not_over", f"Job {job.id} is {job.state}.", "Only a failed or cancelled job can be retried.")
    session.refresh(job)


def queue_place(session: Session, job: Job) -> int | None:
    """How many jobs go before this one, plus one; None when it does not wait."""
    if job.state != "queued":
        return None
    first = (Job.position < job.position) | ((Job.position == job.position) & (Job.id < job.id))
    ahead = select(func.count()).where(Job.queue == job.queue, Job.state == "queued", or_(Job.priority > job.priority, (Job.priority == job.priority) & first))
    return int(session.scalar(ahead) or 0) + 1


def attempts(session: Session, job_id: int) -> Iterable[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
