"""Score intervals of bounded values: those of Wilson and Tango where values are as theirs, and how often they err where they are not."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bounded import interval, score
from app.domain.stats import paired_difference, wilson


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_of_right_and_wrong_rows_it_is_wilsons(right: int, wrong: int) -> None:
    if right + wrong:
        theirs = wilson(right, right + wrong)
        assert interval((1.0,) * right + (0.0,) * wrong) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_of_gained_and_lost_rows_it_is_tangos(gained: int, lost: int, same: int) -> None:
    if gained + lost + same:
        theirs = paired_difference([1] * gained + [0] * (lost + same), [0] * gained + [1] * lost + [0] * same)
        values = (1.0,) * gained + (-1.0,) * lost + (0.0,) * same
        assert interval(values, low=-1.0) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
        assert score(values, -0.03, -1.0) == pytest.approx(NormalDist().inv_cdf(1 - theirs.p_below(0.03)), abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_turns_round_with_it(values: list[float]) -> None:
    (low, high), turned = interval(tuple(values), low=-1.0), interval(tuple(-value for value in values), low=-1.0)
    assert -1 <= low <= float(np.mean(values)) + 1e-9 and float(np.mean(values)) - 1e-9 <= high <= 1
    assert turned == pytest.approx((-high, -low), abs=1e-6)


def test_of_many_values_that_spread_it_is_as_wide_as_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(0.1, 0.2, 3000).clip(-1, 1)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval(tuple(values), low=-1.0) == pytest.approx((values.mean() - half, values.mean() + half), abs=2e-4)


def test_values_that_are_all_alike_leave_room_for_others() -> None:
    low, high = interval((0.5,) * 30)
    assert 0.4 < low < 0.5 < high < 0.6
    assert interval((0.0,) * 20)[1] == pytest.approx(wilson(0, 20).high)


def test_a_row_more_that_is_torn_shows_nothing_more() -> None:
    """Where signs were flipped about the margin, two rungs that gave the same answers were shown to be near as soon as one row was torn between seeds."""
    same, torn = ((0.0,) * 50, (*(0.0,) * 49, -1 / 3))
    assert [round(1 - NormalDist().cdf(score(values, -0.03, -1.0)), 2) for values in (same, torn)] == [0.11, 0.14]
    assert [round(end, 3) for end in interval((*(1 / 3,) * 29, 0.0))] == [0.278, 0.399]


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="a row at least"):
        score((), 0.0)


Rows = Callable[[Any, int], Any]

BELOW: dict[str, Rows] = {
    # Each truly 3 points below: whole losses and one row torn between seeds, half losses, thirds either way, three seeds of a rung that is wrong anew.
    "torn": lambda draw, n: np.append(-(draw.random(n - 1) < (0.03 * n - 1 / 3) / (n - 1)).astype(float), -1 / 3),
    "halves": lambda draw, n: -0.5 * (draw.random(n) < 0.06),
    "thirds": lambda draw, n: draw.choice([1 / 3, -1 / 3, 0.0], n, p=[0.05, 0.14, 0.81]),
    "measure": lambda draw, n: draw.normal(-0.03, 0.25, n).clip(-1, 1),
}


@pytest.mark.parametrize("n", [50, 100, 300])
@pytest.mark.parametrize("name", BELOW)
def test_what_is_truly_the_margin_below_is_shown_to_be_less_at_most_once_in_twenty(name: str, n: int) -> None:
    draw, draws = np.random.default_rng(7), 400
    passed = sum(1 - NormalDist().cdf(score(BELOW[name](draw, n), -0.03, -1.0)) <= 0.05 for _ in range(draws))
    # At most what a true 5 % gives in 999 of 1,000 such simulations.
    assert passed <= 36, f"{passed} of {draws}"
    assert n < 300 or passed >= 2, "and it is no test that never shows anything"


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_ninety_five_percent_of_several_seeds_are_that(n: int, share: float) -> None:
    """Rows that all seeds have right, or none, and rows torn between them."""
    draw, draws, covered = np.random.default_rng(11), 400, 0
    for _ in range(draws):
        each = draw.beta(share, 1 - share, n)
        low, high = interval(tuple(draw.binomial(3, each) / 3))
        covered += low <= share <= high
    assert covered >= 0.92 * draws
