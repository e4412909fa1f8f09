"""Rows on their way into a version that nobody sees yet: the fastest way in that each database has, and what sealing needs to know."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from app.domain.base import db_now
from app.domain.dataset import MARKED, DatasetVersion, Example, rows_bytes
from app.domain.label_book import FREE_TEXT, MOST_LABELS, LabelBook, are_labels
from app.domain.splits import SPLITS
from app.errors import Invalid

COLUMNS = ("position", "line", "split", "input", "output", "content_key", "cells", "given")
SELDOM = 2
"""The last columns, which most files leave empty."""

Line = tuple[int, int | None, str, str, str | None, int, str | None, str | None]
"""One row in the order of COLUMNS, its cells as JSON text."""


class Content(Protocol):
    """What a version's hash takes in of a row, beside its split."""

    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str | None: ...
    @property
    def cells(self) -> Mapping[str, Any] | None: ...


def put(session: Session, version: int, added_in: int, lines: Sequence[Line]) -> None:
    """Store rows of a version that came in with the version of the number `added_in`: COPY on PostgreSQL, the driver's executemany on SQLite.

    About 4 µs a row there; through the ORM it is several times that. Every value that is bound costs some: what is the same for all rows is not.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY example (version_id, added_in, {', '.join(COLUMNS)}) FROM STDIN") as copy:
            for line in lines:
                copy.write_row((version, added_in, *line))
        return
    count = len(COLUMNS) if any(line[-1] is not None or line[-2] is not None for line in lines) else len(COLUMNS) - SELDOM
    columns, marks = ", ".join(COLUMNS[:count]), ", ".join("?" * count)
    statement = f"INSERT INTO example (version_id, added_in, {columns}) VALUES ({version:d}, {added_in:d}, {marks})"  # noqa: S608 fixed names, numbers
    connection.exec_driver_sql(statement, [line[:count] for line in lines])


def take_out(session: Session, versions: Select[int], most: int) -> int:
    """Delete at most so many rows of these versions (their ids); returns how many went."""
    some = select(Example.id).where(Example.version_id.in_(versions)).limit(most)
    return int(session.execute(delete(Example).where(Example.id.in_(some)), execution_options={"synchronize_session": False}).rowcount)  # type: ignore[attr-defined]


def cells_text(cells: dict[str, str]) -> str | None:
    return json.dumps(cells, ensure_ascii=False) if cells else None


class Tally:
    """What there is to say about a version once all its rows are in: of rows on their way in, or of stored ones, in order."""

    def __init__(self) -> None:
        self.rows = 0
        self.splits: Counter[str] = Counter()
        self.marks: dict[str, list[int]] = {"": []}
        self.outputs: Counter[str] = Counter()
        self._many = False
        self._digest = hashlib.sha256()

    def add(self, rows: Sequence[Content], splits: Sequence[str], positions: Sequence[int] | None = None) -> None:
        """The next rows, with their splits; their positions where they do not follow those before."""
        first, self.rows = self.rows, self.rows + len(splits)
        places = positions if positions is not None else range(first, self.rows)
        self.marks[""] += places[-first % MARKED :: MARKED]
        for split, count in Counter(splits).items():
            before = self.splits[split]
            self.splits[split] = before + count
            if -(-before // MARKED) * MARKED < before + count:
                mine = [place for place, one in zip(places, splits, strict=True) if one == split]
                self.marks.setdefault(split, []).extend(mine[-before % MARKED :: MARKED])
        if not self._many:
            self.outputs.update(row.output for row in rows if row.output is not None)
            if len(self.outputs) > MOST_LABELS:
                self._many = True
                self.outputs.clear()
        self._digest.update(rows_bytes([(split, one.input, one.output, one.cells) for split, one in zip(splits, rows, strict=True)]))

    def sealing(self, book: LabelBook = FREE_TEXT) -> dict[str, Any]:
        """The columns that `seal` sets. Labels that `book` knows keep what it says; the same content and book have the same hash.

        Once a version has a book, the outputs of those made from it are labels, however few rows there are. Raises Invalid when they are too many.
        """
        few = not self._many and (bool(book) or are_labels(self.outputs))
        found = book.counted(self.outputs) if few else FREE_TEXT
        if book and (self._many or len(found.labels) > max(MOST_LABELS, len(book.labels))):
            message = f"There are {len(book.labels):,} labels; this would make them more than {MOST_LABELS:,}, which is the limit."
            advice = "Merge rare labels first, or take another column for the output. Free answers are a dataset of their own."
            raise Invalid("many_labels", message, advice)
        self._digest.update(found.digest())
        return {
            "splits": {split: self.splits[split] for split in SPLITS if self.splits[split]},
            "labels": found.as_json(),
            "content_hash": self._digest.hexdigest(),
            "marks": self.marks,
        }


def counted(session: Session, version: DatasetVersion, book: LabelBook = FREE_TEXT) -> dict[str, Any]:
    """What is said of a version when it is sealed, from its stored rows; only reads."""
    tally = Tally()
    query = select(Example.position, Example.split, Example.input, Example.output, Example.cells).where(Example.version_id == version.id)
    for rows in session.execute(query.order_by(Example.position).execution_options(yield_per=500)).partitions():
        tally.add(rows, [row.split for row in rows], [row.position for row in rows])
    return tally.sealing(book)


def seal(session: Session, version: DatasetVersion, sealing: dict[str, Any] | None = None) -> None:
    """Freeze a version with what was counted of it, before or now: one short write, whatever the number of rows. Raises Invalid without rows."""
    sealing = sealing or counted(session, version)
    if not sealing["splits"]:
        raise Invalid("no_rows_left", "No row would be left.", "Keep at least one row, or delete the dataset.")
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version.id).values(sealed_at=db_now(), **sealing))
    session.refresh(version)
