"""What prompts of different requests have in common is read once: the keys and values of prompts read lately, within a bound of memory.

A prompt goes on from the longest start that any of them shares with it. One that is nearly covered already leaves nothing of its own,
and one that nearly covers an older one takes its place: so the questions to one few-shot prompt keep one copy of it, and the turns of a
conversation keep the newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.engine.prefix import Prefix, plain

MEMORY = {"cpu": 256 << 20, "cuda": 2 << 30}
"""Bytes for the starts of one model."""

LEAST = 32
"""Tokens worth sharing: fewer cost less to read again than to keep apart."""

COVERED = 0.8
"""A prompt of which this share is in another is not worth a place of its own."""

Ids = Sequence[int]


def same(one: Ids, other: Ids) -> int:
    """How many ids both begin with."""
    count = min(len(one), len(other))
    differ = np.nonzero(np.asarray(one[:count]) != np.asarray(other[:count]))[0]
    return int(differ[0]) if len(differ) else count


class Starts:
    """The starts of one model, least recently used first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: list[Prefix] = []

    @property
    def bytes(self) -> int:
        return sum(prefix.bytes for prefix in self._kept)

    def covered(self, ids: Ids) -> int:
        """How many of these ids need not be read again."""
        return max((min(same(prefix.ids, ids), len(ids) - 1) for prefix in self._kept), default=0)

    def longest(self, ids: Ids) -> Prefix | None:
        """The longest known start of these ids that leaves at least one to read; None when it is not worth it."""
        best, length = None, LEAST - 1
        for prefix in self._kept:
            shared = min(same(prefix.ids, ids), len(ids) - 1)
            if shared > length:
                best, length = prefix, shared
        if best is None:
            return None
        self._kept.remove(best)
        self._kept.append(best)
        return best.first(length)

    def wanted(self, ids: Ids) -> bool:
        """Whether what was read of these ids should be kept."""
        return len(ids) >= LEAST and all(same(prefix.ids, ids) < COVERED * len(ids) for prefix in self._kept)

    def keep(self, prefix: Prefix) -> None:
        """Remember a start whose tensors belong to nobody else. What it covers nearly, or what is then too much, is forgotten."""
        if not plain(prefix.cache) or prefix.bytes > self._budget:
            return
        self._kept = [other for other in self._kept if same(other.ids, prefix.ids) < COVERED * len(other.ids)]
        self._kept.append(prefix)
        while self.bytes > self._budget:
            self._kept.pop(0)


@dataclass(frozen=True)
class Set:
    """Prompts that are read as one batch, by their numbers: `prefix` is what has been read of all of them, `shared` how many ids they share."""

    rows: list[int]
    prefix: Prefix | None
    shared: int


def plan(prompts: Sequence[Ids], starts: Starts | None) -> list[Set]:
    """Which prompts go together: those that share a start, kept or about to be read, and the rest."""
    sets: list[Set] = []
    left = list(range(len(prompts)))
    while left:
        leader = left[0]
        shares = {row: same(prompts[leader], prompts[row]) for row in left}
        most = max((shares[row] for row in left[1:]), default=0)
        together = [row for row in left if shares[row] >= max(LEAST, most // 2)]
        shared = min(min(shares[row], len(prompts[row]) - 1) for row in together) if len(together) > 1 else 0
        prefix = starts.longest(prompts[leader]) if starts else None
        if prefix is not None and len(together) > 1 and len(prefix.ids) > shared:
            prefix = prefix.first(shared)
        if len(together) < 2:
            together = [leader]
        sets.append(Set(together, prefix, shared))
        left = [row for row in left if row not in together]
    loose = [one for one in sets if one.prefix is None and len(one.rows) == 1]
    if len(loose) < 2:
        return sets
    return [*(one for one in sets if one not in loose), Set([row for one in loose for row in one.rows], None, 0)]
