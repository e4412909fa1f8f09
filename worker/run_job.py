"""One job's own process: `python -m worker.run_job ID`. The lease token comes on stdin, and so does "stop".

When stdin closes, the parent is gone and so is this process: an orphan never goes on working.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.domain import job as jobs
from app.domain.job import Fenced, Job
from app.errors import FettleError
from worker.engine.lifeline import die_with_parent, listen
from worker.reporter import JobReporter

_stop = threading.Event()


def main(job_id: int) -> None:
    """Run a claimed job to its end and write that end."""
    die_with_parent(int(os.environ["FETTLE_JOB_PARENT"]))
    token = sys.stdin.readline().strip()
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    listen(sys.stdin, _hear)
    with reading() as session:
        job = session.get_one(Job, job_id)
    reporter = JobReporter(job.id, token, job.attempt, _stop)
    try:
        run(job, token, reporter)
    except Fenced:
        sys.exit("this attempt no longer holds the job")
    except FettleError as error:
        _fail(job, token, reporter, error.as_dict())
    except SQLAlchemyError as error:
        # Not this job's fault: the parent sees the exit code and queues it again from its newest checkpoint.
        sys.exit(f"the database does not answer: {error}")
    except Exception as error:  # noqa: BLE001 the door of the process: every end is recorded
        reporter.log(traceback.format_exc())
        advice = "Its log has the details. If it looks like a fault of Fettle, please report it."
        _fail(
            job, token, reporter, {"code": "crashed", "message": f"The job ended with an unexpected error: {type(error).__name__}: {error}", "advice": advice}
        )


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Do the work of one job kind, then write its end; a stop that was asked for is an end too."""
    from worker.engine.reporting import Stopped

    try:
        _work(job)(job, token, reporter)
    except Stopped:
        reporter.flush()
        with transaction() as session:
            if session.get_one(Job, job.id).state == "stopping":
                jobs.stop(session, job.id, token)
            else:
                jobs.give_back(session, job.id, token, "the worker was asked to leave", counts=False)


def _work(job: Job) -> Callable[[Job, str, JobReporter], None]:
    """What does the work of a job. Only the queue of devices loads torch."""
    if job.queue == "light":
        from worker import evaluate_remote

        return evaluate_remote.run
    from worker import evaluate, tune

    return {"tune": tune.run, "evaluate": evaluate.run}[job.kind]


def _fail(job: Job, token: str, reporter: JobReporter, error: dict[str, object]) -> None:
    try:
        reporter.log(f"failed: {error['message']}")
        reporter.flush()
        with transaction() as session:
            jobs.fail(session, job.id, token, error)
    except Fenced:
        sys.exit("this attempt no longer holds the job")


def _hear(line: str) -> None:
    if line == "stop":
        _stop.set()


if __name__ == "__main__":
    main(int(sys.argv[1]))
