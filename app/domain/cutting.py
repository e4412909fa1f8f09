"""Cutting a long dataset into splits while its rows come in: seeded, stratified, equal texts never on two sides. Pure.

Permuted blocks within strata, as clinical trials use them: of every 20 units of a label the shares go to train, validation and test
exactly (what does not divide is carried over), in an order that the seed decides. So nothing has to be known about the rows that
follow, and memory holds one number a different text.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from app.domain.label_book import MOST_LABELS
from app.domain.scoring import normalise
from app.domain.splits import SPLITS, VALIDATION_ROWS, VALIDATION_SHARE, Row

BLOCK = 20
NUMBERS = {name: number for number, name in enumerate(SPLITS)}
UNLABELLED = NUMBERS["unlabelled"]
SPLIT = 7
"""The bits of a split's number."""


class Arriving(Row, Protocol):
    """A row as it comes in, with its other columns: one of them may name its group."""

    @property
    def cells(self) -> Mapping[str, str]: ...


class Stratum:
    """The units of one label: which split the next one goes to."""

    def __init__(self, shares: Mapping[str, float], name: str) -> None:
        self._draw, self._blocks = random.Random(name).random, 0  # noqa: S311 a seeded order, no secret
        self._edges = list(zip(shares, accumulate(shares.values()), strict=True))
        self._given = dict.fromkeys(shares, 0)
        self._next: list[str] = []

    def take(self) -> str:
        if not self._next:
            self._next = self._block()
        return self._next.pop()

    def _block(self) -> list[str]:
        """The next 20 places: each split gets what it lacks of its share of all units so far, then they are shuffled."""
        self._blocks += 1
        places: list[str] = []
        below = 0
        for split, edge in self._edges:
            upto = round(edge * self._blocks * BLOCK)
            lacking = min(upto - below - self._given[split], BLOCK - len(places))
            places += [split] * lacking
            self._given[split] += max(0, lacking)
            below = upto
        return sorted(places, key=lambda _: self._draw())


