"""What a rung got row by row, under the figure that an experiment compares by. Pure.

Most figures are means over rows: of each row its value is kept. Macro F1, balanced accuracy and MCC are none: of each row the answers are kept.
Either way there is a value, an interval, and a paired difference on the rows that two rungs were scored on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Protocol, Self

from app.domain.scoring import whole
from app.domain.scoring.whole import Given
from app.domain.stats import Difference, Interval, mean_interval, paired_difference


class Results(Protocol):
    """Fractions throughout."""

    @property
    def value(self) -> float: ...
    def __len__(self) -> int: ...
    def interval(self, confidence: float = 0.95) -> Interval: ...
    def minus(self, other: Self) -> Difference:
        """On the rows of both. Raises ValueError where there is none."""
        ...


@dataclass(frozen=True)
class ByRow:
    """The value of each example: 1 or 0 for right or wrong, a measure of its text, or the mean over seeds."""

    values: Mapping[int, float]

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def value(self) -> float:
        return sum(self.values.values()) / len(self.values)

    def interval(self, confidence: float = 0.95) -> Interval:
        return mean_interval(list(self.values.values()), confidence)

    def minus(self, other: Self) -> Difference:
        common = sorted(self.values.keys() & other.values.keys())
        return paired_difference([self.values[row] for row in common], [other.values[row] for row in common])


@dataclass(frozen=True)
class Whole:
    """The answers of each example, under a figure of `scoring.whole`."""

    name: str
    rows: Mapping[int, Given]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def value(self) -> float:
        return whole.value(list(self.rows.values()), self.name)

    def interval(self, confidence: float = 0.95) -> Interval:
        return whole.interval(list(self.rows.values()), self.name, confidence)

    def minus(self, other: Self) -> Difference:
        common = sorted(self.rows.keys() & other.rows.keys())
        return whole.difference([self.rows[row] for row in common], [other.rows[row] for row in common], self.name)


def of_seeds(values: list[Mapping[int, float]]) -> ByRow:
    """The means of several seeds, over the examples that all of them answered."""
    return ByRow({row: fmean(one[row] for one in values) for row in values[0] if all(row in one for one in values)})


def of_answers(name: str, golds: Mapping[int, str], answers: list[Mapping[int, str]]) -> Whole:
    """The answers of several seeds, over the examples that all of them answered."""
    common = [row for row in answers[0] if all(row in one for one in answers)]
    return Whole(name, {row: Given(golds[row], tuple(one[row] for one in answers)) for row in common})
