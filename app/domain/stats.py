"""Intervals, paired tests and verdicts: what a score on n rows allows one to say, and what it does not.

Pure: counts, booleans and shares in, plain values out. Differences and shares are fractions (0.014 is 1.4 points) everywhere
except in sentences. Two systems are always compared on the same rows, so every comparison is paired. A row is right or wrong (1 or 0),
or, where a system ran with several seeds, the share of its seeds that have it right, or has the value of a measure (0 to 1): `bounded.py` says how far
the mean of those is known. Figures that are no mean over rows are compared in `scoring/whole.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil, copysign, inf, sqrt
from statistics import NormalDist
from typing import Any, Literal, Self

from app.domain import bounded

ALPHA = 0.05
"""How often one of several rungs that are truly `margin` below may be shown not to be, over all of them together."""

POWER = 0.8
"""How often a true difference shall be found: the convention behind `detectable` and `more_rows`."""

RESAMPLES = 9_999
"""Draws of a bootstrap or a permutation test: the p-value of one that is significant at 0.05 is then known to about 0.002."""

KEPT = 512
"""Bootstraps and permutations that are remembered: a page that is drawn again asks for the same ones."""

MOST_ROWS = 100_000
"""Above this many further test rows, labelling more is not an answer anybody can use."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, as fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """a minus b on the same n rows, with its 95 % interval. On `gained` rows a is right more often than b, on `lost` rows less often.

    `by_row` are the differences row by row where rows are not just right or wrong: shares of several seeds, or a measure of text; a row is then
    gained where its value is higher. `draws` are sorted bootstrap draws of the difference of a figure that is no mean over rows, `known` how far it is
    known (app/domain/scoring/few_rows.py).
    """

    difference: float
    low: float
    high: float
    p_value: float
    gained: int
    lost: int
    n: int
    by_row: tuple[float, ...] = field(default=(), repr=False)
    draws: Any = field(default=None, repr=False, compare=False)
    known: Any = field(default=None, repr=False, compare=False)

    def clears(self, margin: float, alpha: float) -> bool:
        """Whether a is shown, one-sided at `alpha`, to be less than `margin` below b: by `p_below`, or where there is no such p-value by the
        interval. With no margin that is being better, for which there is a p-value always."""
        return self.lower(alpha) > -margin if self.draws is not None and margin > 0 else self.p_below(margin) <= alpha

    @property
    def turned(self) -> Self:
        """b minus a."""
        return replace(
            self,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            gained=self.lost,
            lost=self.gained,
            by_row=tuple(-value for value in self.by_row),
            draws=None if self.draws is None else -self.draws[::-1],
        )

    def lower(self, alpha: float) -> float:
        """The one-sided lower limit."""
        if self.draws is not None:
            return float(self.known.low(self.difference, self.draws, alpha))
        if self.by_row:
            return bounded.interval(self.by_row, 1 - 2 * alpha, -1.0, 1.0)[0]
        return _tango(self.gained, self.lost, self.n, 1 - 2 * alpha).low

    @property
    def squared(self) -> float:
        """The mean square of the rows' differences: what decides how many rows are needed. Of rows right or wrong the share on which the two differ."""
        if self.draws is not None:
            return float(self.draws.var()) * self.n + self.difference * self.difference
        return sum(value * value for value in self.by_row) / self.n if self.by_row else (self.gained + self.lost) / self.n

    def p_below(self, margin: float) -> float:
        """One-sided p-value of "a is at least `margin` below b" (non-inferiority): small where a is shown to be less than that below.

        By Tango's score test, or where rows are not just right or wrong by the same of their values (`bounded`); with no margin half of the two-sided
        p-value. Raises ValueError for a margin and a difference that has `draws`: a bootstrap gives limits and no p-value.
        """
        if margin == 0:
            return self.p_value / 2 if self.difference > 0 else 1 - self.p_value / 2
        if self.draws is not None:
            raise ValueError("a figure that is no mean over rows has no p-value of a margin")
        score = bounded.score(self.by_row, -margin, -1.0, 1.0) if self.by_row else _score(self.gained, self.lost, self.n, -margin)
        return 1 - NormalDist().cdf(score)


@dataclass(frozen=True)
class Verdict:
    """What a difference says against the baseline. `more_rows`: about how many more of these rows would settle it; None: no use."""

    kind: Literal["better", "worse", "tie", "at_most_margin_below", "cannot_tell"]
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