class Cutter:
    """Gives every row its split, one after the other, and counts texts that come again.

    `stratify` False: the outputs are free text, and all units are one stratum; so are those of the labels after the first 1,000. Rows with the same text stay together; where `group`
    names a column, rows with the same value there do as far as their texts let them: a text that has a place decides first.
    """

    def __init__(self, seed: int, shares: tuple[float, float, float], stratify: bool, group: str | None = None) -> None:
        self._group = group
        self._shares = {name: share for name, share in zip(SPLITS, shares, strict=False) if share > 0}
        self._seed, self._stratify = seed, stratify
        self._strata: dict[str, Stratum] = {}
        self._outputs: dict[str | None, int] = {None: 0}
        self._texts: dict[int, int] = {}
        self._groups: dict[str, str] = {}
        self._known: dict[str | None, tuple[Stratum, int]] = {}
        """The labels that have a stratum and a number, where nothing but them decides."""
        self._validation = 0
        self._repeated = self._conflicting = self._leaking = 0

    def cut(self, rows: Sequence[Arriving], keys: Sequence[int], cut_validation: bool = False) -> list[str]:
        """The splits of the next rows, whose texts have these keys. Given ones are kept; `cut_validation` takes the missing validation from train."""
        found, texts, known, note = [], self._texts, self._known, self._note
        for row, key in zip(rows, keys, strict=True):
            output, given = row.output, row.split
            before = texts.get(key)
            # Most rows of a long file: a text that was not there before, with a label that was. What follows comes to the same by more steps.
            if before is None and given is None and output in known:
                stratum, number = known[output]
                split = stratum.take()
                texts[key] = number << 3 | NUMBERS[split]
                found.append(split)
                continue
            if output is None:
                split = "unlabelled"
            elif given is not None and not (cut_validation and given == "train"):
                split = given
            elif self._group is not None and (group := group_of(row.cells, self._group)):
                split = self._with_its_group(group, row, output, self._place(before, given))
            else:
                split = self._place(before, given) or self._new(output, given)
            found.append(split)
            note(key, before, output, split)
            if output in self._strata and output in self._outputs and self._group is None:
                known[output] = self._strata[output], self._outputs[output]
        return found

    def note(self, rows: Sequence[Arriving], keys: Sequence[int], splits: Sequence[str]) -> None:
        """Count rows that have their splits already."""
        for row, key, split in zip(rows, keys, splits, strict=True):
            self._note(key, self._texts.get(key), row.output, split)

    @staticmethod
    def _place(before: int | None, given: str | None) -> str | None:
        """Where the text of a row stands already. A row that was given to train goes from there to validation and to no other split."""
        split = None if before is None else SPLITS[before & SPLIT]
        return split if split != "unlabelled" and (given is None or split in ("train", "validation")) else None

    def _with_its_group(self, group: str, row: Arriving, output: str, place: str | None) -> str:
        split = place or self._groups.get(group) or self._new(output, row.split)
        self._groups.setdefault(group, split)
        return split

    def repeats(self) -> dict[str, int]:
        """Rows whose text was there before, those of them with another output, and those that stand in another split."""
        return {"rows": self._repeated, "conflicting": self._conflicting, "leaking": self._leaking}

    def _new(self, output: str, given: str | None) -> str:
        label = output if self._is_label(output) else ""
        if given is None:
            return (self._strata.get(label) or self._stratum(label, self._shares)).take()
        # At least so many rows, however small the share; never more than half.
        share = 0.5 if self._validation < VALIDATION_ROWS else VALIDATION_SHARE
        split = self._stratum(f"{share}\0{label}", {"train": 1 - share, "validation": share}).take()
        self._validation += split == "validation"
        return split

    def _stratum(self, label: str, shares: Mapping[str, float]) -> Stratum:
        found = self._strata.get(label)
        if found is None:
            found = self._strata[label] = Stratum(shares, f"{self._seed}\0{label}")
        return found

    def _is_label(self, output: str | None) -> bool:
        """Outputs are labels until there are too many of them: a million different ones would be as many strata."""
        return output in self._outputs or (self._stratify and len(self._outputs) < MOST_LABELS)

    def _note(self, key: int, before: int | None, output: str | None, split: str) -> None:
        # Labels get a small number each; of free texts only a hash is kept.
        number = self._outputs.setdefault(output, len(self._outputs)) if self._is_label(output) else MOST_LABELS + (hash(output) & 0xFFFFFFFF)
        if before is None or before & SPLIT == UNLABELLED:
            self._texts[key] = number << 3 | NUMBERS[split]
        if before is None:
            return
        self._repeated += 1
        self._conflicting += before >> 3 != number
        self._leaking += SPLITS[before & SPLIT] != split and "unlabelled" not in (SPLITS[before & SPLIT], split)


def group_of(cells: Mapping[str, Any] | None, column: str) -> str:
    """The group that a row belongs to, by the column that names it; "" for none: rows without a value have nothing in common."""
    return str((cells or {}).get(column) or "").strip()


def together(cells: Sequence[Mapping[str, Any] | None], column: str | None) -> list[list[int]]:
    """The rows of each group, by their numbers, where a column names them."""
    members: dict[str, list[int]] = {}
    for number, one in enumerate(cells if column is not None else ()):
        if group := group_of(one, column or ""):
            members.setdefault(group, []).append(number)
    return list(members.values())


def content_key(text: str) -> int:
    """What an input is known by for ever: 63 bits of a hash of it, case and white space aside. Its split follows it from version to version."""
    plain = text.isascii() and text.isprintable() and "  " not in text and not text.startswith(" ") and not text.endswith(" ")
    alike = text.lower() if plain else normalise(text, casefold=True)
    return int.from_bytes(hashlib.sha256(alike.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
