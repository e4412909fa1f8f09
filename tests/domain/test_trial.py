"""Trials as rows: replaced when they change, numbered by the job's events, fenced, and gone with the job."""

import threading
from pathlib import Path

import pytest

from app.db import transaction
from app.domain import job as jobs
from app.domain import trial as trials
from app.domain.access import Who
from app.domain.job import Fenced, Job
from worker.reporter import JobReporter


@pytest.fixture
def job(person: Who) -> Job:
    with transaction() as session:
        jobs.add(session, person, "tune", "a tune", {})
        claimed = jobs.claim(session, "gpu", "w1", 30)
    assert claimed is not None
    return claimed


def rows(job: Job) -> list[tuple[int, str, int, float | None, str | None]]:
    with transaction() as session:
        return [(row.number, row.state, row.step, row.value, row.reason) for row in trials.of_job(session, job.id)]


def test_a_reporter_writes_trials_whole_and_again(job: Job, tmp_path: Path) -> None:
    del tmp_path
    reporter = JobReporter(job.id, job.lease_token or "", 1, threading.Event())
    for number in (2, 1):
        reporter.trial(number, {"learning_rate": number / 1000, "rank": 4}, "waiting", 0, None)
    reporter.flush()
    assert rows(job) == [(1, "waiting", 0, None, None), (2, "waiting", 0, None, None)]
    reporter.trial(1, {"learning_rate": 1 / 1000, "rank": 4}, "running", 3, 0.5)
    reporter.trial(1, {"learning_rate": 1 / 1000, "rank": 4}, "stopped", 6, 0.71, "0.710 against 0.830")
    reporter.step(6, 12, {"trial_1/loss": 0.4}, None)
    reporter.flush()
    assert rows(job) == [(1, "stopped", 6, 0.71, "0.710 against 0.830"), (2, "waiting", 0, None, None)]
    with transaction() as session:
        first, second = trials.of_job(session, job.id)
        assert first.parameters == {"learning_rate": 0.001, "rank": 4} and second.event < first.event <= session.get_one(Job, job.id).event


def test_a_worker_that_lost_the_job_writes_no_trial(job: Job) -> None:
    reporter = JobReporter(job.id, "old token", 1, threading.Event())
    reporter.trial(1, {}, "won", 9, 0.9)
    with pytest.raises(Fenced):
        reporter.flush()
    assert rows(job) == []


def test_trials_go_with_their_job(job: Job) -> None:
    with transaction() as session:
        trials.record(session, job.id, job.lease_token or "", [{"number": 1, "parameters": {}, "state": "won", "step": 1, "value": 1.0, "reason": None}])
        for attempt in jobs.attempts(session, job.id):
            session.delete(attempt)
        session.delete(session.get_one(Job, job.id))
    assert rows(job) == []
