"""What people read: every form a number, an age and an axis can take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pages import formatting as f

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def plain(text: str) -> str:
    """The text with ordinary spaces and hyphens, so that the expectations can be typed."""
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (f.number(0.8484), "0.848"), (f.number(-1.5, 1), "-1.5"), (f.number(float("nan")), f.NONE), (f.number(None), f.NONE),
        (f.percent(0.62), "62 %"), (f.percent(0.618, 1), "61.8 %"), (f.percent(None), f.NONE),
        (f.points(0.091), "+9.1"), (f.points(-0.006), "-0.6"), (f.points(-0.0002), "+0.0"), (f.points(None), f.NONE),
        (f.interval((0.81, 0.88), 2), "[0.81, 0.88]"), (f.interval(None), f.NONE),
        (f.points_interval((-0.006, 0.034)), "[-0.6, +3.4]"), (f.points_interval(None), f.NONE),
        (f.count(1204), "1,204"), (f.count(0), "0"), (f.count(None), f.NONE),
        (f.compact(134_515_008), "135M"), (f.compact(999_900), "1M"), (f.compact(512), "512"), (f.compact(1.7e9), "1.7B"), (f.compact(None), f.NONE),
        (f.size(2_100_000_000), "2.1 GB"), (f.size(999), "999 B"), (f.size(1_000), "1 kB"), (f.size(None), f.NONE),
        (f.money(0.02), "$0.02"), (f.money(0.0004), "$0.0004"), (f.money(0), "$0.00"), (f.money(1234.5), "$1,234.50"), (f.money(None), f.NONE),
        (f.parameters({"max_tokens": 5, "stop": ["\n", "Grüße"]}), 'max tokens 5, stop ["\\n", "Grüße"]'), (f.parameters({}), ""),
    ],
)  # fmt: skip
def test_values(shown: str, expected: str) -> None:
    assert plain(shown) == expected


@pytest.mark.parametrize(
    ("seconds", "measured", "estimated"),
    [
        (0.031, "31 ms", "a few seconds"), (0.9999, "1 s", "a few seconds"), (3.2, "3.2 s", "a few seconds"), (9.97, "10 s", "a few seconds"),
        (38, "38 s", "about 40 s"), (59.7, "1 min", "about 1 min"), (80, "1 min 20 s", "about 1 min"), (370, "6 min 10 s", "about 6 min"),
        (3_599, "59 min 59 s", "about 1 h"), (HOUR, "1 h", "about 1 h"), (5_900, "1 h 38 min", "about 1 h 40 min"),
        (3 * DAY + 4 * HOUR, "3 d 4 h", "about 3 d 4 h"), (None, f.NONE, f.NONE),
    ],
)  # fmt: skip
def test_time_spans(seconds: float | None, measured: str, estimated: str) -> None:
    assert (plain(f.duration(seconds)), plain(f.about(seconds))) == (measured, estimated)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, "just now"), (-3, "just now"), (12, "12 s ago"), (59, "59 s ago"), (60, "1 min ago"), (5 * HOUR, "5 h ago"), (2 * DAY, "2 d ago"), (30 * DAY, "24 Oct 2026")],
)  # fmt: skip
def test_ages(age: int, expected: str) -> None:
    now = 1_795_392_000_000  # 2026-11-23T00:00:00Z
    assert plain(f.ago(now - age * 1000, now)) == expected


def test_moments() -> None:
    assert (f.iso(1_795_392_000_000), f.clock(1_795_392_000_000)) == ("2026-11-23T00:00:00Z", "00:00 UTC")
    assert (f.ago(None), f.iso(None), f.clock(None)) == ("never", "", f.NONE)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.none() | st.floats(-1e6, 1e6))
def test_an_axis_holds_everything_between_a_few_ticks(values: list[float], baseline: float | None) -> None:
    axis = f.axis(values, baseline)
    slack = 1e-6 * max(1.0, abs(axis.low), abs(axis.high))
    assert axis.low - slack <= min(values) and max(values) <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 7 and list(axis.ticks) == sorted(set(axis.ticks))
    assert (axis.at(axis.low), axis.at(axis.high)) == ("0.00%", "100.00%")


def test_an_axis_of_scores() -> None:
    axis = f.axis([0.41, 0.77, 0.898], baseline=0.77)
    assert (axis.low, axis.high, axis.ticks) == (0.4, 1.0, (0.4, 0.6, 0.8, 1.0))
    assert (axis.at(0.7), axis.at(2.0), axis.at(-1.0)) == ("50.00%", "100.00%", "0.00%")
    assert axis.digits == 1
    assert (f.axis([0.72, 0.9]).digits, f.axis([0.0, 40.0]).digits) == (2, 0)
    assert f.axis([]).ticks[0] == 0.0


def test_phase_lines() -> None:
    def states(state: str, phase: str | None) -> list[str]:
        return [step.state for step in f.phase_steps(state, phase, {})]

    assert states("queued", None) == ["now", "next", "next", "next", "next", "next"]
    assert states("running", "train") == ["done", "done", "done", "now", "next", "next"]
    assert states("failed", "load") == ["done", "failed", "next", "next", "next", "next"]
    assert states("cancelled", None) == ["cancelled", "next", "next", "next", "next", "next"]
    assert set(states("succeeded", "save")) == {"done"}
    steps = f.phase_steps("running", "evaluate", {"load": "9 s"}, ("load", "evaluate"))
    assert [(step.name, step.note) for step in steps] == [("queued", ""), ("load", "9 s"), ("evaluate", "")]
