"""The parent of a job's process: claims the job, starts the process, holds the lease, passes on a stop, records the end.

It never imports torch. The job's process (`worker.run_job`) writes metrics and results itself with the lease token; what
only the parent can do is see it die. The pipe to the child's stdin is its lifeline: when the parent is gone it closes. A process
that scored with a model may go on with the next evaluation of it (worker/staying.py).
"""

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.domain import device as memory
from app.domain import ending
from app.domain import job as jobs
from app.domain.job import Fenced, Job
from app.settings import settings
from worker import devices, resources
from worker.engine.disk import FULL
from worker.engine.lifeline import AWAY, LEFT, LOST
from worker.identity import worker_name
from worker.outage import PATIENCE_SECONDS
from worker.staying import JobProcess, Seat

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
STOP_SECONDS = 3.5
LEAVE_SECONDS = 26.0
"""How long a job has to finish its step, save and hand itself back: below the grace of `fettle up`, so that it is not lost."""
EXIT_SECONDS = 10.0
SETTLE_SECONDS = PATIENCE_SECONDS
"""How long to wait for a database that is away before an ended job is left to its lease: whoever says how it ended has more to say than that it fell silent."""
SILENT_LEASES = 3
"""A job whose worker has not reached the database for so many leases, and for PATIENCE_SECONDS, is ended here."""
CUT_OFF = "its worker did not reach the database for so long that it ended the job; it goes on from what it has saved"
LEAST_BYTES = 10_000_000
"""What has to be free for a job whose process could not even be given a folder and a log."""
VMSTAT = Path("/proc/vmstat")
OUT_OF_MEMORY = {
    "code": "out_of_memory",
    "message": "The system ran out of memory and killed a process of the job, twice.",
    "advice": "Lower batch_size or max_length, raise accumulation, switch checkpointing on, or end what else needs memory on that machine; then retry.",
}
_leaving = threading.Event()


def leave() -> None:
    """The worker is asked to end: jobs finish their step, save, and go back to the queue. Passed on to pool processes."""
    if _leaving.is_set():
        return
    _leaving.set()
    for child in psutil.Process().children():
        child.terminate()


def is_leaving() -> bool:
    """Whether the worker was asked to end."""
    return _leaving.is_set()


def drain(queue: str) -> None:
    """Run jobs of a queue until none waits. One drain a machine and queue: a second one returns at once."""
    while not _leaving.is_set() and _waits(queue):
        with device_lock(queue) as mine:
            if not mine:
                return
            with Seat() as seat:
                while not _leaving.is_set() and run_one(queue, seat):
                    pass


def run_one(queue: str, seat: Seat | None = None) -> bool:
    """Claim one job and see it through. False when nothing waits. With a `seat`, the process of the job before may go on with it."""
    with transaction() as session:
        job = jobs.claim(session, queue, worker_name(), settings().lease_seconds, **_has())
    if job is None:
        return False
    log.info("job starts", job=job.id, attempt=job.attempt, kind=job.kind)
    killed_before, code, needs = _memory_kills(), None, None
    try:
        with _process(job, seat) as process, resources.metered(job, process.pid):
            reason = _watch(job, process)
            code = process.returncode
            if seat is not None:
                seat.keep(process, job)
    except OSError as error:
        reason = f"its process could not be started: {error}"
        needs = LEAST_BYTES if error.errno in FULL else None  # else a full disk would fail all that waits within a second
    except Fenced:
        log.warning("job was taken back", job=job.id)
        return True
    finally:
        if seat is None or not seat.holds(job):
            devices.free(job)
    _tidy(job)
    if code in (-signal.SIGKILL, LOST) and reason != CUT_OFF and _memory_kills() > killed_before:
        _settle(job, "the system ran out of memory and killed its process", cause=OUT_OF_MEMORY)
    else:
        _settle(job, reason, needs_bytes=needs, away=code == AWAY or reason == CUT_OFF)
    return needs is None  # a disk may be full in ways that nobody measures (inodes, a quota): the next look comes later


def attempt_folder(job: Job) -> Path:
    """Everything one attempt writes: its log, its checkpoints, its artefact."""
    return settings().storage_folder / "jobs" / str(job.id) / f"attempt-{job.attempt}"


def log_file(job: Job) -> Path:
    """What the process of an attempt says, its libraries included."""
    return attempt_folder(job) / "process.log"


def _process(job: Job, seat: Seat | None) -> JobProcess:
    log_file(job).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_file(job).touch()  # what fails for a process of its own fails here for one that stayed, too
    left = seat.take(job) if seat is not None else None
    return left or JobProcess(job, log_file(job), may_stay=seat is not None)


