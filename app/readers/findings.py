"""What a check of examples says: a finding, the rows behind it, and what one click could do about it.

Pure. Rows are named by their number in the list that was examined, from 0.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Literal

from app.domain.scoring import normalise
from app.readers import Example
from app.readers.near_duplicates import near_duplicate_groups

SHOWN = 5
"""Lines named with a finding."""

PROTECTED = {"test": 0, "reserve": 0, "validation": 1, "train": 2}
"""Of two rows that should not both be there, the one in the split that stands earlier stays: scores on the test split stay comparable."""


@dataclass(frozen=True)
class Fix:
    """What would mend a finding: rows to drop, rows to move to `split`, or labels that get another key (None: that are taken away)."""

    kind: Literal["drop", "move", "relabel"]
    rows: tuple[int, ...] = ()
    split: str = ""
    labels: Mapping[str, str | None] = field(default_factory=dict)


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


Group = Sequence[int]


class Table:
    """Examples with what several checks look at, worked out once. Above `compared` examples no near-duplicates are looked for."""

    def __init__(self, examples: Iterable[Example], compared: int) -> None:
        self.examples = list(examples)
        self.compared = compared
        self.labelled = [number for number, example in enumerate(self.examples) if example.output is not None]
        self.outputs = Counter(self.examples[number].output or "" for number in self.labelled)

    @cached_property
    def classes(self) -> Counter[str]:
        """The labels with their counts; empty when outputs repeat too little to be labels."""
        return self.outputs if 2 * len(self.outputs) <= len(self.labelled) or len(self.outputs) <= 2 else Counter()

    @cached_property
    def same_input(self) -> list[list[int]]:
        """Examples with the same normalised input, where there are several."""
        groups: dict[bytes, list[int]] = defaultdict(list)
        for number, example in enumerate(self.examples):
            groups[sha256(normalise(example.input).encode("utf-8", "surrogatepass")).digest()].append(number)
        return [group for group in groups.values() if len(group) > 1]

    @cached_property
    def near(self) -> list[list[int]]:
        """Examples with nearly the same input."""
        return near_duplicate_groups([example.input for example in self.examples]) if len(self.examples) <= self.compared else []

    @cached_property
    def per_split(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        if self.classes:
            for number in self.labelled:
                split = counts.setdefault(self.split(number), {})
                split[self.output(number)] = split.get(self.output(number), 0) + 1
        return counts

    def split(self, number: int) -> str:
        return self.examples[number].split or ""

    def output(self, number: int) -> str:
        return self.examples[number].output or ""

    def crosses(self, group: Group) -> bool:
        """Does a group of rows stand in two splits?"""
        return len({self.split(number) for number in group if self.split(number)}) > 1

    def copies(self, groups: Iterable[Group]) -> list[int]:
        """In each group, the rows outside the most protected split in it."""
        found = []
        for group in groups:
            kept = min((PROTECTED.get(self.split(number), 3) for number in group), default=3)
            found += [number for number in group if PROTECTED.get(self.split(number), 3) > kept]
        return found

    def repeats(self, groups: Iterable[Group]) -> list[int]:
        """In each group, all rows but the first one of its most protected split."""
        found = []
        for group in groups:
            kept = min(group, key=lambda number: (PROTECTED.get(self.split(number), 3), number))
            found += [number for number in group if number != kept]
        return found

    def finding(
        self, code: str, harm: int, count: int, sentence: str, rows: Iterable[int] = (), concerned: Iterable[int] | None = None, fix: Fix | None = None
    ) -> Finding:
        """A finding with its rows; `concerned` are those that its lines name, where that is not all of them."""
        rows = tuple(rows)
        named = rows if concerned is None else tuple(concerned)
        return Finding(code, harm, count, sentence, tuple(self.examples[number].line for number in named[:SHOWN]), rows, fix)


def drop(rows: Iterable[int]) -> Fix | None:
    """Leave these rows out, where there are any."""
    found = tuple(dict.fromkeys(rows))
    return Fix("drop", found) if found else None
