"""Cutting a dataset into train, validation and test: seeded, every label in its share, look-alike rows never on two sides.

Pure. A row's place is a hash of seed and text, so the cut does not depend on the order of the rows. What is remembered of a row while it is cut are
numbers, some 60 bytes of them: its text is looked at once, and only when it is asked for.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any, Protocol

from app.domain.scoring import normalise
from app.errors import Invalid

SPLITS = ("train", "validation", "test", "reserve", "unlabelled")

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""How rows are cut unless somebody says otherwise. A reserve is set aside from a test split later."""

VALIDATION_SHARE = 0.1
VALIDATION_ROWS = 50
"""What is cut from train when the given splits have no validation: this share, and at least so many rows, but never more than half."""

Groups = Callable[[], Iterable[Sequence[int]]]
"""Finds lists of row numbers to keep together. It may take long, and is called only where rows are cut."""

Firsts = Callable[[Iterable[Sequence[int]]], Iterable[str]]
"""Of each of these lists of rows, by their numbers, the text that comes first by its characters."""

EVENNESS = 4
"""How much the size of a split counts beside its labels; without it many small labels would all round the same way."""


class Row(Protocol):
    """What a split looks at. `output` None: unlabelled. `split` None: to be made."""

    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str | None: ...
    @property
    def split(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Open:
    """A row that needs a split, and nothing else of it."""

    input: str
    output: str | None
    split: str | None = None


def given_to(row: Row) -> str | None:
    """What is kept of the split that its file gave a row, until it has an output: it goes there once it gets one."""
    return row.split if row.output is None else None


def shares_wanted(splits: Any) -> tuple[float, float, float]:
    """Shares of train, validation and test, the usual ones for None. Raises Invalid for other names, and for what is no share."""
    wanted = splits or SHARES
    if unknown := sorted(set(wanted) - set(SHARES)):
        advice = "Shares are given for train, validation and test; a reserve is set aside from the test split once the dataset is there."
        raise Invalid("unknown_split", f"Nothing is cut into a split {', '.join(unknown)}.", advice)
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in wanted.values()):
        raise Invalid("bad_shares", "A share is a number between 0 and 1.", "Use for example 0.7, 0.1 and 0.2.")
    found = (wanted.get("train", 0.0), wanted.get("validation", 0.0), wanted.get("test", 0.0))
    _add_up(found)
    return found


def _add_up(shares: tuple[float, float, float]) -> None:
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise Invalid("bad_shares", "The shares of train, validation and test do not add up to 1.", "Use for example 0.7, 0.1 and 0.2.")


