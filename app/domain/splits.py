"""Cutting a dataset into train, validation and test: seeded, every label in its share, look-alike rows never on two sides.

Pure. A row's place is a hash of seed and text, so the cut does not depend on the order of the rows.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        every = len(labelled) + sum((standing or {}).get(split, 0) for split in SHARES)
        # A few rows beside many that stand are too much for no split.
        most = max(max(shares) * len(labelled), min(share for share in shares if share > 0) * every)
        units = _units(rows, groups, together, labelled, most)
        _distribute(rows, labelled, units, seed, dict(zip(SHARES, shares, strict=True)), splits, standing or {})
    elif "train" in given and "validation" not in given:
        train = [number for number in labelled if splits[number] == "train"]
        wanted = min(max(ceil(VALIDATION_SHARE * len(train)), VALIDATION_ROWS), len(train) // 2)
        share = wanted / len(train)
        units = _units(rows, groups, together, train, (1 - share) * len(train))
        _distribute(rows, train, units, seed, {"train": 1 - share, "validation": share}, splits, {})
    return splits


def _units(rows: Sequence[Row], groups: Groups | None, together: Sequence[Sequence[int]], numbers: Sequence[int], most: float) -> list[int]:
    """For each row the number of a row that stands for all it has to stay with; `numbers` are the rows that are cut, `most` how many one split takes.

    A text that everybody writes ties whole groups to each other. Where more rows than a split takes would be one unit, texts
    come first: all rows of a text go with the group of its first row.
    """
    if groups is None:
        first: dict[str, int] = {}
        texts = [first.setdefault(normalise(row.input, casefold=True), number) for number, row in enumerate(rows)]
    else:
        texts = joined(len(rows), groups())
    units = joined(len(rows), [*enumerate(texts), *together]) if together else texts
    if together and numbers and max(Counter(units[number] for number in numbers).values()) > most:
        group_of = {number: group[0] for group in together for number in group}
        return [group_of.get(text, text) for text in texts]
    return units


def joined(count: int, groups: Iterable[Sequence[int]]) -> list[int]:
    """For each of so many rows the first row that these groups tie it to; groups that share a row are one."""
    firsts = list(range(count))

    def first(row: int) -> int:
        while firsts[row] != row:
            firsts[row] = row = firsts[firsts[row]]
        return row

    for group in groups:
        for row in group[1:]:
            one, other = sorted((first(group[0]), first(row)))
            firsts[other] = one
    return [first(row) for row in range(count)]


def _distribute(
    rows: Sequence[Row],
    numbers: Sequence[int],
    units: Sequence[int],
    seed: int,
    shares: dict[str, float],
    splits: list[str],
    standing: Mapping[str, int],
) -> None:
    """Give whole units to splits, large ones first, each to the split that lacks its labels most. Writes into `splits`."""
    labels = _labels(rows, numbers)
    members: dict[int, list[int]] = {}
    for number in numbers:
        members.setdefault(units[number], []).append(number)
    totals = Counter(labels.values())
    lacking = {(split, label): share * count for split, share in shares.items() for label, count in totals.items()}
    wanted = {split: share * len(numbers) for split, share in shares.items() if share > 0}
    older = sum(standing.get(split, 0) for split in wanted)
    # What older rows are too many or too few counts up to one row: a split that somebody changed on purpose is not filled up again.
    filled = {split: max(-1.0, min(1.0, standing.get(split, 0) - shares[split] * older)) for split in wanted}
    for unit in sorted(members.values(), key=lambda unit: (-len(unit), _place(seed, min(rows[number].input for number in unit)))):
        counts = Counter(labels[number] for number in unit)

        def need(split: str, counts: Counter[str] = counts) -> float:
            of_labels = sum(lacking[split, label] * count for label, count in counts.items()) / counts.total()
            return of_labels + EVENNESS * (1 - filled[split] / wanted[split])

        chosen = max(wanted, key=need)
        filled[chosen] += len(unit)
        for label, count in counts.items():
            lacking[chosen, label] -= count
        for number in unit:
            splits[number] = chosen


def _labels(rows: Sequence[Row], numbers: Sequence[int]) -> dict[int, str]:
    """What to stratify by: the output where outputs repeat like labels do, nothing where they are free text."""
    outputs = {number: rows[number].output or "" for number in numbers}
    return outputs if 2 * len(set(outputs.values())) <= len(outputs) else dict.fromkeys(outputs, "")


def _place(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
