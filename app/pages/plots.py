"""Two drawings of an experiment as SVG from the server: quality over cost, and quality over labels. Pure: figures in, coordinates out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from app.domain.curve import Curve
from app.pages.formatting import Axis, axis, duration, money
from app.pages.ladder_view import Line

WIDTH, HEIGHT = 640.0, 280.0
NARROW = 360.0
"""The width of a drawing for a small screen: its words stay as large as in the wide one."""
LEFT, RIGHT, TOP, BOTTOM = 52.0, 20.0, 12.0, 34.0
TICK = 78.0
"""Room for the words of one tick."""
LETTER = 6.4
"""Width of a character of a mark's name, about."""
LINE = 13.0
"""Height of a mark's name."""
PLACES = (0.0, -LINE, LINE)
"""Where a name may stand beside its point: level with it, a line higher, a line lower."""

SAMPLES = 60
"""Points that a curve is drawn through."""


@dataclass(frozen=True)
class Mark:
    """One point with its interval: pixels, and the words for it. `anchor` is on which side the name stands, `drop` how much lower than its point."""

    x: float
    y: float
    low: float
    high: float
    name: str
    told: str
    best: bool = False
    soft: bool = False
    anchor: str = "start"
    drop: float = 0.0


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """`path` are the marks that nothing beats in both, or a fitted curve; `band` the area of its interval; `here` where the labels of today are."""

    marks: list[Mark]
    across: list[Tick]
    up: list[Tick]
    across_title: str
    path: str = ""
    band: str = ""
    here: float | None = None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM
    top: float = TOP


