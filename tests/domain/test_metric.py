"""Metric points and log lines: numbered without gaps, replaced when a step is written again, fenced."""

from itertools import pairwise

import pytest
from sqlalchemy import delete

from app.db import transaction
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Attempt, Fenced, Job


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


def answer(step: int, row: int, text: str) -> dict[str, object]:
    return {"step": step, "row": row, "input": f"message {row}", "gold": "billing", "text": text}


def test_samples_share_the_numbers_of_points_and_lines_and_are_replaced_when_told_again(job: Job) -> None:
    token = job.lease_token or ""
    with transaction() as session:
        metrics.record(session, job.id, token, 1, [(0, {"loss": 2.0})], ["a line"], [answer(0, 2, "x"), answer(0, 1, "y")])
        counter = session.get_one(Job, job.id, populate_existing=True).event
    with transaction() as session:
        told = metrics.samples(session, job.id)
        assert [(sample.step, sample.row, sample.text) for sample in told] == [(0, 1, "y"), (0, 2, "x")]
        numbers = {row.event for rows in (told, metrics.points(session, job.id), metrics.lines(session, job.id)) for row in rows}
        assert sorted(numbers) == list(range(counter - 3, counter + 1))
    with transaction() as session:
        metrics.record(session, job.id, token, 2, [], [], [answer(0, 2, "z"), answer(4, 2, "w")])
    with transaction() as session:
        assert [(sample.step, sample.row, sample.text) for sample in metrics.samples(session, job.id, after_event=counter)] == [(0, 2, "z"), (4, 2, "w")]
        assert len(metrics.samples(session, job.id)) == 3


def test_samples_of_a_lost_job_are_not_written_and_those_of_a_deleted_one_go_with_it(job: Job) -> None:
    with pytest.raises(Fenced), transaction() as session:
        metrics.record(session, job.id, "old token", 1, [], [], [answer(0, 1, "ghost")])
    with transaction() as session:
        assert not metrics.samples(session, job.id)
        metrics.record(session, job.id, job.lease_token or "", 1, [], [], [answer(0, 1, "x")])
    with transaction() as session:
        session.execute(delete(Attempt).where(Attempt.job_id == job.id))
        session.execute(delete(Job).where(Job.id == job.id))
    with transaction() as session:
        assert not metrics.samples(session, job.id)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 95, 1000])
def test_what_is_drawn_is_all_of_a_short_line_and_a_long_one_evenly_with_its_ends(job: Job, count: int) -> None:
    steps = [step * (3 if step % 7 else 1) for step in range(1, count + 1)]  # not evenly apart, and not in order
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(step, {"loss": 1.0 / step}) for step in steps] + [(5_000, {"rare": 1.0})])
    with transaction() as session:
        jobs.add(session, job.person(), "tune", "another", {})
        other = jobs.claim(session, "gpu", "w1", 30)
        assert other is not None
        metrics.record(session, other.id, other.lease_token or "", 1, [(step, {"aloss": 0.0, "loss": 0.0}) for step in range(50)])
        drawn = metrics.thinned(session, job.id, 10)
        stored = {(point.name, point.step): point for point in metrics.points(session, job.id)}
    assert drawn == sorted(drawn, key=lambda point: (point.step, point.name)) and all(stored[point.name, point.step] == point for point in drawn)
    loss, there = [point.step for point in drawn if point.name == "loss"], sorted(set(steps))
    assert [point.step for point in drawn if point.name != "loss"] == [5_000]
    if len(there) <= 10:
        assert loss == there
    else:
        apart = -(-(there[-1] - there[0]) // 10)
        assert (loss[0], loss[-1]) == (there[0], there[-1]) and 5 < len(loss) <= 12
        assert all(after - before >= apart for before, after in pairwise(loss[:-1])), "no two are closer than the drawing can tell apart"
