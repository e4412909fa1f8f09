"""Rows on their way into a version that nobody sees yet: the fastest way in that each database has, and what sealing needs to know."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from app.domain.base import db_now
from app.domain.cutting import Row
from app.domain.dataset import MARKED, SPLITS, DatasetVersion, Example, rows_bytes
from app.domain.label_book import MOST_LABELS, LabelBook
from app.errors import Invalid

COLUMNS = ("version_id", "position", "line", "split", "input", "output", "cells", "content_key", "added_in")

Line = tuple[int, int, int | None, str, str, str | None, str | None, int, int]
"""One row in the order of COLUMNS, its cells as JSON text."""

_SQLITE = f"INSERT INTO example ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 fixed names
_POSTGRESQL = f"COPY example ({', '.join(COLUMNS)}) FROM STDIN"


def put(session: Session, lines: Sequence[Line]) -> None:
    """Store rows: COPY on PostgreSQL, the driver's executemany on SQLite. About 6 µs a row there; through the ORM it is 5 times that."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(_POSTGRESQL) as copy:
            for line in lines:
                copy.write_row(line)
    else:
        connection.exec_driver_sql(_SQLITE, list(lines))


def take_out(session: Session, versions: Select[int], most: int) -> int:
    """Delete at most so many rows of these versions (their ids); returns how many went."""
    some = select(Example.id).where(Example.version_id.in_(versions)).limit(most)
    return int(session.execute(delete(Example).where(Example.id.in_(some)), execution_options={"synchronize_session": False}).rowcount)  # type: ignore[attr-defined]


def cells_text(cells: dict[str, str]) -> str | None:
    return json.dumps(cells, ensure_ascii=False) if cells else None


class Tally:
    """What there is to say about a version once all its rows are in, gathered while they go in, in order."""

    def __init__(self) -> None:
        self.rows = 0
        self.splits: Counter[str] = Counter()
        self.marks: dict[str, list[int]] = {"": []}
        self.outputs: Counter[str] = Counter()
        self._many = False
        self._digest = hashlib.sha256()

    def add(self, examples: Sequence[Row], splits: Sequence[str]) -> None:
        """The next rows, with their splits."""
        first, self.rows = self.rows, self.rows + len(splits)
        self.marks[""] += range(-(-first // MARKED) * MARKED, self.rows, MARKED)
        for split, count in Counter(splits).items():
            before = self.splits[split]
            self.splits[split] = before + count
            if -(-before // MARKED) * MARKED < before + count:
                positions = [first + at for at, one in enumerate(splits) if one == split]
                self.marks.setdefault(split, []).extend(positions[-before % MARKED :: MARKED])
        if not self._many:
            self.outputs.update(example.output for example in examples if example.output is not None)
            if len(self.outputs) > MOST_LABELS:
                self._many = True
                self.outputs.clear()
        self._digest.update(rows_bytes([(split, one.input, one.output, one.cells) for split, one in zip(splits, examples, strict=True)]))

    def sealing(self) -> dict[str, Any]:
        """The columns that `dataset.seal` sets."""
        few = 0 < 2 * len(self.outputs) <= self.outputs.total()
        book = LabelBook().counted(self.outputs) if few else LabelBook()
        return {
            "splits": {split: self.splits[split] for split in SPLITS if self.splits[split]},
            "labels": book.as_json(),
            "content_hash": self._digest.hexdigest(),
            "marks": self.marks,
        }


def seal(session: Session, version_id: int, sealing: dict[str, Any]) -> None:
    """Freeze a version by what was counted on the way in: one short write, whatever the number of rows. Raises Invalid."""
    if not sealing["splits"].get("train") and not sealing["splits"].get("test"):
        raise Invalid("no_labelled_rows", "No row has an output.", "Fettle needs rows whose output is filled in; check the column mapping.")
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values(sealed_at=db_now(), **sealing))