def assign_splits(
    rows: Sequence[Row],
    seed: int,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    groups: Groups | None = None,
    standing: Mapping[str, int] | None = None,
    together: Sequence[Sequence[int]] = (),
) -> list[str]:
    """The split of each row: train, validation, test, or unlabelled for rows without an output.

    Given splits are kept; when they have no validation, it is cut from train. `shares` are those of train, validation and test.
    `groups` finds rows to keep together (near-duplicates), and is called only where something is cut; without it, rows with the same normalised text
    are. `together` are lists of rows to keep together because a column says so; what both tie to each other is one unit.
    `standing` counts rows that are in these splits already: one row at a time, again and again, comes to the shares all the same.
    Raises Invalid when only some of the labelled rows have a split, or when the shares do not add up to 1.
    """
    _add_up(shares)
    labelled = [number for number, row in enumerate(rows) if row.output is not None]
    splits = ["unlabelled" if row.output is None else row.split or "" for row in rows]
    given = {splits[number] for number in labelled}
    if "" in given and len(given) > 1:
        missing = sum(not splits[number] for number in labelled)
        raise Invalid("partial_splits", f"{missing:,} labelled rows have no split while others have one.", "Give every row its split, or none.")
    if given == {""}:
        wanted, numbers, most = dict(zip(SHARES, shares, strict=True)), labelled, most_together(len(labelled), shares, standing or {})
    elif "train" in given and "validation" not in given:
        numbers = [number for number in labelled if splits[number] == "train"]
        share = min(max(ceil(VALIDATION_SHARE * len(numbers)), VALIDATION_ROWS), len(numbers) // 2) / len(numbers)
        wanted, most, standing = {"train": 1 - share, "validation": share}, (1 - share) * len(numbers), {}
    else:
        return splits

    def firsts(lists: Iterable[Sequence[int]]) -> Iterable[str]:
        return (min(rows[number].input for number in numbers) for numbers in lists)

    units = units_of(_texts(rows, groups), together, numbers, most)
    for number, split in cut(numbers, [hash(rows[number].output) for number in numbers], units, seed, wanted, standing or {}, firsts):
        splits[number] = split
    return splits


def most_together(rows: int, shares: tuple[float, float, float], standing: Mapping[str, int]) -> float:
    """How many of so many rows one split takes. A few rows beside many that stand are too much for no split."""
    every = rows + sum(standing.get(split, 0) for split in SHARES)
    return max(max(shares) * rows, min(share for share in shares if share > 0) * every)


def _texts(rows: Sequence[Row], groups: Groups | None) -> Sequence[int]:
    """For each row the first row that says the same, or nearly the same where `groups` finds such."""
    if groups is not None:
        return joined(len(rows), groups())
    first: dict[str, int] = {}
    return [first.setdefault(normalise(row.input, casefold=True), number) for number, row in enumerate(rows)]


def units_of(texts: Sequence[int], together: Iterable[Sequence[int]], numbers: Sequence[int], most: float) -> Sequence[int]:
    """For each row the number of a row that stands for all it has to stay with: those of its text, and those that are kept `together`, which is
    gone through twice. `numbers` are the rows that are cut, `most` how many one split takes.

    A text that everybody writes ties whole groups to each other. Where more rows than a split takes would be one unit, texts
    come first: all rows of a text go with the group of its first row.
    """
    units = joined(len(texts), chain(enumerate(texts), together))
    sizes = array("q", bytes(8 * len(texts)))
    for number in numbers:
        sizes[units[number]] += 1
    if max(sizes, default=0) <= most:
        return units
    leads = array("q", range(len(texts)))
    for group in together:
        for number in group:
            leads[number] = group[0]
    return array("q", (leads[text] for text in texts))


def joined(count: int, groups: Iterable[Sequence[int]]) -> Sequence[int]:
    """For each of so many rows the first row that these groups tie it to; groups that share a row are one."""
    firsts = array("q", range(count))

    def first(row: int) -> int:
        while firsts[row] != row:
            firsts[row] = row = firsts[firsts[row]]
        return row

    for group in groups:
        for row in group[1:]:
            one, other = sorted((first(group[0]), first(row)))
            firsts[other] = one
    return array("q", (first(row) for row in range(count)))


def cut(
    numbers: Sequence[int],
    outputs: Sequence[int],
    units: Sequence[int],
    seed: int,
    shares: Mapping[str, float],
    standing: Mapping[str, int],
    firsts: Firsts,
) -> Iterator[tuple[int, str]]:
    """The split of each of these rows, whose outputs are known by hashes. Whole units are given to splits, large ones first, each to the split that lacks
    its labels most."""
    import numpy as np

    rows, labels = np.asarray(numbers, np.int64), _labels(outputs)
    order = np.argsort(np.asarray(units, np.int64)[rows], kind="stable")
    edges = np.flatnonzero(np.diff(np.asarray(units, np.int64)[rows[order]])) + 1
    starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(order)]))
    texts = firsts(rows[order[start:end]].tolist() for start, end in zip(starts, ends, strict=True))
    places = np.fromiter((_place(seed, text) for text in texts), np.uint64, len(starts))
    counts = np.bincount(labels)
    lacking = {split: array("d", share * counts) for split, share in shares.items()}
    wanted = {split: share * len(numbers) for split, share in shares.items() if share > 0}
    older = sum(standing.get(split, 0) for split in wanted)
    # What older rows are too many or too few counts up to one row: a split that somebody changed on purpose is not filled up again.
    filled = {split: max(-1.0, min(1.0, standing.get(split, 0) - shares[split] * older)) for split in wanted}
    for unit in np.lexsort((places, starts - ends)):
        members = order[starts[unit] : ends[unit]]
        of_labels = Counter(labels[members].tolist())

        def need(split: str, counts: Counter[int] = of_labels) -> float:
            lacks = lacking[split]
            of_labels: float = sum(lacks[label] * count for label, count in counts.items()) / counts.total()
            return of_labels + EVENNESS * (1 - filled[split] / wanted[split])

        chosen = max(wanted, key=need)
        filled[chosen] += len(members)
        for label, count in of_labels.items():
            lacking[chosen][label] -= count
        for number in rows[members].tolist():
            yield number, chosen


def _labels(outputs: Sequence[int]) -> Any:
    """What to stratify by, as numbers from 0: the output where outputs repeat like labels do, nothing where they are free text."""
    import numpy as np

    different, labels = np.unique(np.asarray(outputs, np.int64), return_inverse=True)
    return labels if 2 * len(different) <= len(outputs) else np.zeros_like(labels)


def _place(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