@lru_cache(maxsize=KEPT)
def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p-value that two systems are equally good, from the rows only one of them has right (McNemar 1947, Psychometrika 12:153)."""
    from scipy.stats import binomtest

    return 1.0 if b + c == 0 else float(binomtest(b, b + c, 0.5).pvalue)


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """How much better a is than b on the same rows. Raises ValueError for lists of different length, or without rows.

    Rows right or wrong: Tango's score interval for paired proportions (1998, Statistics in Medicine 17:891), which keeps its
    coverage for few rows and few disagreements (Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850), and the exact
    McNemar test. Shares of several seeds: the score interval of such values (`bounded`) and a permutation test that flips signs.
    """
    n = len(a)
    if n != len(b) or n == 0:
        raise ValueError(f"paired results need the same rows on both sides, at least one: {n} and {len(b)}")
    by_row = [float(one) - float(other) for one, other in zip(a, b, strict=True)]
    gained, lost = sum(value > 0 for value in by_row), sum(value < 0 for value in by_row)
    if all(value in (-1.0, 0.0, 1.0) for value in by_row):
        interval = _tango(gained, lost, n, confidence)
        return Difference((gained - lost) / n, interval.low, interval.high, mcnemar(gained, lost), gained, lost, n)
    low, high = bounded.interval(tuple(by_row), confidence, -1.0, 1.0)
    return Difference(sum(by_row) / n, low, high, _flipped(tuple(by_row)), gained, lost, n, tuple(by_row))


def mean_interval(values: Sequence[float], confidence: float = 0.95, low: float = 0.0, high: float = 1.0) -> Interval:
    """Interval of a mean over rows whose values lie between two ends: Wilson's where every row is right or wrong, else the same of such values."""
    if (low, high) == (0.0, 1.0) and all(value in (0.0, 1.0) for value in values):
        return wilson(round(sum(values)), len(values), confidence)
    return Interval(*bounded.interval(tuple(values), confidence, low, high))


@lru_cache(maxsize=KEPT)
def _flipped(values: tuple[float, ...]) -> float:
    """Two-sided p-value that the values' mean is 0, by flipping each sign at random (Fisher 1935, The Design of Experiments).

    The draws are seeded, and the observed one counts as one of them (Phipson and Smyth 2010, SAGMB 9:39), so p is never 0.
    """
    import numpy as np

    rng, moved = np.random.default_rng(0), np.array([value for value in values if value])
    if not len(moved):
        return 1.0
    observed, as_extreme, drawn = moved.sum(), 0, 0
    while drawn < RESAMPLES:
        some = min(500, RESAMPLES - drawn)
        sums = (rng.integers(0, 2, (some, len(moved)), dtype=np.int8) * 2.0 - 1.0) @ moved
        # A sum that equals the observed one but for rounding is as extreme.
        as_extreme += int((abs(sums) >= abs(observed) - 1e-9).sum())
        drawn += some
    return (1 + as_extreme) / (1 + RESAMPLES)


