"""How numbers, times and intervals read on a page: the template filters. Pure functions; a value that is not there reads as an en dash.

Numbers and their units are joined by a no-break space, minus is U+2212, so that columns align and lines break between words only.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NONE = "\u2013"
_NBSP = "\u00a0"
_MINUS = "\u2212"

PHASES = ("load", "preflight", "train", "evaluate", "save")


def _unit(text: str, unit: str) -> str:
    return f"{text}{_NBSP}{unit}".replace("-", _MINUS)


def number(value: float | None, digits: int = 3) -> str:
    """A measured value with a fixed number of decimals: 0.848. Scores use 3, latencies and prices choose theirs."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", _MINUS)


def percent(share: float | None, digits: int = 0) -> str:
    """A share of 1 as per cent: 0.62 -> 62 %."""
    return NONE if share is None else _unit(f"{share * 100:.{digits}f}", "%")


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of two scores in percentage points, always signed: 0.091 -> +9.1. None at all is +0.0, from whichever side it was rounded."""
    return NONE if difference is None else f"{round(difference * 100, digits) + 0.0:+.{digits}f}".replace("-", _MINUS)


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """The two ends of an interval: (0.81, 0.88) -> [0.810, 0.880]."""
    return NONE if bounds is None else f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def points_interval(bounds: Sequence[float] | None, digits: int = 1) -> str:
    """The interval of a difference in percentage points: (-0.006, 0.034) -> [-0.6, +3.4]."""
    return NONE if bounds is None else f"[{points(bounds[0], digits)}, {points(bounds[1], digits)}]"


def count(value: int | None) -> str:
    """A whole number with separators: 1204 -> 1,204."""
    return NONE if value is None else f"{value:,}".replace("-", _MINUS)


def times(value: int) -> str:
    """How often: never, once, twice, 3 times."""
    return {0: "never", 1: "once", 2: "twice"}.get(value, f"{value:,} times")


def compact(value: float | None) -> str:
    """A large number in three significant digits: 134515008 -> 135M."""
    if value is None:
        return NONE
    for factor, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def size(amount: int | None) -> str:
    """Bytes in decimal units, the way disks and networks are sold: 2_100_000_000 -> 2.1 GB."""
    if amount is None:
        return NONE
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if amount >= factor:
            return _unit(f"{amount / factor:.1f}".removesuffix(".0"), unit)
    return _unit(str(amount), "B")


def money(dollars: float | None) -> str:
    """A price in US dollars, with the decimals that still say something: 0.02 -> $0.02, 0.0004 -> $0.0004."""
    if dollars is None:
        return NONE
    return f"${dollars:,.2f}" if dollars >= 0.01 or dollars == 0 else f"${dollars:.2g}"


def duration(seconds: float | None) -> str:
    """A measured time span in its two largest units: 840 ms, 3.2 s, 1 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return NONE
    if seconds < 0.9995:
        return _unit(f"{seconds * 1000:.0f}", "ms")
    if seconds < 9.95:
        return _unit(f"{seconds:.1f}".removesuffix(".0"), "s")
    whole = round(seconds)
    for large, small, factor, step in (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1)):
        if whole >= factor:
            rest = whole % factor // step
            return _unit(str(whole // factor), large) + (f" {_unit(str(rest), small)}" if rest else "")
    return _unit(str(whole), "s")


def about(seconds: float | None) -> str:
    """An estimated time span, no finer than estimates are: a few seconds, about 40 s, about 6 min, about 1 h 40 min."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return "a few seconds"
    step = next(step for limit, step in ((55, 10), (3_570, 60), (86_400, 600), (math.inf, 3_600)) if seconds < limit)
    return f"about {duration(max(1, round(seconds / step)) * step)}"


def parameters(values: Mapping[str, Any]) -> str:
    """Generation parameters in one line: max tokens 5, stop ["\\n"]."""
    return ", ".join(f"{name.replace('_', ' ')} {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def ago(then_ms: int | None, now_ms: int | None = None) -> str:
    """The age of a moment given in milliseconds since 1970: just now, 12 s ago, 3 min ago, 5 h ago, 2 d ago, 14 Nov 2026.

    static/js/ages.js counts on in the same words.
    """
    if then_ms is None:
        return "never"
    age = max(0, ((now_ms if now_ms is not None else time.time_ns() // 1_000_000) - then_ms) // 1000)
    if age < 5:
        return "just now"
    for limit, factor, unit in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (604_800, 86_400, "d")):
        if age < limit:
            return f"{_unit(str(age // factor), unit)} ago"
    moment = datetime.fromtimestamp(then_ms / 1000, UTC)
    return f"{moment.day} {moment:%b} {moment.year}"


def iso(moment_ms: int | None) -> str:
    """A moment for a <time datetime="...">: ISO 8601 in UTC, to the second; empty when there is none."""
    return "" if moment_ms is None else f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def clock(moment_ms: int | None) -> str:
    """A time of day, 15:40 UTC; static/js/ages.js turns it into the reader's own zone."""
    return NONE if moment_ms is None else f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%H:%M} UTC"


def day(moment_ms: int | None) -> str:
    """A date, for what came long ago: 25 Nov 2026."""
    if moment_ms is None:
        return NONE
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return f"{moment.day}{_NBSP}{moment:%b}{_NBSP}{moment.year}"


@dataclass(frozen=True)
class Axis:
    """The one axis that all whiskers of a table share, in the table's own unit."""

    low: float
    high: float
    ticks: tuple[float, ...]
    baseline: float | None = None

    @property
    def digits(self) -> int:
        """Decimals that tell the ticks apart."""
        step = self.ticks[1] - self.ticks[0]
        return next((digits for digits in range(6) if abs(round(step, digits) - step) < step * 1e-6), 6)

    def at(self, value: float) -> str:
        """Where a value lies, as a percentage of the axis for an SVG attribute; values outside are held at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return f"{share * 100:.2f}%"


def axis(values: Sequence[float], baseline: float | None = None) -> Axis:
    """An axis with round ends and three to six round ticks that holds every value; a single value gets 0.1 around it."""
    shown = [*values, *([] if baseline is None else [baseline])] or [0.0, 1.0]
    low, high = min(shown), max(shown)
    if high - low < 1e-9:
        low, high = low - 0.1, high + 0.1
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 10) for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, baseline)


@dataclass(frozen=True)
class PhaseStep:
    """One stop on a job's line: `state` is done, now, failed, cancelled or next; `note` is what it took or found."""

    name: str
    state: str
    note: str


def phase_steps(state: str, phase: str | None, notes: Mapping[str, str], phases: Sequence[str] = PHASES) -> tuple[PhaseStep, ...]:
    """The line of a job in `state` and `phase`: queued, then each phase of its kind. `notes` is keyed by the same names."""
    line = ("queued", *phases)
    here = len(line) if state == "succeeded" else line.index(phase) if phase in line else 0
    word = state if state in ("failed", "cancelled") else "now"
    return tuple(PhaseStep(name, "done" if index < here else word if index == here else "next", notes.get(name, "")) for index, name in enumerate(line))


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "percent": percent,
    "points": points,
    "interval": interval,
    "points_interval": points_interval,
    "count": count,
    "compact": compact,
    "times": times,
    "bytes": size,
    "money": money,
    "duration": duration,
    "about": about,
    "parameters": parameters,
    "ago": ago,
    "iso": iso,
    "clock": clock,
    "day": day,
    "phase_steps": phase_steps,
}
