"""One job's own process: `python -m worker.run_job ID`. The lease token comes on stdin, and so does "stop".

When stdin closes, the parent is gone and so is this process: an orphan never goes on working. Where the parent takes it back, a process that has scored
with a model waits for "next ID TOKEN", another evaluation of the same model (worker/staying.py).
"""

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from queue import SimpleQueue

from app.db import reading, transaction
from app.domain import ending
from app.domain.experiment import LINEAR
from app.domain.job import Fenced, Job
from app.errors import FettleError, NoRoom
from worker import provenance, staying
from worker.engine.lifeline import AWAY, LEFT, LOST, die_with_parent, listen
from worker.engine.reporting import Lost, NotYet, Stopped
from worker.engine.waits import watch
from worker.outage import OUTAGES, told
from worker.reporter import JobReporter

LEAVE_SECONDS = 20.0
"""A job whose next step and checkpoint take longer, by what the run measured, leaves at once."""

_stop = threading.Event()
_leave = threading.Event()
_next: SimpleQueue[tuple[int, str]] = SimpleQueue()
_reporters: list[JobReporter] = []
"""Of all jobs so far; the last one's is under way."""


def main(job_id: int) -> None:
    """Run a claimed job to its end and write that end; then those that this process is given besides."""
    die_with_parent(int(os.environ["FETTLE_JOB_PARENT"]))
    token = sys.stdin.readline().strip()
    signal.signal(signal.SIGTERM, lambda *_: _leave.set())
    listen(sys.stdin, _hear)
    threading.Thread(target=_attend, daemon=True, name="leave").start()
    ready = os.environ.pop(staying.READY, None)
    if ready is not None:
        os.set_inheritable(int(ready), False)
    try:
        while _attempt(job_id, token) and ready is not None:
            os.write(int(ready), b".")
            job_id, token = _next.get()
    except OUTAGES as error:
        # Not the job's fault: the parent sees the exit code and queues it again, to go on from what it has saved.
        _leave_with(AWAY, told(error))


def _attempt(job_id: int, token: str) -> bool:
    """Run one job. Returns whether its process may go on with another. Raises what OUTAGES names while the job cannot go on."""
    with reading() as session:
        job = session.get_one(Job, job_id)
    if _reporters:
        _say_in(job)
    reporter = JobReporter(job.id, token, job.attempt, _stop)
    _reporters.append(reporter)
    try:
        provenance.note(job, token)
        run(job, token, reporter)
        return staying.scored_with(job) is not None
    except Fenced:
        sys.exit("this attempt no longer holds the job")
    except OUTAGES:
        raise
    except Lost as error:
        # As when this process itself is killed: the parent sees the exit code, and looks whether the system ran out of memory.
        with suppress(Fenced):
            reporter.log(f"{error.message} {error.advice}")
            reporter.flush()
        _leave_with(LOST, error.message)
    except FettleError as error:
        _fail(job, token, reporter, error.as_dict())
    except Exception as error:  # noqa: BLE001 the door of the process: every end is recorded
        reporter.log(traceback.format_exc())
        advice = "Its log has the details. If it looks like a fault of Fettle, please report it."
        _fail(
            job, token, reporter, {"code": "crashed", "message": f"The job ended with an unexpected error: {type(error).__name__}: {error}", "advice": advice}
        )
    return False


def _leave_with(code: int, reason: str) -> None:
    """End here and now, with a last word in the process's log: the thread that listens holds stdin, for which an orderly end would wait."""
    sys.stderr.write(f"{reason}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say_in(job: Job) -> None:
    """From now on what this process says goes into another job's log."""
    from worker.parent import log_file

    sys.stdout.flush()
    sys.stderr.flush()
    with log_file(job).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Do the work of one job kind, then write its end; a stop that was asked for is an end too. One that finds no room on the disk waits for it."""
    try:
        _work(job)(job, token, reporter)
    except Stopped:
        reporter.close()
        with transaction() as session:
            if session.get_one(Job, job.id).state == "stopping":
                ending.stop(session, job.id, token)
            else:
                ending.give_back(session, job.id, token, "the worker was asked to leave", counts=False)
    except (NotYet, NoRoom) as lacking:
        if lacking.needed is None:
            raise
        reporter.log(f"{lacking.message} {lacking.advice}")
        reporter.close()
        with transaction() as session:
            ending.give_back(session, job.id, token, lacking.message, counts=False, needs_bytes=lacking.needed)


def _work(job: Job) -> Callable[[Job, str, JobReporter], None]:
    """What does the work of a job. Only the queue of devices loads torch."""
    if job.settings.get("answer") == LINEAR:
        from worker import evaluate_linear

        return evaluate_linear.run
    if job.queue == "light":
        from worker import evaluate_remote, judge_remote

        return judge_remote.run if "judgement" in job.settings else evaluate_remote.run
    return _works()["judge" if "judgement" in job.settings else job.kind]


@cache
def _works() -> dict[str, Callable[[Job, str, JobReporter], None]]:
    """What works on a device, by the kind of job."""
    gc.disable()  # nothing of torch is garbage yet: looking for some again and again while it is imported takes a fifth of the time
    from worker import evaluate, export, judge, tune

    gc.freeze()
    gc.enable()
    watch()
    return {"tune": tune.run, "evaluate": evaluate.run, "export": export.run, "judge": judge.run}


def _fail(job: Job, token: str, reporter: JobReporter, error: dict[str, object]) -> None:
    try:
        reporter.log(f"failed: {error['message']}")
        reporter.flush()
        with transaction() as session:
            ending.fail(session, job.id, token, error)
    except Fenced:
        sys.exit("this attempt no longer holds the job")


def _hear(line: str) -> None:
    word, *rest = line.split() or [""]
    if word in ("stop", "leave"):
        {"stop": _stop, "leave": _leave}[word].set()
    elif word == "next":
        if not _leave.is_set():
            _stop.clear()  # it was meant for the job before
            if _leave.is_set():  # said in between
                _stop.set()
        _next.put((int(rest[0]), rest[1]))


def _attend() -> None:
    """When the worker has to leave: stop at the next safe place if that is near, else end here and now."""
    _leave.wait()
    if _reporters and _reporters[-1].leaving_seconds() > LEAVE_SECONDS:
        os._exit(LEFT)
    _stop.set()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Everything is written. Python would take torch's modules apart for more than a second, in which the next job waits for the device.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
