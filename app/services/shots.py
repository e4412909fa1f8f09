"""Shots for a prompt: drawn from the train split, looked up in it, or the nearest to an input. No other split is ever read."""

import threading
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from app.db import reading
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.rendering import Shot
from app.domain.shots import Candidate, Fixed, Nearest, Selection, draw
from app.domain.words import tokens
from app.services import grid

KEPT = 2
"""Versions whose index of words is kept: making one of many rows takes seconds (`python -m bench.shots`)."""

OFFERED = 20
"""Rows that a search for shots shows."""


@dataclass(frozen=True)
class Drawn:
    """Shots in the order they stand in the prompt, with the row each comes from, and what has to be said about the draw."""

    rows: list[Candidate]
    note: str = ""

    @property
    def shots(self) -> list[Shot]:
        return [Shot(row.input, row.output) for row in self.rows]


def drawn(person: Who, reference: int | str, count: int, seed: int, selection: Selection = "balanced", near: str = "") -> Drawn:
    """`count` shots; `nearest` ones are those like the text `near`. Raises Invalid when the train split has fewer."""
    if selection == "nearest":
        return _nearest(person, reference, count, seed, near)
    return Drawn(_drawn(person, reference, count, seed, selection))


def _drawn(person: Who, reference: int | str, count: int, seed: int, selection: Fixed) -> list[Candidate]:
    with reading() as session:
        version = datasets.find(session, person, reference)
        return draw(datasets.candidates(session, version), count, seed, selection)


def _nearest(person: Who, reference: int | str, count: int, seed: int, near: str) -> Drawn:
    with reading() as session:
        version = datasets.find(session, person, reference)
    index = _indexes.of(version, seed)
    alike = index.knows(near)
    return Drawn(index.draw(near, count), "" if alike or not count else "No train row has a word in common with the input, so these are any rows.")


class Indexes:
    """Indexes of the versions that were asked for last. Versions never change, so an index never does."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, str, int], Nearest] = OrderedDict()
        self._making = threading.Lock()

    def of(self, version: DatasetVersion, seed: int) -> Nearest:
        """The index of a version, made now if it is not there; two who ask for it at once wait for one."""
        key = (version.id, version.content_hash, seed)
        with self._making:
            if key not in self._made:
                with reading() as session:
                    self._made[key] = Nearest(datasets.candidates(session, version), seed)
            self._made.move_to_end(key)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
            return self._made[key]


_indexes = Indexes()


def search(person: Who, reference: int | str, asked: str) -> list[Candidate]:
    """The first train rows that have all the words, the last of which may go on; without words the first rows."""
    with reading() as session:
        version = datasets.find(session, person, reference)
    found = grid.find(person, version.reference, asked, "train", limit=2 * OFFERED)
    # Without words there is nothing to look up, and without an index nowhere: the rows are read until enough are found.
    looked_up = found.looked_up
    with reading() as session, closing(datasets.candidates(session, version, {row.position for row in found.rows} if looked_up else None)) as rows:
        return list(islice((row for row in rows if looked_up or _has(row, tokens(asked))), OFFERED))


def _has(row: Candidate, words: list[str]) -> bool:
    """The same answer as the index gives."""
    if not words:
        return True
    there = tokens(f"{row.input} {row.output}")
    return set(words[:-1]) <= set(there) and any(one.startswith(words[-1]) for one in there)
