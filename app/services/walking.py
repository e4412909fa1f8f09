"""A version's rows, read in portions: no transaction stays open between them."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from app.db import reading
from app.domain.dataset import DatasetVersion, Example

ROWS = 500


def walk(version: DatasetVersion, columns: Sequence[Any], splits: Collection[str] | None = None) -> Iterator[Row[Any]]:
    """Some columns of a version's rows (of those in `splits`), `id` among them, in the order of the ids, read in chunks."""
    with reading() as session:
        first, last = session.execute(select(func.min(Example.id), func.max(Example.id)).where(Example.version_id == version.id)).one()
    after = (first or 0) - 1
    wanted = [of(version)] if splits is None else [of(version), Example.split.in_(splits)]
    while last is not None and after < last:
        with reading() as session:
            found = session.execute(select(*columns).where(*wanted, Example.id > after, Example.id <= last).order_by(Example.id).limit(ROWS)).all()
        yield from found
        after = found[-1].id if len(found) == ROWS else last


def of(version: DatasetVersion) -> ColumnElement[bool]:
    """The rows of a version, where they are looked for by id: the sum keeps a database from sorting the whole version for each chunk."""
    return Example.version_id + 0 == version.id
