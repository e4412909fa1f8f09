"""When a job in hand ends: by its own pace alone."""

from typing import Any

import pytest

from app.domain.job import Job
from app.domain.turn import ends, to_the_minute

NOW = 1_790_000_030_000


def running(**has: Any) -> Job:
    usual = {"state": "running", "finish": False, "heartbeat_at": NOW - 1_000, "kind": "tune", "phase": "train", "phases": {}, "attempt": 1, "step": 10}
    return Job(**{**usual, "total_steps": 40, "eta_seconds": None, **has})


def test_a_run_ends_by_its_estimate() -> None:
    assert ends(running(eta_seconds=90.0), NOW) == NOW + 90_000
    assert to_the_minute(NOW) == NOW // 60_000 * 60_000 and to_the_minute(None) is None


@pytest.mark.parametrize(
    "job",
    [
        running(),
        running(eta_seconds=90.0, state="stopping"),
        running(eta_seconds=90.0, finish=True),
        running(eta_seconds=90.0, heartbeat_at=NOW - 30_000),
    ],
)
def test_what_is_not_measured_has_no_end(job: Job) -> None:
    """Before the first step or row, and of a job that is asked to stop or that is silent."""
    assert ends(job, NOW) is None
