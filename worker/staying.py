"""A job's process, and how it stays for the next job: one that has scored with a model goes on with the next evaluation of the same model, which is loaded then.

Every other job has a process of its own. One that stays does so only until the next job is known, and for so many jobs at most: what it holds of the
device is held for a job, or not at all.
"""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from app.domain.job import Job
from worker import devices
from worker.engine.waits import SPINNING

READY = "FETTLE_JOB_READY"
"""Names the pipe into which a process writes when it has done its job and may go on with another. Without it, it ends."""
JOBS = 20
"""A process that has done so many ends: whatever it may not have given back goes with it."""
END_SECONDS = 5.0


def scored_with(job: Job) -> int | None:
    """The model that a job scores with on a device; none for every other job."""
    scores = job.kind == "evaluate" and job.queue == "gpu" and "judgement" not in job.settings
    return job.settings["model"] if scores else None


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all its descendants by force."""
    family: list[psutil.Process] = []
    if process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


class JobProcess(subprocess.Popen[bytes]):
    """The process of a job. As a context manager it is waited for at the end, unless it stays."""

    def __init__(self, job: Job, log: Path, *, may_stay: bool) -> None:
        """Start it; it is told its job, and what it says goes into `log`. Raises OSError."""
        self.stays = False
        self._done = 0
        self._ready, theirs = os.pipe()
        more = {"FETTLE_JOB_PARENT": str(os.getpid())} | ({READY: str(theirs)} if may_stay else {})
        try:
            with log.open("ab") as output:
                super().__init__(
                    [sys.executable, "-m", "worker.run_job", str(job.id)], stdin=subprocess.PIPE, stdout=output, stderr=output,
                    bufsize=0, env=SPINNING | os.environ | more, start_new_session=True, pass_fds=(theirs,),
                )  # fmt: skip
        except OSError:
            os.close(self._ready)
            raise
        finally:
            os.close(theirs)
        self.tell(job.lease_token or "")

    def tell(self, line: str) -> bool:
        """Write a line into its stdin; False when it has ended: its exit code says how."""
        try:
            assert self.stdin is not None  # noqa: S101 it is a pipe
            self.stdin.write(line.encode() + b"\n")
            self.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def through(self, seconds: float) -> bool:
        """Whether it is through with its job within so many seconds: it has ended, or it `stays`."""
        if select.select([self._ready], [], [], seconds)[0]:
            self.stays = bool(os.read(self._ready, 1))
            self._done += self.stays
            if not self.stays:
                self.wait()
        return self.stays or self.poll() is not None

    def go_on(self, job: Job) -> bool:
        """Give one that stays its next job; False when it is not to have one, or has ended meanwhile."""
        if self._done >= JOBS or not self.tell(f"next {job.id} {job.lease_token}"):
            return False
        self.stays = False
        return True

    def end(self) -> None:
        """End it and all its descendants: one that stays by its stdin, which closes, everything else by force."""
        if self.stays and self.stdin is not None:
            self.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self.wait(END_SECONDS)
        self.stays = False
        end(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.stays:
            super().__exit__(kind, error, trace)
            with suppress(OSError):
                os.close(self._ready)


class Seat:
    """What is left of the job before: its process, if that stays, until the next job is known. As a context manager it leaves none behind."""

    def __init__(self) -> None:
        self._left: tuple[JobProcess, Job] | None = None

    def keep(self, process: JobProcess, job: Job) -> None:
        """A process that may have stayed after its job."""
        if process.stays:
            self._left = process, job

    def holds(self, job: Job) -> bool:
        """Whether the process of this job is still there, and so what it has in memory."""
        return self._left is not None and self._left[1] is job

    def take(self, job: Job) -> JobProcess | None:
        """The process that goes on with this job; None when it needs one of its own, and then the device is free for it."""
        if self._left is None:
            return None
        process, before = self._left
        model = scored_with(before)
        if model is not None and model == scored_with(job) and process.go_on(job):
            self._left = None
            devices.hand_over(before, job)
            return process
        self.clear()
        return None

    def clear(self) -> None:
        """Nothing follows."""
        if self._left is not None:
            (process, job), self._left = self._left, None
            process.end()
            process.__exit__(None, None, None)
            devices.free(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
