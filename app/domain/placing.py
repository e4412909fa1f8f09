"""Where rows that come in new, or get their first label, go: after their content, after what they resemble, as they were given, and only then by seed.

Pure. A million rows may come in at once: of each a few numbers are held, and they are looked at a column at a time.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.splits import SHARES, Firsts, cut, joined, most_together, units_of

HELD_OUT = ("reserve", "test", "validation", "train")
"""Splits of labelled rows, the most protected first: a row that resembles rows of two of them goes to the one named earlier."""

FREE, UNLABELLED = len(HELD_OUT), len(HELD_OUT) + 1
"""Beside the places in HELD_OUT: what a row has that needs one, and what a row has that needs none."""

NAMES = (*HELD_OUT, "", "unlabelled")

ALONE = -1
"""Instead of a group's number: the row belongs to none. No hash is this number."""


class Waiting:
    """Rows that need a split, in the order they are numbered by: 17 bytes each."""

    def __init__(self) -> None:
        self.keys, self.outputs, self.given = array("q"), array("q"), array("b")

    def add(self, output: str | None, content_key: int, split: str | None = None) -> None:
        """The next row: its output, what its content is known by, and the split that its file gave it."""
        self.keys.append(content_key)
        self.outputs.append(hash(output))
        self.given.append(UNLABELLED if output is None else HELD_OUT.index(split) if split else FREE)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Ties:
    """Rows that resemble each other, or that a column keeps together: `of` each row the number of its group or ALONE, and where the older rows of each
    group stand (FREE: there are none)."""

    of: Any
    stands: Any

    def lists(self, among: Any) -> "Lists":
        """The rows of each group that has several of them, of those `among` which they are looked for (true or false for each row)."""
        import numpy as np

        of = np.asarray(self.of)
        rows = np.flatnonzero((of >= 0) & among)
        rows = rows[np.argsort(of[rows], kind="stable")]
        edges = np.flatnonzero(np.diff(of[rows])) + 1
        starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(rows)]))
        several = ends - starts > 1
        return Lists(rows, starts[several], ends[several])


@dataclass(frozen=True)
class Lists:
    """Lists of rows, one after the other in an array, from where each begins to where it ends. They can be gone through again and again."""

    rows: Any
    starts: Any
    ends: Any

    def __iter__(self) -> Iterator[list[int]]:
        return (self.rows[start:end].tolist() for start, end in zip(self.starts, self.ends, strict=True))


def resembling(rows: Sequence[int], older: Sequence[int], splits: Sequence[int]) -> Ties:
    """New rows that share a number with others resemble them; older ones have theirs, and their splits. A group stands where the most protected one does."""
    import numpy as np

    of, count, known, at = _numbered(rows, older)
    stands = np.full(count, FREE, np.int8)
    np.minimum.at(stands, at, np.asarray(splits)[known])
    return Ties(of, stands)


def grouped(rows: Sequence[int], older: Sequence[int], splits: Sequence[int]) -> Ties:
    """New rows that a column keeps together, by the numbers of their groups, as are older ones with their splits. A group stands where most of it does."""
    import numpy as np

    of, count, known, at = _numbered(rows, older)
    counts = np.zeros((count, FREE), np.int64)
    np.add.at(counts, (at, np.asarray(splits)[known]), 1)
    return Ties(of, mostly(counts))


def _numbered(rows: Sequence[int], older: Sequence[int]) -> tuple[Any, int, Any, Any]:
    """The groups of new rows, numbered from 0, of each row; how many there are; the older rows that are in one of them, and in which."""
    import numpy as np

    new, old = np.asarray(rows), np.asarray(older)
    names, numbers = np.unique(new[new != ALONE], return_inverse=True)
    of = np.full(len(new), ALONE, np.int64)
    of[new != ALONE] = numbers
    known = np.flatnonzero(np.isin(old, names))
    return of, len(names), known, np.searchsorted(names, old[known])


