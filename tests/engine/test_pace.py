"""When a run validates, reports and saves, and what it promises about its end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.pace import POINTS, Pace, Plan


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 50_000), st.integers(1, 100))
def test_validations_are_spread_and_end_with_the_run(total: int, evaluations: int) -> None:
    plan = Plan.of(total, evaluations, has_validation=True)
    assert plan.validations[-1] == total
    assert len(plan.validations) == min(total, evaluations) or total < 2 * evaluations
    assert all(1 <= step <= total for step in plan.validations)
    assert Plan.of(total, evaluations, has_validation=False).validations == ()


def test_a_short_run_reports_every_step_and_a_long_one_enough_of_them() -> None:
    assert all(Plan.of(300, 5, has_validation=True).is_reported(step) for step in range(1, 301))
    long = Plan.of(100_000, 3, has_validation=True)
    reported = [step for step in range(1, 100_001) if long.is_reported(step)]
    assert POINTS <= len(reported) <= POINTS + 4
    assert {1, 100_000, *long.validations} <= set(reported)


def test_the_eta_counts_steps_and_validations() -> None:
    clock = Clock()
    pace = Pace(Plan.of(10, 2, has_validation=True), 60.0, 7.0, clock)
    for done in range(1, 5):
        assert (pace.eta(done - 1) is None) == (pace.eta_validating(done - 1, 0.5) is None) == (done < 4)
        pace.step_begins()
        clock.now += 2.0
        pace.step_ends()
        clock.now += 100.0  # what happens between steps is no step
    assert pace.eta(4) == pytest.approx(6 * 2.0 + 2 * 7.0)
    assert pace.eta_validating(5, 0.75) == pytest.approx(5 * 2.0 + 1 * 7.0 + 7.0 / 4), "a validation in hand counts by what is left of it"
    assert pace.eta(10) == 0.0


def test_checkpoints_come_by_the_clock_and_cost_little_of_the_run() -> None:
    clock = Clock()
    pace = Pace(Plan.of(10, 2, has_validation=True), 60.0, 0.0, clock)
    clock.now = 59.0
    assert not pace.is_checkpoint_due()
    clock.now = 61.0
    assert pace.is_checkpoint_due()
    pace.saved(took=10.0)
    clock.now += 199.0
    assert not pace.is_checkpoint_due()
    clock.now += 2.0
    assert pace.is_checkpoint_due()
