"""How jobs end: cancelled, succeeded, stopped, finished early, failed, or given back to the queue; and what follows, in the same transaction.

Apart from `job.py` because what follows is made of jobs itself: the next rung of an experiment, a message to a webhook.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.domain import climbing
from app.domain import metric as metrics
from app.domain import webhook as webhooks
from app.domain.base import db_now
from app.domain.job import AWAY, HELD, LOST, MAX_ATTEMPTS, MAX_OUTAGES, MAX_WAITS, NO_ROOM, Attempt, Fenced, Job, move, retry
from app.errors import Conflict


def cancel(session: Session, job: Job) -> None:
    """Ask for the end of a job: a queued one is over at once, a running one stops within a step. Raises Conflict when it is over."""
    _held(session, job)
    asked: dict[str, Any] = {"cancel_requested_at": db_now(), "finish": False}
    moved = move(session, "cancelled", Job.id == job.id, Job.state == "queued", finished_at=db_now(), **asked) or move(
        session, "stopping", Job.id == job.id, **asked
    )
    if not moved:  # one that stops to be finished is not to be finished any more
        held = update(Job).where(Job.id == job.id, Job.state == "stopping").values(finish=False)
        session.execute(held, execution_options={"synchronize_session": False})
    session.refresh(job)
    if not moved and job.state != "stopping":
        raise Conflict("job_over", f"Job {job.id} has already {job.state}.", "Nothing needs to be stopped.")
    if job.over:
        climbing.follow(session, job)


def _held(session: Session, job: Job) -> None:
    """Nobody else changes this job until the transaction ends: between two statements its worker might. (SQLite lets one writer in at a time anyway.)"""
    session.execute(select(Job.id).where(Job.id == job.id).with_for_update())


def finish(session: Session, job: Job) -> None:
    """End a tuning run where it stands and keep its best moment: what runs stops first, then one more attempt saves, and is the job's success.

    Raises Conflict when there is nothing to keep, or it is over with a result, or stopping already.
    """
    if not metrics.reached(session, job.id):
        raise Conflict("nothing_to_keep", f"Job {job.id} has not trained a step yet.", "Stop it, or let it run.")
    _held(session, job)
    if job.over:
        retry(session, job, finish=True)
        return
    waits = update(Job).where(Job.id == job.id, Job.state == "queued").values(finish=True, event=Job.event + 1)
    changed = session.execute(waits, execution_options={"synchronize_session": False}).rowcount  # type: ignore[attr-defined]
    if not changed and move(session, "stopping", Job.id == job.id, cancel_requested_at=db_now(), finish=True) is None:
        raise Conflict("job_stops", f"Job {job.id} is stopping.", "When it has stopped, ask again.")
    session.refresh(job)


def succeed(session: Session, job_id: int, token: str, result: dict[str, Any]) -> None:
    """The work is done. A cancel that came first wins: then this raises Fenced and the caller ends the job with `stop`."""
    _end(session, job_id, token, ("running",), "succeeded", None, result=result)


def stop(session: Session, job_id: int, token: str) -> None:
    """The worker has stopped as it was asked to."""
    _end(session, job_id, token, ("stopping",), "cancelled", "stopped on request")


def fail(session: Session, job_id: int, token: str, error: dict[str, Any]) -> None:
    """The work cannot be done; the same settings would fail again."""
    _end(session, job_id, token, HELD, "failed", error["message"], error=error)


def give_back(
    session: Session,
    job_id: int,
    token: str,
    reason: str,
    counts: bool = True,
    cause: dict[str, Any] | None = None,
    needs_bytes: int | None = None,
    away: bool = False,
) -> None:
    """The attempt ended without an end of the work: queue it again, or fail it when it was the last attempt.

    `counts=False` for a worker that is asked to leave (a deploy): the attempt is not held against the job. A `cause` is an error that one more attempt
    may be spared, and two will not: the second attempt that ends with its code fails the job with it. With `needs_bytes` it waits for a worker with so
    much room on its disk, which is not held against it either, until it has found less than that MAX_WAITS times. Nor is it when a service was `away`
    (the database, Redis, the object store), up to MAX_OUTAGES times.
    """
    job = session.get_one(Job, job_id, populate_existing=True)
    running = ("running",)
    if job.state == "stopping":
        _end(session, job_id, token, ("stopping",), "cancelled", reason)
    elif cause and _lost(session, job, cause["code"]):
        _end(session, job_id, token, running, "failed", reason, error=cause)
    elif away and _lost(session, job, AWAY) + 1 >= MAX_OUTAGES:
        _end(session, job_id, token, running, "failed", reason, error=_never_there(reason))
    elif counts and not away and _lost(session, job) + 1 >= MAX_ATTEMPTS:
        error = {
            "code": "worker_lost",
            "message": f"Lost {MAX_ATTEMPTS} times; the last attempt ended: {reason}.",
            "advice": "Read the log of the last attempt, then retry.",
        }
        _end(session, job_id, token, running, "failed", reason, error=error)
    elif needs_bytes is not None and _lost(session, job, NO_ROOM) + 1 >= MAX_WAITS:
        _end(session, job_id, token, running, "failed", reason, error=_room_comes_and_goes(needs_bytes))
    else:
        free: dict[str, Any] = dict.fromkeys(("lease_token", "lease_until", "woken_at", "eta_seconds"))
        if move(session, "queued", Job.id == job_id, Job.lease_token == token, Job.state.in_(running), needs_bytes=needs_bytes, **free) is None:
            raise Fenced(job_id)
        gentle = NO_ROOM if needs_bytes is not None else AWAY if away else "handed back" if not counts else None
        _close_attempt(session, job_id, job.attempt, gentle or (cause["code"] if cause else "lost"), reason)


def expire(session: Session, lease_seconds: int | None = None) -> list[int]:
    """Take back every job whose lease has run out; returns their ids.

    A lease that reaches further than anybody could have prolonged it was written before the database's clock was set back: its worker
    prolongs it within a second, or it ends after `lease_seconds` as any other.
    """
    if lease_seconds is not None:
        most = db_now() + lease_seconds * 1000
        set_back = update(Job).where(Job.state.in_(HELD), Job.lease_until > most + lease_seconds * 1000)
        session.execute(set_back.values(lease_until=most), execution_options={"synchronize_session": False})
    # Locked until they are given back: one that is heard of just now is not among them, and none can be heard of in between.
    silent = select(Job).where(Job.state.in_(HELD), Job.lease_until < db_now()).with_for_update(skip_locked=True)
    lost = session.scalars(silent, execution_options={"populate_existing": True}).all()
    for job in lost:
        with suppress(Fenced):
            give_back(session, job.id, job.lease_token or "", f"no heartbeat from {job.worker}")
    return [job.id for job in lost]


def _lost(session: Session, job: Job, *outcomes: str) -> int:
    """Attempts lost (or with one of these outcomes) since the job was queued by a person. Those handed back by a worker that left are not held against it."""
    since = [Attempt.job_id == job.id, Attempt.outcome.in_(outcomes or LOST), Attempt.number > job.retried_at_attempt]
    return int(session.scalar(select(func.count()).where(*since)) or 0)


def _room_comes_and_goes(needed: int) -> dict[str, Any]:
    return {
        "code": "disk_full",
        "message": f"{MAX_WAITS} times {needed / 1e6:,.1f} MB were free on the disk when the job was taken, and fewer when it was to start.",
        "advice": "See what fills this disk and is taken away again, or give the storage one of its own (FETTLE_STORAGE); then retry.",
        "needed_bytes": needed,
    }


def _never_there(reason: str) -> dict[str, Any]:
    return {
        "code": "service_away",
        "message": f"{MAX_OUTAGES} attempts ended because a service did not answer; the last one: {reason}.",
        "advice": "Read the log of the last attempt, and check the database, the queue service (Redis) and the object store; then retry.",
    }


def _end(session: Session, job_id: int, token: str, before: Sequence[str], to: str, reason: str | None, **values: Any) -> None:
    free: dict[str, Any] = dict.fromkeys(("lease_token", "lease_until", "eta_seconds"))
    row = move(session, to, Job.id == job_id, Job.lease_token == token, Job.state.in_(before), finished_at=db_now(), **free, **values)
    if row is None:
        raise Fenced(job_id)
    _close_attempt(session, job_id, row.attempt, to, reason)
    session.expire_all()
    job = session.get_one(Job, job_id)
    if to == "cancelled" and job.finish:
        retry(session, job, finish=True)
        return
    webhooks.tell(session, job)
    climbing.follow(session, job)


def _close_attempt(session: Session, job_id: int, number: int, outcome: str, reason: str | None) -> None:
    query = update(Attempt).where(Attempt.job_id == job_id, Attempt.number == number)
    session.execute(query.values(ended_at=db_now(), outcome=outcome, reason=reason), execution_options={"synchronize_session": False})