def place(
    rows: Waiting,
    known: Mapping[int, str],
    shares: tuple[float, float, float],
    seed: int,
    firsts: Firsts,
    alike: Ties | None = None,
    standing: Mapping[str, int] | None = None,
    together: Ties | None = None,
) -> Iterator[str]:
    """The split of each new row. Content that is known keeps its split, whatever the row says; other rows keep a given one.

    Rows of the same content go together: where two of them were given two splits, to the more protected one. Near-duplicates
    (`alike`) go where the rows are that they resemble, or somewhere together; without them, rows of the same content do. Then the rows that
    a column keeps `together` go where older rows of theirs stand. What is left is cut by `shares` of train, validation and test, seeded
    and stratified; `standing` counts the older rows of each split. Rows without an output are unlabelled.
    """
    import numpy as np

    contents, of = np.unique(np.asarray(rows.keys), return_inverse=True)
    splits = _settled(rows, contents, of, known)
    alike = alike or Ties(of, np.full(len(contents), FREE, np.int8))
    _go_along(splits, alike, np.full(len(rows), FREE, np.int8))
    if together is not None:
        _follow(splits, alike, together)
    free = splits == FREE
    left = np.flatnonzero(free)
    if len(left):
        kept = () if together is None else together.lists(free)
        numbers = array("q", left.tobytes())
        units = units_of(joined(len(rows), alike.lists(free)), kept, numbers, most_together(len(left), shares, standing or {}))
        wanted = dict(zip(SHARES, shares, strict=True))
        outputs = array("q", np.asarray(rows.outputs)[left].tobytes())
        for number, split in cut(numbers, outputs, units, seed, wanted, standing or {}, firsts):
            splits[number] = HELD_OUT.index(split)
    return (NAMES[split] for split in splits)


def _settled(rows: Waiting, contents: Any, of: Any, known: Mapping[int, str]) -> Any:
    """Of each row the place its content has, or wishes for."""
    import numpy as np

    given = np.asarray(rows.given)
    labelled = given != UNLABELLED
    wished = np.full(len(contents), FREE, np.int8)
    np.minimum.at(wished, of[labelled], given[labelled])
    keys = np.fromiter(known, np.int64, len(known))
    at = np.searchsorted(contents, keys)
    there = np.flatnonzero(at < len(contents))
    there = there[contents[at[there]] == keys[there]]
    wished[at[there]] = np.fromiter((HELD_OUT.index(split) for split in known.values()), np.int8, len(known))[there]
    return np.where(labelled, wished[of], np.int8(UNLABELLED))


def mostly(counts: Any) -> Any:
    """Of groups, each with how many of its rows stand in each of HELD_OUT: where most do, of two with as many the more protected one; FREE where none does."""
    import numpy as np

    return np.where(counts.any(axis=1), counts.argmax(axis=1), FREE).astype(np.int8)


def _go_along(splits: Any, ties: Ties, others: Any) -> None:
    """Rows without a split go to the most protected one of those that stay with them, of older ones of their group and of `others` (one for each row).
    Writes into `splits`."""
    import numpy as np

    of, chosen = np.asarray(ties.of), np.array(ties.stands, np.int8)
    tied = np.flatnonzero(of >= 0)
    np.minimum.at(chosen, of[tied], np.minimum(splits[tied], FREE).astype(np.int8))
    np.minimum.at(chosen, of[tied], others[tied])
    free = tied[splits[tied] == FREE]
    splits[free] = chosen[of[free]]


def _follow(splits: Any, alike: Ties, together: Ties) -> None:
    """Rows whose text has no place go where older rows of their group stand, else where new ones of it went by their text. Rows that are `alike`
    stay on one side, whatever their groups. Writes into `splits`."""
    import numpy as np

    of, stands = np.asarray(together.of), np.asarray(together.stands, np.int8)
    mine = np.full(len(splits), FREE, np.int8)
    waits = np.flatnonzero((of >= 0) & (splits == FREE))
    mine[waits] = stands[of[waits]]
    _go_along(splits, alike, mine)
    splits[:] = np.where(splits == FREE, mine, splits)
    free = splits == FREE
    tied = np.asarray(joined(len(splits), (numbers for ties in (alike, together) for numbers in ties.lists(free))))
    counts = np.zeros((len(stands), FREE), np.int64)
    there = np.flatnonzero((of >= 0) & (splits < FREE))
    np.add.at(counts, (of[there], splits[there]), 1)
    # A group's rows without a place are tied to each other: one of them says for which rows the others count.
    waits = np.flatnonzero((of >= 0) & free)
    groups, first = np.unique(of[waits], return_index=True)
    roots, root_of = np.unique(tied[waits[first]], return_inverse=True)
    went = np.zeros((len(roots), FREE), np.int64)
    np.add.at(went, root_of, counts[groups])
    place_of = np.full(len(splits), FREE, np.int8)
    place_of[roots] = mostly(went)
    splits[free] = place_of[tied[free]]
