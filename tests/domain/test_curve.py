"""The label curve: it finds the law that points were drawn from, and is as unsure as they are."""

import pytest

from app.domain.curve import Point, fit

COUNTS = (16, 32, 64, 128, 256)


def law(labels: int) -> float:
    return float(0.9 - 1.6 * labels**-0.6)


def test_a_law_is_found_again() -> None:
    curve = fit([Point(count, law(count)) for count in COUNTS], rows=100_000)
    assert curve is not None
    for count in (16, 100, 256, 512):
        assert curve.at(count) == pytest.approx(law(count), abs=0.003)
    gain = curve.gain(256, 256)
    assert gain.gain == pytest.approx(law(512) - law(256), abs=0.003) and gain.low <= gain.gain <= gain.high and gain.more == 256


def test_fewer_rows_leave_a_wider_band() -> None:
    points = [Point(count, law(count)) for count in COUNTS]
    few, many = fit(points, rows=50), fit(points, rows=5_000)
    assert few and many
    widths = [curve.band(128).high - curve.band(128).low for curve in (few, many)]
    assert widths[0] > 3 * widths[1] and many.band(128).low < law(128) < many.band(128).high


def test_seeds_that_disagree_widen_it_too() -> None:
    apart = [Point(count, law(count) + shift) for count in COUNTS for shift in (-0.08, 0.08)]
    together = [Point(count, law(count)) for count in COUNTS for _ in range(2)]
    wide, narrow = fit(apart, rows=5_000), fit(together, rows=5_000)
    assert wide and narrow and wide.band(128).high - wide.band(128).low > narrow.band(128).high - narrow.band(128).low


def test_what_does_not_rise_buys_nothing() -> None:
    curve = fit([Point(count, 0.5) for count in COUNTS], rows=200)
    assert curve is not None and curve.gain(256, 1_000).gain == pytest.approx(0.0, abs=1e-9)
    falling = fit([Point(count, 0.9 - count / 1000) for count in COUNTS], rows=200)
    assert falling is not None and falling.gain(256, 1_000).gain == pytest.approx(0.0, abs=1e-9)


def test_a_figure_that_may_lie_below_nothing_is_bent_at_its_own_end() -> None:
    """MCC of few labels: worse than chance at first."""
    points = [Point(count, law(count) - 0.9) for count in COUNTS]
    curve = fit(points, rows=20_000, low=-1.0)
    assert curve is not None and law(16) < 0.6
    for count in (16, 64, 256):
        band = curve.band(count)
        assert curve.at(count) == pytest.approx(law(count) - 0.9, abs=0.01) and band.low < curve.at(count) < band.high < 0
    assert curve.at(1) >= -1.0 == curve.band(0.001).low
    never_below = fit(points, rows=20_000)
    assert never_below is not None and never_below.at(16) == 0.0, "as every other figure"


def test_nothing_is_above_one_and_two_points_are_no_curve() -> None:
    curve = fit([Point(16, 0.5), Point(32, 0.8), Point(64, 0.99), Point(64, 0.97)], rows=50)
    assert curve is not None and curve.at(1_000_000) <= 1.0
    assert fit([Point(16, 0.5), Point(32, 0.6)], rows=100) is None
