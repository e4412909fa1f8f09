"""How far a figure that is no mean over rows is known, where some label may have few of them. Pure.

Rows drawn again (a bootstrap) vary less than new rows would: of n rows of a label by a share of 1 / n, and with the few ways in which ten rows can be drawn the
ends of the draws lie too near. Two corrections are known, and each falls short by itself: percentiles moved outwards as far as Student's t lies outside the
normal (Hesterberg 2015, The American Statistician 69:371), and the figure give or take t standard errors. The wider of both is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt
from typing import Any

STEP = 1e-3
"""How many rows a count is moved by, to see what the figure does."""

AT_ONCE = 256
"""Cells whose steps are held at once: all of them would take their number squared."""


@dataclass(frozen=True)
class Known:
    """A figure's standard error, and from how many degrees of freedom that is known."""

    error: float
    freedom: float

    def low(self, value: float, draws: Any, alpha: float) -> float:
        """The one-sided lower limit at `alpha` of a figure of this value; `draws` are its sorted bootstrap draws."""
        quantile, share = _tail(alpha, self.freedom)
        return min(float(draws[int(share * len(draws))]), value + quantile * self.error, value)

    def high(self, value: float, draws: Any, alpha: float) -> float:
        """The upper limit likewise."""
        return -self.low(-value, -draws[::-1], alpha)


@lru_cache(maxsize=512)
def _tail(alpha: float, freedom: float) -> tuple[float, float]:
    """(Student's quantile at `alpha`, the share of draws below the percentile limit)."""
    from scipy.stats import norm, t

    if freedom == inf:
        return float(norm.ppf(alpha)), alpha
    quantile = float(t.ppf(alpha, freedom))
    return quantile, float(norm.cdf(quantile * sqrt((freedom + 1) / freedom)))


def _slope(counts: Any, cells: Any, figure: Callable[[Any], Any]) -> Any:
    """What one row more in each of these cells does to the figure."""
    import numpy as np

    steps = np.zeros((len(cells), len(counts)))
    steps[np.arange(len(cells)), cells] = STEP
    return (figure(counts + steps) - figure(np.maximum(counts - steps, 0.0))) / (2 * STEP)


def known(counts: Any, gold: Any, support: Any, figure: Callable[[Any], Any]) -> Known:
    """How far `figure`, [draws] of [draws, cells], is known from `counts` [cells] of rows, each of a gold label (`gold` [cells, labels], one of them 1).

    The delta method: a label's part of the variance is that of what one row of it does to the figure. `support` are the labels' real rows, where rows were added
    to `counts` so that cells which nobody saw count as well. Degrees of freedom after Satterthwaite (1946, Biometrics Bulletin 2:110).
    """
    import numpy as np

    slope = np.concatenate([_slope(counts, cells, figure) for cells in np.array_split(np.arange(len(counts)), len(counts) // AT_ONCE + 1)])
    rows, seen = counts @ gold, np.maximum(support, 1.0)
    mean = (counts * slope) @ gold / np.maximum(rows, 1e-9)
    # Of so many rows as there are, and one fewer to tell their spread from.
    within = np.maximum((counts * slope**2) @ gold - rows * mean**2, 0.0) * rows / np.maximum(seen - 1, 0.5)
    between = float(((rows * mean**2) * rows / seen).sum())
    total = float(within.sum())
    spread = float((within**2 / np.maximum(seen - 1, 1.0)).sum())
    return Known(sqrt(total + between), total * total / spread if spread > 0 else inf)
