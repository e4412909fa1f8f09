"""Parity: whether a model that is handed out answers as the one that was tested. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.scoring import normalise
from app.domain.stats import Difference, paired_difference
from app.errors import Invalid


@dataclass(frozen=True)
class Parity:
    """Answers of two forms of one model to the same rows: how many are the same, how many each has right, and the paired difference with its interval."""

    rows: int
    same: int
    right: tuple[int, int]
    difference: Difference

    @property
    def drifted(self) -> bool:
        """Whether the interval of the difference excludes none."""
        return not self.difference.low <= 0.0 <= self.difference.high

    @property
    def sentence(self) -> str:
        """ "The merged model gives the same answer on 299 of 300 rows; 251 are right, 252 before." """
        before, after = self.right
        return f"The merged model gives the same answer on {self.same:,} of {self.rows:,} rows; {after:,} are right, {before:,} before."

    def drift(self) -> Invalid:
        """What to raise when it drifted."""
        value, low, high = (100 * part for part in (self.difference.difference, self.difference.low, self.difference.high))
        drift = f"The difference is {value:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}."
        return Invalid("export_drifted", f"{self.sentence} {drift}", "What would be handed out is not what was tested. Hand out the adapter instead.")

    def as_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "same": self.same, "right": list(self.right), "interval": [self.difference.low, self.difference.high]}


def parity(before: Sequence[str], after: Sequence[str], gold: Sequence[str]) -> Parity:
    """Compare answers with what they were before, row by row."""
    right = [[float(normalise(answer) == normalise(wanted)) for answer, wanted in zip(side, gold, strict=True)] for side in (before, after)]
    same = sum(one == other for one, other in zip(before, after, strict=True))
    return Parity(len(gold), same, (int(sum(right[0])), int(sum(right[1]))), paired_difference(right[1], right[0]))
