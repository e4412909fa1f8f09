"""How far a mean of bounded values is known: intervals and tests by the score, for rows that are not just right or wrong. Pure.

Wilson's interval (1927, JASA 22:209) and Tango's (1998, Statistics in Medicine 17:891) ask how many standard errors an observed mean lies from a supposed
one, with the spread that rows would have were that one true. Here it is the same for any values between two ends, such as the shares of several seeds: the
spread is that of the likeliest distribution with the supposed mean, over the values that were seen and the two ends (empirical likelihood: Owen 1988,
Biometrika 75:237). For values of 0 and 1 that is Wilson's interval, for -1, 0 and 1 Tango's.

A bootstrap and a test that flips signs know only what was seen. Of a rung that loses few rows, and those whole, they often saw none of them, and claim
too much: `python -m bench.verdicts` counts how often.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf, sqrt
from statistics import NormalDist
from typing import Any

KEPT = 512
"""Intervals that are remembered: a page that is drawn again asks for the same ones."""

CLOSE, MOST = 1e-12, 1e9


def score(values: Sequence[float], supposed: float, low: float = 0.0, high: float = 1.0) -> float:
    """How many standard errors the mean of values between `low` and `high` lies above a supposed mean, were that one true. Raises ValueError without values."""
    return _Seen(tuple(values), low, high).score(supposed)


@lru_cache(maxsize=KEPT)
def interval(values: tuple[float, ...], confidence: float = 0.95, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """The means between `low` and `high` that the score does not reject. Raises ValueError without values."""
    seen, z = _Seen(values, low, high), NormalDist().inv_cdf(0.5 + confidence / 2)
    mean = seen.mean
    return _root(lambda supposed: seen.score(supposed) - z, low, mean), _root(lambda supposed: seen.score(supposed) + z, mean, high)


class _Seen:
    """The distinct values with how many rows have each."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        import numpy as np

        if not len(values):
            raise ValueError("a mean needs a row at least")
        self.values, self.counts = np.unique(np.clip(np.asarray(values, dtype=float), low, high), return_counts=True)
        self.n, self.ends = len(values), (low, high)
        self.mean = float(self.values @ self.counts) / self.n

    def score(self, supposed: float) -> float:
        surplus = self.mean - supposed
        if abs(surplus) < CLOSE:
            return 0.0
        spread = self._spread(supposed)
        return surplus * sqrt(self.n / spread) if spread > CLOSE * CLOSE else inf if surplus > 0 else -inf

    def _spread(self, supposed: float) -> float:
        """The variance of a row, were the supposed mean true.

        The likeliest weight of a value x away from that mean is its share of the rows over 1 + tilt x, for the tilt that gives the mean; what the
        largest tilt there can be leaves over lies at the end that was not seen, or too seldom.
        """
        sign = 1.0 if self.mean > supposed else -1.0
        away = sign * (self.values - supposed)
        end = sign * ((self.ends[0] if sign > 0 else self.ends[1]) - supposed)
        if end > -CLOSE:
            return 0.0
        most = -1.0 / end
        tilt = _root(lambda one: float((self.counts * away / (1.0 + one * away)).sum()), 0.0, most * (1 - CLOSE))
        weights: Any = self.counts / (self.n * (1.0 + tilt * away))
        left = max(0.0, 1.0 - float(weights.sum()))
        return float((weights * away * away).sum()) + left * end * end


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between two points; the nearer of them where it does not."""
    from scipy.optimize import brentq

    def bounded(at: float) -> float:
        return min(MOST, max(-MOST, falling(at)))

    if bounded(low) <= 0:
        return low
    if bounded(high) >= 0:
        return high
    return float(brentq(bounded, low, high, xtol=1e-12))
