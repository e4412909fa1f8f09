"""The label curve: quality over the number of labels as a power law, with a band, and what more labels would buy. Pure.

Quality at n labels is taken to be `limit - loss * n ** -power` (Hestness et al. 2017, arXiv 1712.00409; Figueroa et al. 2012, BMC Medical
Informatics 12:8): it rises ever slower towards a limit. The band is a bootstrap: each point is drawn again from what its rows and its seeds
leave open, and the curve fitted anew.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.stats import Interval, percentile

DRAWS = 1_000
POWERS = 60
"""How many powers are tried, from 0.05 to 2."""

FEWEST = 3
"""Label counts that a curve of three unknowns needs."""


@dataclass(frozen=True)
class Point:
    """One scoring: how many labels were learnt from, and the figure that came out."""

    labels: int
    score: float


@dataclass(frozen=True)
class Gain:
    """What more labels buy: a difference of shares, with its 95 % interval."""

    more: int
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A fitted curve with the curves that were drawn for its band: each (limit, loss, power). The figure is never below `low`."""

    limit: float
    loss: float
    power: float
    drawn: tuple[tuple[float, float, float], ...]
    low: float = 0.0

    def at(self, labels: float) -> float:
        return self._value(self.limit, self.loss, self.power, labels)

    def band(self, labels: float) -> Interval:
        """Where quality at so many labels lies, 95 %."""
        return _middle([self._value(*one, labels) for one in self.drawn])

    def gain(self, now: int, more: int) -> Gain:
        """What `more` labels buy beside the `now` that are there."""
        drawn = _middle([self._value(*one, now + more) - self._value(*one, now) for one in self.drawn])
        return Gain(more, self.at(now + more) - self.at(now), drawn.low, drawn.high)

    def _value(self, limit: float, loss: float, power: float, labels: float) -> float:
        return max(self.low, limit - loss * math.pow(labels, -power))


def fit(points: Sequence[Point], rows: int, low: float = 0.0) -> Curve | None:
    """The curve through scorings on the same `rows` rows by a figure between `low` and 1; None with fewer than three label counts."""
    import numpy as np

    by_labels: dict[int, list[float]] = defaultdict(list)
    for point in points:
        by_labels[point.labels].append(point.score)
    if len(by_labels) < FEWEST:
        return None
    counts = np.array(sorted(by_labels), dtype=float)
    means = np.array([np.mean(by_labels[int(count)]) for count in counts])
    rng = np.random.default_rng(0)
    drawn = np.empty((DRAWS, len(counts)))
    for at, count in enumerate(counts):
        seeds = np.array(by_labels[int(count)])
        # The rows are the same for every seed, so their noise is not averaged away by seeds. No values between two ends vary more than this (Bhatia and
        # Davis 2000, American Mathematical Monthly 107:353).
        spread = np.sqrt(np.clip((means[at] - low) * (1 - means[at]), 1e-4, None) / rows)
        drawn[:, at] = rng.choice(seeds, (DRAWS, len(seeds))).mean(1) + rng.normal(0, spread, DRAWS)
    best, curves = _solved(counts, means[None])[0], _solved(counts, np.clip(drawn, low, 1))
    return Curve(float(best[0]), float(best[1]), float(best[2]), tuple((float(limit), float(loss), float(power)) for limit, loss, power in curves), low)


def _solved(counts: Any, scores: Any) -> Any:
    """[draws, 3]: limit, loss and power with the least squares for each row of scores [draws, counts]; loss at least 0, limit at most 1."""
    import numpy as np

    found = np.zeros((len(scores), 3))
    least = np.full(len(scores), np.inf)
    for power in np.geomspace(0.05, 2.0, POWERS):
        x = counts**-power
        loss = -((scores - scores.mean(1, keepdims=True)) * (x - x.mean())).sum(1) / ((x - x.mean()) ** 2).sum()
        limit = scores.mean(1) + loss * x.mean()
        above = limit > 1
        loss = np.where(above, ((1 - scores) * x).sum(1) / (x * x).sum(), loss)
        limit = np.where(above, 1.0, limit)
        limit, loss = np.where(loss < 0, scores.mean(1), limit), np.maximum(loss, 0.0)
        error = ((limit[:, None] - loss[:, None] * x - scores) ** 2).sum(1)
        better = error < least - 1e-12
        found[better] = np.stack([limit, loss, np.full(len(scores), power)], 1)[better]
        least = np.minimum(error, least)
    return found


def _middle(values: list[float]) -> Interval:
    """The middle 95 % of drawn values."""
    return Interval(percentile(values, 2.5), percentile(values, 97.5))
