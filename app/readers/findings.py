"""What a check of examples says: a finding, the rows behind it, and what one click could do about it.

Pure. Rows are named by their number in the list that was examined, from 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

SHOWN = 5
"""Lines named with a finding."""


Group = Sequence[int]


@dataclass(frozen=True)
class Fix:
    """What would mend a finding: rows to drop, rows to move to `split`, labels that get another key (None: that are taken away), or `groups` of rows that
    are to stand on one side each."""

    kind: Literal["drop", "move", "relabel", "gather"]
    rows: tuple[int, ...] = ()
    split: str = ""
    labels: Mapping[str, str | None] = field(default_factory=dict)
    groups: Sequence[Group] = ()


@dataclass(frozen=True)
class Finding:
    """`count` rows (or labels) are concerned; `lines` names some of them by their line in the file. `harm`: 3 spoils scores, 2 hurts, 1 is worth knowing.

    `rows` are all rows to look at, those that belong together side by side. `fix` is None where only a person can decide.
    """

    code: str
    harm: int
    count: int
    sentence: str
    lines: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    fix: Fix | None = None


@dataclass(frozen=True)
class Health:
    """`labels` counts each label per split (split "" when there is none); it is empty when the outputs are free text. Findings: most harm first."""

    rows: int
    unlabelled: int
    labels: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]


def drop(rows: Iterable[int]) -> Fix | None:
    """Leave these rows out, where there are any."""
    found = tuple(dict.fromkeys(rows))
    return Fix("drop", found) if found else None
