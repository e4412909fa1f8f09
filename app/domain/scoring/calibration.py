"""From likelihoods to shares, and whether those shares can be believed: calibration error, reliability, selective answering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Any, Literal

from app.domain.stats import Interval, wilson

Weighing = Literal["raw", "normalised", "calibrated"]

CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs that say nothing, with which a model shows what it favours by itself: those of Zhao et al. 2021, arXiv 2102.09690."""

FLOOR = 1e-12
"""The least share that a label is taken to have after them."""

BINS = 10
"""Bins of equal width in a reliability diagram."""

PRECISIONS = (0.9, 0.95, 0.99)
"""Precisions at which selective answering is asked how much it answers."""

POINTS = 100
"""Points of a risk-coverage curve that are kept."""


def shares(log_likelihoods: Sequence[float]) -> list[float]:
    """Natural-log likelihoods as shares that add up to 1; a label that was not offered has -inf and no share."""
    most = max(log_likelihoods)
    if most == -inf:
        return [1 / len(log_likelihoods)] * len(log_likelihoods)
    weights = [exp(value - most) for value in log_likelihoods]
    total = sum(weights)
    return [weight / total for weight in weights]


def calibrated(raw: Sequence[float], content_free: Sequence[Sequence[float]]) -> list[float]:
    """Contextual calibration (Zhao et al. 2021, arXiv 2102.09690): each label's share divided by its mean share after inputs without
    content, as shares again. A label that never has a share there keeps a floor, so that nothing is divided by zero."""
    favoured = [max(sum(row[at] for row in content_free) / len(content_free), FLOOR) for at in range(len(raw))]
    weights = [share / favour for share, favour in zip(raw, favoured, strict=True)]
    total = sum(weights)
    return [weight / total for weight in weights]


def adjusted(sums: Sequence[float], weighing: Weighing, lengths: Sequence[int] = (), content_free: Sequence[Sequence[float]] = ()) -> list[float]:
    """Shares of labels from their summed log-likelihoods: raw, the mean of each token (`lengths` of labels in tokens), or calibrated by the
    sums after inputs without content. Without such inputs (a prompt that reads none) calibrated is raw."""
    if weighing == "normalised":
        return shares([value / length for value, length in zip(sums, lengths, strict=True)])
    raw = shares(sums)
    return calibrated(raw, [shares(row) for row in content_free]) if weighing == "calibrated" and content_free else raw


def chosen(shares: Mapping[str, float], gold: str) -> dict[str, Any]:
    """What the labels' shares answer, as a prediction keeps it: the likeliest label, its share, and by how much the logarithm of the gold label's share
    lies above that of the best other one."""
    answer = max(shares, key=shares.__getitem__)
    other = max((share for label, share in shares.items() if label != gold), default=0.0)
    margin = log(max(shares.get(gold, 0.0), FLOOR)) - log(max(other, FLOOR))
    return {"answer": answer, "confidence": shares[answer], "margin": margin}


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in (low, high]: how many, how sure they were on average, how many were right, and the 95 % interval of that share."""

    low: float
    high: float
    n: int
    confidence: float
    right: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        return self.right / self.n


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """The bins of equal width that have rows. A confidence of 0 counts to the first one."""
    found = []
    for at in range(bins):
        low, high = at / bins, (at + 1) / bins
        mine = [(sure, one) for sure, one in zip(confidences, right, strict=True) if (low < sure or at == 0) and sure <= high]
        if mine:
            hits = sum(one for _, one in mine)
            found.append(Bin(low, high, len(mine), sum(sure for sure, _ in mine) / len(mine), hits, wilson(hits, len(mine))))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv 1706.04599): the gap between confidence and accuracy, averaged over rows."""
    n = sum(one.n for one in bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / n if n else 0.0


@dataclass(frozen=True)
class Selective:
    """Answering only where the model is at least so sure: the share of rows answered, and how many of those are right with its interval."""

    threshold: float
    answered: int
    right: int
    n: int

    @property
    def coverage(self) -> float:
        return self.answered / self.n

    @property
    def precision(self) -> float:
        return self.right / self.answered

    @property
    def interval(self) -> Interval:
        return wilson(self.right, self.answered)


def risk_coverage(confidences: Sequence[float], right: Sequence[bool], rows: int | None = None) -> list[Selective]:
    """From the surest rows on (El-Yaniv and Wiener 2010, JMLR 11:1605). Rows that are equally sure are answered together, for no threshold parts them.
    `rows` is how many there are, where some have no confidence and are never answered."""
    ranked = sorted(zip(confidences, right, strict=True), key=lambda one: -one[0])
    found, hits = [], 0
    for at, (sure, one) in enumerate(ranked, 1):
        hits += one
        if at == len(ranked) or ranked[at][0] != sure:
            found.append(Selective(sure, at, hits, rows or len(ranked)))
    return found


def at_precision(curve: Sequence[Selective], precision: float) -> Selective | None:
    """The most that can be answered with so large a share of it right; None where not even the surest rows reach it."""
    return max((one for one in curve if one.precision >= precision), key=lambda one: one.answered, default=None)


def thinned(curve: Sequence[Selective], points: int = POINTS) -> list[Selective]:
    """At most so many points of a curve, its last one among them."""
    step = max(1, -(-len(curve) // points))
    return [one for at, one in enumerate(curve, 1) if at % step == 0 or at == len(curve)]
