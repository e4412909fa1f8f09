"""The way out of a job's process, on both databases: what the engine tells becomes rows, once, in the order it was told."""

import threading
import time

import pytest

from app.db import transaction
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Fenced, Job
from worker import reporter as reporters
from worker.reporter import JobReporter


@pytest.fixture
def job(person: Who) -> Job:
    with transaction() as session:
        jobs.add(session, person, "tune", "a tune", {})
        claimed = jobs.claim(session, "gpu", "w1", 30)
    assert claimed is not None
    return claimed


def reporter_of(job: Job) -> JobReporter:
    return JobReporter(job.id, job.lease_token or "", 1, threading.Event())


def written(job: Job) -> list[tuple[int, int, str]]:
    with transaction() as session:
        return [(sample.step, sample.row, sample.text) for sample in metrics.samples(session, job.id)]


def test_samples_wait_with_the_points_and_are_written_with_them(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporters, "PAUSE_SECONDS", 1e9)
    reporter = reporter_of(job)
    reporter.flush()
    reporter.step(4, 12, {"validation_exact_match": 0.5}, None)
    reporter.sample(4, 7, "message", "billing", " billing\n")
    reporter.sample(4, 3, "other", "delivery", "")
    reporter.flush()
    assert written(job) == [(4, 3, ""), (4, 7, " billing\n")]
    with transaction() as session:
        (point,) = metrics.points(session, job.id)
        assert point.event < min(sample.event for sample in metrics.samples(session, job.id)), "who sees the samples knows the figure"
    reporter.flush()
    reporter.sample(4, 7, "message", "billing", "delivery")
    reporter.phase("save")
    assert written(job) == [(4, 3, ""), (4, 7, "delivery")], "a phase leaves nothing behind, and an answer told again replaces the first"


def test_what_rows_leave_is_told_from_those_of_this_attempt_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that goes on at row 100 of 400 did not ask the first hundred, and of the next ones it does not know when the first began."""
    monkeypatch.setattr(reporters, "PAUSE_SECONDS", 0.0)
    now, told = [1_000.0], list[float | None]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = reporter_of(job)
    for done, at in ((100, 0.0), (101, 1.0), (120, 10.0), (400, 150.0)):
        now[0] = 1_000.0 + at
        reporter.rows(done, 400)
        with transaction() as session:
            row = session.get_one(Job, job.id)
            told.append(row.eta_seconds)
            assert (row.step, row.total_steps) == (done, 400)
    assert told == [None, None, 10.0 / 20 * 280, 0.0]
    reporter.phase("evaluate", 50)
    reporter.rows(25, 50)
    with transaction() as session:
        assert session.get_one(Job, job.id).eta_seconds is None, "another phase is measured anew"


def test_whatever_a_model_writes_can_be_stored(job: Job) -> None:
    reporter = reporter_of(job)
    reporter.sample(0, 1, "in\tput", "gold", "nul \0, emoji \U0001f600, <script>, \u202e")
    reporter.flush()
    assert written(job) == [(0, 1, "nul \ufffd, emoji \U0001f600, <script>, \u202e")]


def test_samples_of_a_job_that_was_taken_back_are_not_written(job: Job) -> None:
    reporter = JobReporter(job.id, "old token", 1, threading.Event())
    reporter.sample(0, 1, "a", "b", "c")
    with pytest.raises(Fenced):
        reporter.flush()
    assert written(job) == []