def _score(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score: how many standard errors the observed difference lies above `delta`, were delta true."""
    # The share of `lost` rows under delta, by maximum likelihood: the larger root of a quadratic.
    linear = (2 * n - gained + lost) * delta - gained - lost
    share = (sqrt(max(0.0, linear * linear + 8 * n * lost * delta * (1 - delta))) - linear) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    surplus = gained - lost - n * delta
    return surplus / sqrt(variance) if variance > 0 else copysign(inf, surplus) if surplus else 0.0


@lru_cache(maxsize=KEPT)
def _tango(gained: int, lost: int, n: int, confidence: float) -> Interval:
    """Limits are the differences that a score test would just not reject."""
    z, observed = _z(confidence), (gained - lost) / n
    low = _root(lambda delta: _score(gained, lost, n, delta) - z, -1.0, observed) if observed > -1 else -1.0
    high = _root(lambda delta: _score(gained, lost, n, delta) + z, observed, 1.0) if observed < 1 else 1.0
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


def holds(differences: Sequence[Difference], margin: float, alpha: float = ALPHA) -> list[bool]:
    """Which of several rungs, each as its difference against the same one, are shown to be less than `margin` below it.

    Holm's steps (1979): all are held to alpha over how many are still open, and again when some are shown, until none is. With a p-value for each
    that is the same as correcting it; a lower limit has none.
    """
    shown = [False] * len(differences)
    while open_ := [at for at, held in enumerate(shown) if not held]:
        found = [at for at in open_ if differences[at].clears(margin, alpha / len(open_))]
        if not found:
            break
        for at in found:
            shown[at] = True
    return shown


def verdict(difference: Difference, margin: float = 0.0, rows: str = "test", figure: str = "") -> Verdict:
    """What may be said of a against b, compared with nothing else: see `verdicts`."""
    return verdicts([difference], margin, rows, figure)[0]


def verdicts(differences: Sequence[Difference], margin: float = 0.0, rows: str = "test", figure: str = "") -> list[Verdict]:
    """What may be said of several systems against one baseline. `margin` is the loss (a fraction) that would be acceptable, `rows` which rows all
    answered, `figure` by what they are compared where that is not the share of right rows.

    Every word holds for all of them together (Holm), and needs the interval of its own comparison as well, so the two never disagree on a page.
    A loss within the margin is acceptable even where it is certain, so that is looked at first.
    """
    settled = [one.p_value <= ALPHA for one in corrected(differences)]
    below, above = ([False] * len(differences), [False] * len(differences))
    if margin > 0:
        below, above = holds(differences, margin), holds([one.turned for one in differences], margin)
    found: list[Verdict | None] = []
    for one, sure, under, over in zip(differences, settled, below, above, strict=True):
        said, seen = _points(one, figure), _rows(one, rows, figure)
        at_most = under and one.low >= -margin
        if sure and one.low > 0:
            found.append(Verdict("better", f"Better than the baseline by {said}: {seen}."))
        elif not sure and at_most and over and one.high <= margin:
            found.append(Verdict("tie", f"A tie with the baseline: within {_number(margin)} points either way ({said}): {seen}."))
        elif at_most:
            found.append(Verdict("at_most_margin_below", f"At most {_number(margin)} points below the baseline ({said}): {seen}."))
        elif sure and one.high < 0:
            found.append(Verdict("worse", f"Worse than the baseline by {_points(one, figure, -1)}: {seen}."))
        else:
            found.append(None)
    open_ = found.count(None)
    return [known or _cannot_tell(one, margin, ALPHA / open_, rows, said=_points(one, figure)) for known, one in zip(found, differences, strict=True)]


def _cannot_tell(difference: Difference, margin: float, alpha: float, rows: str, said: str) -> Verdict:
    more = _more_rows(difference, margin, alpha)
    hope = f"about {more:,} more {rows} rows would, if the difference stays as it is" if more else f"more {rows} rows are unlikely to tell either"
    return Verdict("cannot_tell", f"Cannot tell from {difference.n:,} {rows} rows ({said}): {hope}.", more)


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
    gap = max(abs(difference.difference), difference.difference + margin if margin > 0 else 0.0)
    return rows_for(difference, gap, alpha)


def rows_for(difference: Difference, gap: float, alpha: float = 0.05) -> int | None:
    """Rows beyond those of a difference until a gap is told from none (two-sided `alpha`), if rows go on to differ as they do."""
    binary = difference.draws is None and not difference.by_row
    # So large a gap between rows right or wrong needs as large a share of rows that differ; a square of it is the least otherwise.
    return rows_missing(gap, difference.squared and max(difference.squared, gap if binary else gap * gap), difference.n, alpha)


def rows_missing(gap: float, squared: float, n: int, alpha: float = 0.05) -> int | None:
    """Rows beyond n until a gap is told from none (two-sided `alpha`), given the mean square of the rows' differences; None where no number of rows is
    of use."""
    if squared == 0 or gap < 1e-4:
        return None
    more = _rows_needed(gap, squared, alpha) - n
    # Few disagreements can leave the exact test undecided although the formula is content: ten rows more at least.
    return max(10, int(float(f"{ceil(more):.2g}"))) if more < MOST_ROWS else None


def _points(difference: Difference, figure: str, sign: int = 1) -> str:
    low, high = sorted((sign * difference.low, sign * difference.high))
    return f"{_number(sign * difference.difference)} points{f' of {figure}' if figure else ''} [{_number(low)}, {_number(high)}]"


def _number(fraction: float) -> str:
    """A fraction in points with one decimal, without a negative zero."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def _rows(difference: Difference, rows: str, figure: str) -> str:
    """What happened row by row: right where the other is wrong, or a higher value than the other's."""
    if figure and difference.by_row:
        return f"of {difference.n:,} {rows} rows {difference.gained:,} are higher and {difference.lost:,} lower"
    return f"of {difference.n:,} {rows} rows it gained {difference.gained:,} and lost {difference.lost:,}"
