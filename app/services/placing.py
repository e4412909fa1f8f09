"""The splits of a draft's new rows. A million may come in at once: they are read in portions, again where they are needed again, and a few numbers are
held of each row of the draft."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Row, select

from app.db import reading
from app.domain import lineage, placing
from app.domain.cutting import group_of
from app.domain.dataset import DatasetVersion, Example
from app.domain.placing import FREE, HELD_OUT, Ties, Waiting
from app.readers.near_duplicates import Sketches
from app.services.likeness import SKETCHING, sketching
from app.services.walking import ROWS, walk

WISHES = tuple(lineage.WISHES.values())

Tell = Callable[[float], None]
"""Hears what share of the work is done, after every portion."""


class _Rows:
    """Rows of a draft: 17 bytes each."""

    def __init__(self, column: str | None) -> None:
        self.ids, self.splits, self.groups = array("q"), array("b"), array("q")
        self._column = column

    @property
    def columns(self) -> list[Any]:
        known = [Example.id, Example.split, Example.output, Example.content_key]
        return [*known, Example.cells] if self._column else known

    def add(self, row: Row[Any], split: int) -> None:
        self.ids.append(row.id)
        self.splits.append(split)
        group = group_of(row.cells, self._column) if self._column else ""
        self.groups.append(hash(group) if group else placing.ALONE)


def placed(parent: DatasetVersion, draft: DatasetVersion, tell: Tell) -> Iterator[tuple[int, str]]:
    """The place of every row of a draft that wishes for a split, by its id."""
    column = (parent.origin.get("cut") or {}).get("group")
    waiting, new, older = Waiting(), _Rows(column), _Rows(column)
    for row in walk(draft, new.columns, WISHES):
        waiting.add(row.output, row.content_key, row.split[1:] or None)
        new.add(row, FREE)
    if not waiting:
        return iter(())
    for row in walk(draft, older.columns, HELD_OUT):
        older.add(row, HELD_OUT.index(row.split))
    alike = _resembling(draft, older, new, tell)
    with reading() as session:
        known = lineage.known_splits(session, draft.dataset_id, waiting.keys)
        shares = lineage.shares_of(session, parent)
    together = placing.grouped(new.groups, older.groups, older.splits) if column else None
    splits = placing.place(waiting, known, shares, draft.seed, partial(_firsts, new.ids), alike, parent.splits, together)
    return zip(new.ids, splits, strict=True)


def _resembling(draft: DatasetVersion, older: _Rows, new: _Rows, tell: Tell) -> Ties:
    """The near-duplicates among new rows, and where the older rows stand that they resemble."""
    ids = older.ids + new.ids
    with sketching() as sketches:
        for splits in (HELD_OUT, WISHES):
            _sketch(draft, splits, sketches, lambda: tell(SKETCHING * sketches.count / len(ids)))

        def text(number: int) -> str:
            with reading() as session:
                return session.scalars(select(Example.input).where(Example.id == ids[number])).one()

        roots = sketches.roots(text, since=len(older.ids), tell=lambda share: tell(SKETCHING + (1 - SKETCHING) * share))
    return placing.resembling(roots[len(older.ids) :], roots[: len(older.ids)], older.splits)


def _sketch(draft: DatasetVersion, splits: Sequence[str], sketches: Sketches, done: Callable[[], object]) -> None:
    rows = walk(draft, [Example.id, Example.input], splits)
    while part := [row.input for row in islice(rows, ROWS)]:
        sketches.add(part)
        done()


def _firsts(ids: Sequence[int], lists: Iterable[Sequence[int]]) -> Iterator[str]:
    """Of each of these lists of rows the text that comes first. However many rows a list has, one portion of texts is held."""
    rows = ((at, ids[number]) for at, numbers in enumerate(lists) for number in numbers)
    first: str | None = None
    current = 0
    while part := list(islice(rows, ROWS)):
        with reading() as session:
            texts = dict(session.execute(select(Example.id, Example.input).where(Example.id.in_([key for _, key in part]))).all())
        for at, key in part:
            if at == current:
                first = texts[key] if first is None else min(first, texts[key])
                continue
            yield first or ""
            current, first = at, texts[key]
    if first is not None:
        yield first
