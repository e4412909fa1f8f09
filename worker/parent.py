"""The parent of a job's process: claims the job, starts the process, holds the lease, passes on a stop, records the end.

It never imports torch. The job's process (`worker.run_job`) writes metrics and results itself with the lease token; what
only the parent can do is see it die. The pipe to the child's stdin is its lifeline: when the parent is gone it closes.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.domain import job as jobs
from app.domain.job import Fenced, Job
from app.settings import settings
from worker.identity import worker_name

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
STOP_SECONDS = 3.5
LEAVE_SECONDS = 4.5  # below the grace of `fettle up`, so that a job is handed back and not lost
EXIT_SECONDS = 10.0
_leaving = threading.Event()


def leave() -> None:
    """The worker is asked to end: jobs finish their step, save, and go back to the queue. Passed on to pool processes."""
    if _leaving.is_set():
        return
    _leaving.set()
    for child in psutil.Process().children():
        child.terminate()


def drain(queue: str) -> None:
    """Run jobs of a queue until none waits. One drain a machine and queue: a second one returns at once."""
    while not _leaving.is_set() and _waits(queue):
        with _device_lock(queue) as mine:
            if not mine:
                return
            while not _leaving.is_set() and run_one(queue):
                pass


def run_one(queue: str) -> bool:
    """Claim one job and see it through. False when nothing waits."""
    with transaction() as session:
        job = jobs.claim(session, queue, worker_name(), settings().lease_seconds)
    if job is None:
        return False
    log.info("job starts", job=job.id, attempt=job.attempt, kind=job.kind)
    try:
        with _start(job) as process:
            reason = _watch(job, process)
    except OSError as error:
        reason = f"its process could not be started: {error}"
    except Fenced:
        log.warning("job was taken back", job=job.id)
        return True
    _settle(job, reason)
    return True


def attempt_folder(job: Job) -> Path:
    """Everything one attempt writes: its log, its checkpoints, its artefact."""
    return settings().storage_folder / "jobs" / str(job.id) / f"attempt-{job.attempt}"


def _start(job: Job) -> subprocess.Popen[bytes]:
    folder = attempt_folder(job)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "process.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.run_job", str(job.id)], stdin=subprocess.PIPE, stdout=output, stderr=output,
            bufsize=0, env=os.environ | {"FETTLE_JOB_PARENT": str(os.getpid())}, start_new_session=True,
        )  # fmt: skip
    _tell(process, job.lease_token or "")
    return process


def _watch(job: Job, process: subprocess.Popen[bytes]) -> str:
    """Hold the lease until the process ends; returns how it ended. Raises Fenced after killing a process that lost its job."""
    token, asked = job.lease_token or "", 0.0
    leaving = False
    while True:
        try:
            process.wait(BEAT_SECONDS)
            return _ending(process.returncode)
        except subprocess.TimeoutExpired:
            pass
        try:
            with transaction() as session:
                stop = jobs.beat(session, job.id, token, settings().lease_seconds)
        except Fenced:
            return _released(job, process)
        except SQLAlchemyError as error:
            log.warning("database does not answer; the job goes on", job=job.id, reason=str(error))
            continue
        if (stop or _leaving.is_set()) and not asked:
            asked, leaving = time.monotonic(), not stop
            _tell(process, "stop")
        if asked and time.monotonic() - asked > (LEAVE_SECONDS if leaving else STOP_SECONDS):
            kill(process)
            return "stopped" if not leaving else "did not stop in time and was killed"


def _released(job: Job, process: subprocess.Popen[bytes]) -> str:
    """The lease is no longer ours: because the process has just ended the job, or because somebody else has it. Raises Fenced then."""
    with reading() as session:
        over = session.get_one(Job, job.id).over
    try:
        process.wait(EXIT_SECONDS if over else 0)
    except subprocess.TimeoutExpired:
        kill(process)
    if not over:
        raise Fenced(job.id)
    return _ending(process.returncode)


def _settle(job: Job, reason: str) -> None:
    """Close a job whose process has ended without closing it."""
    token = job.lease_token or ""
    with transaction() as session:
        row = session.get_one(Job, job.id)
        if row.lease_token != token:
            return
        log.warning("job's process ended early", job=job.id, reason=reason)
        try:
            jobs.give_back(session, job.id, token, reason, counts=not _leaving.is_set())
        except Fenced:
            return


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    return f"its process was killed by {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")


def _tell(process: subprocess.Popen[bytes], line: str) -> None:
    try:
        if process.stdin:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; its exit code says how


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all its descendants."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def _waits(queue: str) -> bool:
    with reading() as session:
        return session.scalars(select(Job.id).where(Job.queue == queue, Job.state == "queued").limit(1)).first() is not None


@contextmanager
def _device_lock(queue: str) -> Iterator[bool]:
    """One job at a time on this machine's device, whoever asks: a lock the system frees when its holder dies."""
    folder = settings().run_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / f"{queue}.lock", os.O_RDWR | os.O_CREAT, 0o600)
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