@dataclass(frozen=True)
class Scale:
    """From values to pixels, by logarithm: costs and labels range over powers of ten."""

    low: float
    high: float
    width: float

    def at(self, value: float) -> float:
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return round(LEFT + share * (self.width - LEFT - RIGHT), 1)

    def ticks(self, told: Callable[[float], str]) -> list[Tick]:
        """Powers of ten with their 2 and 5 between, as many as have room."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1, 2, 5), (1, 3), (1,)):
            values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
            inside = [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
            if len(inside) <= (self.width - LEFT - RIGHT) / TICK:
                break
        return [Tick(self.at(value), told(value)) for value in inside]


def _scale(values: Sequence[float], width: float) -> Scale:
    low, high = min(values), max(values)
    room = max(1.35, (high / low) ** 0.08)
    return Scale(low / room, high * room, width)


def _up(value: float, of: Axis) -> float:
    share = (min(max(value, of.low), of.high) - of.low) / (of.high - of.low)
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _ups(of: Axis) -> list[Tick]:
    return [Tick(_up(tick, of), f"{tick:.{of.digits}f}") for tick in of.ticks]


def drawable(lines: Sequence[Line]) -> list[Line]:
    """The scored rungs that may stand in one drawing: those of one device, and of test rows once there are any."""
    here = [line for line in lines if line.scores and not line.elsewhere]
    return [line for line in here if not line.provisional] or here


def left_out(lines: Sequence[Line]) -> str:
    """Which scored rungs are not drawn, and why; nothing where all are."""
    drawn = {line.position for line in drawable(lines)}
    words = [
        f"{line.title} ({f'on {line.elsewhere}' if line.elsewhere else 'validation rows so far'})"
        for line in lines
        if line.scores and line.position not in drawn
    ]
    return f"Not drawn, because it cannot be compared: {', '.join(words)}." if words else ""


def pareto(lines: Sequence[Line], width: float = WIDTH) -> Plot | None:
    """Quality over what 1,000 requests cost; over latency where no request has a price. None before two rungs are scored."""
    scored = drawable(lines)
    priced = bool(scored) and all(line.request_cost for line in scored)
    if len(scored) < 2:
        return None

    def across(line: Line) -> float:
        return 1000 * (line.request_cost or 0.0) if priced else max(line.scores["latency_ms"]["p50"], 0.01)  # type: ignore[index]

    def told(value: float) -> str:
        return money(value) if priced else duration(value / 1000)

    scale = _scale([across(line) for line in scored], width)
    of = axis([end for line in scored if line.scores for end in line.scores["interval"]])
    marks = []
    for line in scored:
        scores = line.scores or {}
        x, (low, high) = scale.at(across(line)), scores["interval"]
        side = "end" if x + LETTER * len(line.title) + 10 > width - RIGHT else "start"
        words = f"{line.title}: {scores['value']:.3f}, {told(across(line))}"
        y = _up(scores["value"], of)
        marks.append(Mark(x, y, _up(low, of), _up(high, of), line.title, words, line.best, line.provisional, side))
    front, highest = [], -2.0
    for line in sorted(scored, key=lambda one: (across(one), -(one.scores or {})["value"])):
        value = (line.scores or {})["value"]
        if value > highest:
            front.append((scale.at(across(line)), _up(value, of)))
            highest = value
    title = "Price of 1,000 requests" if priced else "Latency of one request, p50"
    return Plot(_apart(marks, width), scale.ticks(told), _ups(of), title, _path(front), width=width, right=width - RIGHT)


def for_screens(draw: Callable[[float], Plot | None]) -> list[Plot]:
    """A drawing for a wide screen and one for a narrow one; nothing where there is nothing to draw."""
    return [found for width in (WIDTH, NARROW) if (found := draw(width)) is not None]


def _apart(marks: Sequence[Mark], width: float) -> list[Mark]:
    """The marks from the highest on, each with its name where it lies on no other's: on either side or a line off, and off the other points if that can be.
    One that has no such place goes without: hover and the table tell it.
    """
    placed: list[tuple[float, float, float]] = []
    found = []
    for mark in sorted(marks, key=lambda one: (not one.best, one.y)):
        long = LETTER * len(mark.name)
        free: list[tuple[bool, int, float, float, Mark]] = []
        for drop, anchor in product(PLACES, sorted(("start", "end"), key=lambda side: side != mark.anchor)):
            left, y = mark.x + 9 if anchor == "start" else mark.x - 9 - long, mark.y + drop
            inside = left >= LEFT - 4 and left + long <= width and TOP <= y <= HEIGHT - BOTTOM
            if inside and all(abs(y - other) >= LINE or left > end or left + long < start for start, end, other in placed):
                covers = any(left - 4 < one.x < left + long + 4 and abs(y - one.y) < 9 for one in marks)
                free.append((covers, len(free), left, y, replace(mark, anchor=anchor, drop=drop)))
        if free:
            _, _, left, y, named = min(free, key=lambda one: one[:2])
            placed.append((left, left + long, y))
        found.append(named if free else replace(mark, name=""))
    return found


def labels(points: Sequence[tuple[int, float, float, float]], curve: Curve | None, now: int, ahead: int, width: float = WIDTH) -> Plot | None:
    """Quality over labels: `points` are (labels, mean, low, high); the fitted curve with its band goes on to `ahead` labels. None without points."""
    if not points:
        return None
    counts = [count for count, *_ in points]
    scale = _scale([*counts, now, ahead] if curve else [*counts, now], width)
    band, line = "", ""
    ends = [end for _, _, low, high in points for end in (low, high)]
    if curve is not None:
        first, last = min(counts), ahead
        steps = [first * (last / first) ** (at / SAMPLES) for at in range(SAMPLES + 1)]
        bands = [curve.band(step) for step in steps[:: SAMPLES // 12]]
        ends += [end for one in bands for end in (one.low, one.high)]
        of = axis(ends)
        line = _path([(scale.at(step), _up(curve.at(step), of)) for step in steps])
        upper = [(scale.at(step), _up(one.high, of)) for step, one in zip(steps[:: SAMPLES // 12], bands, strict=True)]
        lower = [(scale.at(step), _up(one.low, of)) for step, one in zip(steps[:: SAMPLES // 12], bands, strict=True)]
        band = _path([*upper, *reversed(lower)]) + "Z"
    else:
        of = axis(ends)
    marks = [
        Mark(scale.at(count), _up(mean, of), _up(low, of), _up(high, of), "", f"{count:,} labels: {mean:.3f} [{low:.3f}, {high:.3f}]")
        for count, mean, low, high in points
    ]
    return Plot(marks, scale.ticks(lambda value: f"{value:,.0f}"), _ups(of), "Labels", line, band, scale.at(now), width, right=width - RIGHT)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""
