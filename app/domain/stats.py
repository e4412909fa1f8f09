"""Intervals, paired tests and verdicts: what a score on n rows allows one to say, and what it does not.

Pure: counts and booleans in, plain values out. Differences and shares are fractions (0.014 is 1.4 points) everywhere
except in sentences. Two systems are always compared on the same rows, so every comparison is paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, copysign, inf, sqrt
from statistics import NormalDist
from typing import Literal

POWER = 0.8
"""How often a true difference shall be found: the convention behind `detectable` and `more_rows`."""

MOST_ROWS = 100_000
"""Above this many further test rows, labelling more is not an answer anybody can use."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, as fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """a minus b on the same n rows. `gained` rows only a has right, `lost` rows only b has right."""

    difference: float
    low: float
    high: float
    p_value: float
    gained: int
    lost: int
    n: int


@dataclass(frozen=True)
class Verdict:
    """What a difference says against the baseline. `more_rows`: about how many more test rows would settle it; None: no use."""

    kind: Literal["better", "worse", "at_most_margin_below", "cannot_tell"]
    sentence: str
    more_rows: int | None = None


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share k / n (Wilson 1927, JASA 22:209). No rows say nothing: [0, 1]. Raises ValueError unless 0 <= k <= n."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    if n == 0:
        return Interval(0.0, 1.0)
    z = _z(confidence)
    share, spread = k / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / n + spread / (4 * n))
    # The limits at k = 0 and k = n are exactly 0 and 1; rounding would miss them.
    return Interval(0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p-value that two systems are equally good, from the rows only one of them has right (McNemar 1947, Psychometrika 12:153)."""
    from scipy.stats import binomtest

    return 1.0 if b + c == 0 else float(binomtest(b, b + c, 0.5).pvalue)


def paired_difference(a_correct: Sequence[bool], b_correct: Sequence[bool], confidence: float = 0.95) -> Difference:
    """How much better a is than b on the same rows. Raises ValueError for lists of different length, or without rows.

    The interval is Tango's score interval for paired proportions (1998, Statistics in Medicine 17:891), which keeps its
    coverage for few rows and few disagreements (Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850).
    """
    n = len(a_correct)
    if n != len(b_correct) or n == 0:
        raise ValueError(f"paired results need the same rows on both sides, at least one: {n} and {len(b_correct)}")
    gained = sum(1 for a, b in zip(a_correct, b_correct, strict=True) if a and not b)
    lost = sum(1 for a, b in zip(a_correct, b_correct, strict=True) if b and not a)
    interval = _tango(gained, lost, n, confidence)
    return Difference((gained - lost) / n, interval.low, interval.high, mcnemar(gained, lost), gained, lost, n)


def _tango(gained: int, lost: int, n: int, confidence: float) -> Interval:
    """Limits are the differences that a score test would just not reject."""
    z, observed = _z(confidence), (gained - lost) / n

    def statistic(delta: float) -> float:
        # The share of `lost` rows, were delta true, by maximum likelihood: the larger root of a quadratic.
        linear = (2 * n - gained + lost) * delta - gained - lost
        share = (sqrt(max(0.0, linear * linear + 8 * n * lost * delta * (1 - delta))) - linear) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        surplus = gained - lost - n * delta
        return surplus / sqrt(variance) if variance > 0 else copysign(inf, surplus)

    low = _root(lambda delta: statistic(delta) - z, -1.0, observed) if observed > -1 else -1.0
    high = _root(lambda delta: statistic(delta) + z, observed, 1.0) if observed < 1 else 1.0
    return Interval(low, high)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between two points, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for how many comparisons were made, in the order given (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Several comparisons against one baseline, with Holm's p-values. The intervals stay those of each comparison alone."""
    return [replace(one, p_value=p) for one, p in zip(differences, holm([one.p_value for one in differences]), strict=True)]


def verdict(difference: Difference, margin: float = 0.0, alpha: float = 0.05) -> Verdict:
    """What may be said of a against b. `margin` is the loss (a fraction) that would be acceptable.

    Better or worse needs both the p-value (Holm's, after `corrected`) and the interval, so the two never disagree on a page.
    A loss within the margin is acceptable even where it is certain, so that is looked at first.
    """
    settled = difference.p_value <= alpha
    if settled and difference.low > 0:
        return Verdict("better", f"Better than the baseline by {_points(difference)}: {_rows(difference)}.")
    if margin > 0 and difference.low >= -margin:
        return Verdict("at_most_margin_below", f"At most {_number(margin)} points below the baseline ({_points(difference)}): {_rows(difference)}.")
    if settled and difference.high < 0:
        return Verdict("worse", f"Worse than the baseline by {_points(difference, -1)}: {_rows(difference)}.")
    more = _more_rows(difference, margin, alpha)
    hope = f"about {more:,} more test rows would, if the difference stays as it is" if more else "more test rows are unlikely to tell either"
    return Verdict("cannot_tell", f"Cannot tell from {difference.n:,} test rows ({_points(difference)}): {hope}.", more)


def detectable(n: int, discordant: float = 0.2, alpha: float = 0.05) -> float:
    """The smallest true difference that n test rows show four times in five, when so large a share of rows gets one right answer of two.

    Solves Connor's sample size for paired proportions (1987, Biometrics 43:207) for the difference. No rows detect nothing: 1.0.
    """
    if n <= 0 or _rows_needed(discordant, discordant, alpha) > n:
        return 1.0
    return _root(lambda gap: _rows_needed(gap, discordant, alpha) - n, 0.0, discordant)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100), between the two nearest values in proportion. Raises ValueError without values."""
    if not values or not 0 <= q <= 100:
        raise ValueError(f"no {q}th percentile of {len(values)} values")
    ordered = sorted(values)
    position = (len(ordered) - 1) * q / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _rows_needed(gap: float, discordant: float, alpha: float) -> float:
    """Connor's n for a difference `gap` when a share `discordant` of the rows differs."""
    if gap <= 0:
        return inf
    spread = max(0.0, discordant - gap * gap)
    return float(((_z(1 - alpha) * sqrt(discordant) + NormalDist().inv_cdf(POWER) * sqrt(spread)) / gap) ** 2)


def _more_rows(difference: Difference, margin: float, alpha: float) -> int | None:
    """Further rows until a difference like the observed one is told from 0 or from -margin, whichever is nearer to being settled."""
    discordant = (difference.gained + difference.lost) / difference.n
    gap = max(abs(difference.difference), difference.difference + margin if margin > 0 else 0.0)
    if discordant == 0 or gap == 0:
        return None
    more = _rows_needed(gap, max(discordant, gap), alpha) - difference.n
    # Few disagreements can leave the exact test undecided although the formula is content: ten rows more at least.
    return max(10, int(float(f"{ceil(more):.2g}"))) if more < MOST_ROWS else None


def _points(difference: Difference, sign: int = 1) -> str:
    low, high = sorted((sign * difference.low, sign * difference.high))
    return f"{_number(sign * difference.difference)} points [{_number(low)}, {_number(high)}]"


def _number(fraction: float) -> str:
    """A fraction in points with one decimal, without a negative zero."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def _rows(difference: Difference) -> str:
    return f"of {difference.n:,} test rows it gained {difference.gained:,} and lost {difference.lost:,}"
