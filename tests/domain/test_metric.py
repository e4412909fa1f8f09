"""Metric points and log lines: numbered without gaps, replaced when a step is written again, fenced."""

import pytest

from app.db import transaction
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Fenced, Job


@pytest.fixture
def job(person: Who) -> Job:
    with transaction() as session:
        jobs.add(session, person, "tune", "a tune", {})
        claimed = jobs.claim(session, "gpu", "w1", 30)
    assert claimed is not None
    return claimed


def test_points_are_numbered_in_order_and_a_stream_goes_on_where_it_was(job: Job) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(1, {"loss": 2.0}), (2, {"loss": 1.5, "accuracy": 0.5})], ["first line"])
    with transaction() as session:
        before = metrics.points(session, job.id)
        assert [(point.step, point.name) for point in before] == [(1, "loss"), (2, "loss"), (2, "accuracy")]
        assert len({point.event for point in before} | {line.event for line in metrics.lines(session, job.id)}) == 4
        last = max(point.event for point in before)
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(3, {"loss": 1.0})])
        assert [point.step for point in metrics.points(session, job.id, after_event=last)] == [3]


def test_a_step_written_again_replaces_its_value_and_is_told_again(job: Job) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(1, {"loss": 2.0}), (2, {"loss": 1.5})])
        seen = max(point.event for point in metrics.points(session, job.id))
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(2, {"loss": 1.4})])
    with transaction() as session:
        assert [(point.step, point.value) for point in metrics.points(session, job.id, after_event=seen)] == [(2, 1.4)]
        assert sorted((point.step, point.value) for point in metrics.points(session, job.id)) == [(1, 2.0), (2, 1.4)]


def test_progress_goes_with_the_points(job: Job) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(5, {"loss": 1.0})], step=5, total_steps=10, eta_seconds=12.5)
    with transaction() as session:
        row = session.get_one(Job, job.id)
        assert (row.step, row.total_steps, row.eta_seconds) == (5, 10, 12.5)


def test_a_worker_that_lost_the_job_writes_nothing(job: Job) -> None:
    with pytest.raises(Fenced), transaction() as session:
        metrics.record(session, job.id, "old token", 1, [(1, {"loss": 9.0})], ["ghost"])
    with transaction() as session:
        assert not metrics.points(session, job.id) and not metrics.lines(session, job.id)
