"""How far judges agree: a model with people, people with each other, and runs of one evaluation. Pure.

Each figure stands beside its number of rows and a 95 % interval: shares by Wilson, the others by percentiles of 2,000 draws of the rows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

from app.domain.stats import percentile, wilson

DRAWS = 2_000
AT_ONCE = 100
HALF_WIDTH = 0.10
"""An agreement known to about this much, either way, can be leant on."""


@dataclass(frozen=True)
class Agreement:
    """A judge beside people on n rows. `kappa` is none where chance alone would agree always: everybody said the same all along."""

    n: int
    same: int
    interval: tuple[float, float] | None
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    weighted: bool
    more: int
    """About how many more rows until the share is known to about 10 points."""

    @property
    def share(self) -> float | None:
        return self.same / self.n if self.n else None


def agreement(pairs: Sequence[tuple[int, int]], grades: int) -> Agreement:
    """Of grades by their place on the scale, 0 to `grades` - 1, one from each side. More than two grades are ordered, so kappa is weighted by squares:
    one grade off is nearly agreement (Cohen 1968, Psychological Bulletin 70:213)."""
    n, same, weighted = len(pairs), sum(one == other for one, other in pairs), grades > 2
    found = wilson(same, n)
    return Agreement(n, same, (found.low, found.high) if n else None, kappa(pairs, weighted), _drawn(tuple(pairs), weighted), weighted, more_rows(same, n))


def kappa(pairs: Sequence[tuple[int, int]], weighted: bool) -> float | None:
    """Cohen's kappa (1960, Educational and Psychological Measurement 20:37): agreement beyond what the two sides' habits would bring by chance; 1 is
    perfect, 0 is chance. None without rows or without any difference that chance could make."""

    def apart(one: int, other: int) -> float:
        return float((one - other) ** 2) if weighted else float(one != other)

    n = len(pairs)
    left, right = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    by_chance = sum(apart(one, other) * many * more for one, many in left.items() for other, more in right.items())
    return 1 - n * sum(apart(one, other) for one, other in pairs) / by_chance if by_chance else None


@lru_cache(maxsize=256)
def _drawn(pairs: tuple[tuple[int, int], ...], weighted: bool) -> tuple[float, float] | None:
    return _percentiles(pairs, lambda some: kappa(some, weighted))


def _percentiles(rows: Sequence[Any], figure: Callable[[list[Any]], float | None]) -> tuple[float, float] | None:
    """95 % of a figure over rows drawn again (Efron 1979); draws without the figure are left out. The same rows give the same interval."""
    if figure(list(rows)) is None:
        return None
    from numpy.random import default_rng

    places = default_rng(0).integers(0, len(rows), (DRAWS, len(rows))).tolist()
    values = [value for some in places if (value := figure([rows[at] for at in some])) is not None]
    return percentile(values, 2.5), percentile(values, 97.5)


def more_rows(k: int, n: int) -> int:
    """Further rows until Wilson's interval of a share like this one reaches about 10 points to either side; the share is taken as the interval's
    centre, so few rows promise nothing. 0 where it does."""
    if n and wilson(k, n).high - wilson(k, n).low <= 2 * HALF_WIDTH:
        return 0
    share = (k + 2) / (n + 4)
    needed = max(1.96**2 * share * (1 - share) / HALF_WIDTH**2, 20)
    return max(5, ceil(needed) - n)


def consensus(places: Sequence[int]) -> int:
    """What several people's grades of one row come to: the middle one, the lower of two. Raises ValueError without any."""
    if not places:
        raise ValueError("nobody has graded this row")
    return sorted(places)[(len(places) - 1) // 2]


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha of people who judged, or of runs that answered, over the rows that at least two of them have; none where all of them say the same
    all along."""

    value: float | None
    interval: tuple[float, float] | None
    rows: int


def alpha(rows: Sequence[Sequence[float]]) -> Alpha:
    """How far any number of judges agree who need not all have judged each row: 1 is perfect, 0 is chance (Krippendorff 2004, Content Analysis,
    chapter 11). Values are numbers with meaningful distances: a tie lies half-way between A and B, a 3 nearer to a 4 than to a 5."""
    several = tuple(tuple(float(value) for value in row) for row in rows if len(row) > 1)
    return Alpha(_alpha(several), _alpha_interval(several), len(several))


@lru_cache(maxsize=256)
def _alpha_interval(rows: tuple[tuple[float, ...], ...]) -> tuple[float, float] | None:
    return _percentiles(rows, _alpha) if rows else None


def _alpha(rows: Sequence[Sequence[float]]) -> float | None:
    values = [value for row in rows for value in row]
    n = len(values)
    if n < 2:
        return None
    # The squared distances of all pairs follow from the sums: m * sum(x²) - (sum x)² counts each pair once.
    observed = sum(2 * (len(row) * sum(value * value for value in row) - sum(row) ** 2) / (len(row) - 1) for row in rows) / n
    expected = 2 * (n * sum(value * value for value in values) - sum(values) ** 2) / (n * (n - 1))
    return 1 - observed / expected if expected > 1e-12 else None


def nominal_alpha(rows: Sequence[Sequence[str]]) -> Alpha:
    """The same of values that are alike or not, and no nearer or farther: labels."""
    from numpy import add, zeros
    from numpy.random import default_rng

    several = [row for row in rows if len(row) > 1]
    places = {value: at for at, value in enumerate(sorted({value for row in several for value in row}))}
    counts = zeros((len(several), len(places)))
    for at, row in enumerate(several):
        add.at(counts[at], [places[value] for value in row], 1)
    sizes = counts.sum(1)
    apart = (sizes**2 - (counts**2).sum(1)) / (sizes - 1)
    value = _nominal(apart.sum(), counts.sum(0), sizes.sum()) if several else None
    if value is None:
        return Alpha(None, None, len(several))
    random, known = default_rng(0), list[float]()
    for _ in range(DRAWS // AT_ONCE):  # how often each row is drawn, some draws at a time: all of them at once would take memory
        times = random.multinomial(len(several), [1 / len(several)] * len(several), AT_ONCE)
        drawn = (_nominal(*one) for one in zip(times @ apart, times @ counts, times @ sizes, strict=True))
        known += [one for one in drawn if one is not None]
    return Alpha(value, (percentile(known, 2.5), percentile(known, 97.5)), len(several))


def _nominal(apart: Any, of_values: Any, n: Any) -> float | None:
    """`apart`: pairs of values within rows that are not the same, in both orders, over the row's values less one; `of_values`: how often each value is
    there, n in all."""
    expected = (n * n - (of_values**2).sum()) / (n - 1)
    return float(1 - apart / expected) if expected > 1e-12 else None