def _watch(job: Job, process: JobProcess) -> str:
    """Hold the lease until the process is through; returns how it ended. Raises Fenced after killing a process that lost its job.

    While the database is away the job goes on, but not for ever: somebody else, who reaches it, has the job by then.
    """
    until: dict[str, float] = {}
    heard, asked = time.monotonic(), None
    while not process.through(BEAT_SECONDS):
        try:
            heard, asked = time.monotonic(), _beat(job)
        except Fenced:
            return _released(job, process)
        except SQLAlchemyError as error:
            log.warning("database does not answer; the job goes on", job=job.id, reason=str(error))
            if time.monotonic() - heard > max(PATIENCE_SECONDS, SILENT_LEASES * settings().lease_seconds):
                process.end()
                return CUT_OFF
        patience = LEAVE_SECONDS if asked == "finish" else STOP_SECONDS
        for word, wanted, seconds in (("stop", asked is not None, patience), ("leave", _leaving.is_set(), LEAVE_SECONDS)):
            if wanted and word not in until:
                until[word] = time.monotonic() + seconds
                process.tell(word)
        if until and time.monotonic() > min(until.values()):
            process.end()
            return "stopped" if "stop" in until else "did not stop in time and was killed"
    return _ending(process)


def _beat(job: Job) -> jobs.Asked | None:
    """Prolong the lease. What the job is asked to do. Raises Fenced."""
    with transaction() as session:
        asked = jobs.beat(session, job.id, job.lease_token or "", settings().lease_seconds)
        memory.keep(session, memory.job_holder(job.id, job.attempt), settings().lease_seconds)
        return asked


def _released(job: Job, process: JobProcess) -> str:
    """The lease is no longer ours: because the process has just ended the job, or because somebody else has it. Raises Fenced then."""
    try:
        with reading() as session:
            row = session.get(Job, job.id)
    except SQLAlchemyError:
        row = None
    over = row is not None and row.over
    if not process.through(EXIT_SECONDS if over else 0):
        process.end()
    if not over:
        process.end()
        raise Fenced(job.id)
    return _ending(process)


def _settle(job: Job, reason: str, cause: dict[str, str] | None = None, needs_bytes: int | None = None, *, away: bool = False) -> None:
    """Close a job whose process has ended without closing it. With a database that stays away it is left to its lease."""
    token, deadline = job.lease_token or "", time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            with transaction() as session:
                row = session.get(Job, job.id)
                if row is not None and row.lease_token == token:
                    log.warning("job's process ended early", job=job.id, reason=reason)
                    with suppress(Fenced):
                        counts = needs_bytes is None and not _leaving.is_set()
                        ending.give_back(session, job.id, token, reason, counts=counts, cause=cause, needs_bytes=needs_bytes, away=away)
                over = row is None or session.get_one(Job, job.id, populate_existing=True).state == "cancelled"
        except SQLAlchemyError as error:
            log.warning("database does not answer; the job's end is not written", job=job.id, reason=str(error))
            if _leaving.is_set() or time.monotonic() > deadline:
                return
            time.sleep(BEAT_SECONDS)
            continue
        break
    if over:
        _drop_results(job)


def _tidy(job: Job) -> None:
    """Remove what this attempt's process, and killed ones before it, had begun to write. A later attempt elsewhere is left alone."""
    for folder in [attempt_folder(job).parent / f"attempt-{number}" for number in range(1, job.attempt + 1)]:
        for leftover in (*folder.glob(".tmp-*"), *folder.glob("trial-*/.tmp-*")):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _drop_results(job: Job) -> None:
    """A cancel that came while the result was being registered wins: nothing is left that looks like one. Checkpoints stay, for a retry."""
    for result in attempt_folder(job).parent.glob("attempt-*/artefact"):
        shutil.rmtree(result, ignore_errors=True)


def _ending(process: JobProcess) -> str:
    code = process.returncode
    if code is None:
        return "its process has left it"
    if code == LEFT:
        return "the worker was asked to leave, and there was nothing to save yet or no time for it; it goes on from its newest checkpoint"
    if code == LOST:
        return "one of the run's processes ended early; its log says which"
    if code == AWAY:
        return "a service that it cannot do without (the database, Redis or the object store) did not answer; it goes on from what it has saved"
    if code >= 0:
        return f"its process ended with code {code}"
    return f"its process was killed by {signal.Signals(-code).name}"


def _memory_kills() -> int:
    """Processes that the kernel has killed for want of memory since it started. Always 0 where it does not say."""
    try:
        return next(int(line.split()[1]) for line in VMSTAT.read_text().splitlines() if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0


def _waits(queue: str) -> bool:
    with reading() as session:
        return jobs.ready(session, queue, **_has())


def _has() -> dict[str, Any]:
    """What this worker has for jobs that ask for it."""
    return {"gpus": len(devices.gpus()), "room": devices.room()}


@contextmanager
def device_lock(queue: str) -> Iterator[bool]:
    """One job at a time on this machine's device, whoever asks: a lock the system frees when its holder dies."""
    folder = settings().run_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / f"{queue}-{settings().device.replace(':', '')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a pool process forked meanwhile may hold a copy of the descriptor
    finally:
        os.close(descriptor)
