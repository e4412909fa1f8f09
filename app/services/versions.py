"""Versions of a dataset: a new one from an older one by a recorded change, and what became of it.

A new version is filled in transactions of one chunk each, under a number that nobody sees until it is sealed. Whoever fills
it signs every chunk, and every few seconds while it thinks; `sweep` removes drafts that fell silent. Thinking is done between
transactions, never inside.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from sqlalchemy import and_, bindparam, delete, func, insert, inspect, literal, select, update
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import chore as chores
from app.domain import dataset as datasets
from app.domain import intake, lineage
from app.domain.access import Who, write
from app.domain.base import db_now
from app.domain.cutting import content_key
from app.domain.dataset import STRETCH, Dataset, DatasetVersion, Example
from app.domain.lineage import Change, Keep, Rewrite, Values
from app.domain.splits import given_to
from app.errors import Invalid
from app.services import placing
from app.services.datasets import DatasetView
from app.services.pacing import Pace
from app.services.pulse import pulse
from app.services.walking import of, walk

ROWS, CHARACTERS = 500, 1_000_000
"""A chunk is written in one transaction: at most so many rows, fewer when their texts are long or the database is slow."""

SILENT_MS = 60_000
"""A draft without a sign of life for so long has lost its process."""


@dataclass(frozen=True)
class New:
    """A row that comes in. `split` None: it is placed; `output` None: it is unlabelled. `line` is where its file has it."""

    input: str
    output: str | None = None
    split: str | None = None
    line: int | None = None
    cells: dict[str, Any] | None = None


class Watch:
    """Who waits for a version while it is made. What it raises is raised by `derive`, and nothing is left."""

    copied = read = placed = 0.0
    """The shares of the older rows that stand in it, of the file that comes in that has been read, and of the look for what new rows resemble."""

    def told(self, draft: DatasetVersion, rows: int) -> None:
        """So many rows stand in it, said after every write."""

    def ended(self, session: Session, version: DatasetVersion) -> None:
        """Called in the transaction that seals it."""


Arrivals = Iterable[Sequence[New]] | Callable[[DatasetVersion], Iterable[Sequence[New]]]
"""Rows that come in, in chunks; or what gives them once the older rows stand in the draft."""


def derive(person: Who, reference: int | str, change: Change, reason: str = "", added: Arrivals = (), watch: Watch | None = None) -> DatasetView:
    """The next version of a dataset: the newest one through a change, then rows that come in (streamed).

    Raises Conflict when `reference` is not the newest version, or no longer is when the new one is done; Invalid when nothing
    would change. Whatever is raised, nothing is left behind.
    """
    watch = watch or Watch()
    view = changeable(person, reference, change)
    dataset, parent = view.dataset, view.version
    with transaction() as session:
        lineage.newest(session, parent)
        # What its file repeated, and that it was cut while it came in, is told of the first version alone.
        origin = {name: value for name, value in parent.origin.items() if name not in ("repeats", "streamed")}
        draft = datasets.draft(session, person, dataset, parent.seed, origin)
        draft.parent_id, draft.columns = parent.id, parent.columns
        draft.change = {"kind": change.kind, "reason": reason.strip(), **change.told()}
    try:
        with pulse(lambda: _signed(draft)):
            watch.told(draft, 0)
            changed, last = _copy(parent, draft, change, watch)
            came = _append(draft, added(draft) if callable(added) else added, last + 1, watch)
            _useful(change, changed + came)
            _place(parent, draft, watch)
            _seal(parent, draft, change, {**change.told(), "changed": changed, "added": came}, watch)
    except SystemExit:  # told to end: taking its rows out may take longer than it is given, so the sweep does
        raise
    except BaseException:
        purge_draft(draft.id)
        raise
    return DatasetView(dataset, draft)


def changeable(person: Who, reference: int | str, change: Change | None = None) -> DatasetView:
    """The version that a change is made of. Raises Conflict when it is not the newest one; NotFound, Invalid and Sealed for what may not be done to it."""
    with reading() as session:
        parent = datasets.find(session, person, reference)
        dataset = write(session, person, Dataset, parent.dataset_id, "dataset")
        if change is not None:
            lineage.permitted(session, parent, change, dataset)
        lineage.newest(session, parent)
    return DatasetView(dataset, parent)


def _useful(change: Change, rows: int) -> None:
    if not rows and not isinstance(change, Keep | Rewrite):
        raise Invalid("nothing_changes", "No row would change.", "Choose rows that are in this version, or another change.")


def _copy(parent: DatasetVersion, draft: DatasetVersion, change: Change, watch: Watch) -> tuple[int, int]:
    """Every row of the parent through the change. Returns how many rows changed or left, and the last position taken."""
    changed, last, pace, done = 0, -1, Pace(), 0
    for chunk in _chunks(values(parent), pace):
        new = [change.on(row) for row in chunk]
        left = [row["id"] for row, kept in zip(chunk, new, strict=True) if kept is None]
        other = [kept for row, kept in zip(chunk, new, strict=True) if kept is not None and kept is not row]
        changed += len(left) + len(other)
        last = max(last, *(row["position"] for row in chunk))
        with writing(draft, pace, len(chunk)) as session:
            if len(left) < len(chunk):
                _take_over(session, parent, draft, chunk, left)
            _change(session, draft, other)
        done += len(chunk)
        watch.copied = done / max(1, parent.rows)
        watch.told(draft, done)
    return changed, last


def _take_over(session: Session, parent: DatasetVersion, draft: DatasetVersion, chunk: Sequence[Values], left: Sequence[int]) -> None:
    """Copy a chunk of stored rows inside the database, in order, without those that are left out."""
    names = [name for name in Values.__annotations__ if name != "id"]
    stored = select(literal(draft.id), *(getattr(Example, name) for name in names)).where(of(parent))
    stored = stored.where(Example.id.between(chunk[0]["id"], chunk[-1]["id"]), Example.id.not_in(left)).order_by(Example.id)
    session.connection().execute(insert(Example).from_select(["version_id", *names], stored, include_defaults=False))


def _change(session: Session, draft: DatasetVersion, rows: Sequence[Values]) -> None:
    """Write the outputs and splits of these rows into those that stand for them in the draft."""
    table = inspect(Example).local_table
    place = {"in_stretch": table.c.stretch, "known_by": table.c.content_key, "at": table.c.position}
    stands = and_(table.c.version_id == draft.id, *(column == bindparam(name) for name, column in place.items()))
    where = [{"in_stretch": row["position"] // STRETCH, "known_by": row["content_key"], "at": row["position"]} for row in rows]
    given = [there | {"output": row["output"], "split": row["split"]} for there, row in zip(where, rows, strict=True)]
    if given:
        session.connection().execute(update(table).where(stands), given)  # type: ignore[arg-type]


def values(version: DatasetVersion) -> Iterator[Values]:
    """A version's rows as plain values, in the order of their ids (that of the file)."""
    names = list(Values.__annotations__)
    yield from (cast(Values, dict(zip(names, row, strict=True))) for row in walk(version, [getattr(Example, name) for name in names]))


def _chunks(rows: Iterable[Values], pace: Pace) -> Iterator[list[Values]]:
    """Rows in portions that one write can take."""
    chunk: list[Values] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row["input"]) + len(row["output"] or "") + sum(len(str(cell)) for cell in (row["cells"] or {}).values())
        if len(chunk) >= min(pace.size, ROWS) or size > CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _append(draft: DatasetVersion, added: Iterable[Sequence[New]], position: int, watch: Watch) -> int:
    """Rows that come in, each with what it wishes for a split. Returns how many."""

    def arriving() -> Iterator[Values]:
        for chunk in added:
            for row in chunk:
                wish = "unlabelled" if row.output is None else lineage.WISHES[row.split or ""]
                yield Values(
                    id=0, position=0, line=row.line, split=wish, input=row.input, output=row.output, cells=row.cells or None,
                    content_key=content_key(row.input), added_in=draft.number, given=given_to(row),
                )  # fmt: skip

    start, pace = position, Pace()
    for chunk in _chunks(arriving(), pace):
        lines = [_line(position + number, row) for number, row in enumerate(chunk)]
        with writing(draft, pace, len(lines)) as session:
            intake.put(session, draft.id, draft.number, lines)
        position += len(lines)
        watch.told(draft, position)
    return position - start


def _line(position: int, row: Values) -> intake.Line:
    cells = intake.cells_text(row["cells"] or {})
    return position, row["line"], row["split"], row["input"], row["output"], row["content_key"], cells, row["given"]


@contextmanager
def writing(draft: DatasetVersion, pace: Pace, rows: int) -> Iterator[Session]:
    """One write of so many rows into a draft, signed, and timed from its lock to the end of its commit."""
    with transaction() as session:
        sign(session, draft.id)
        began = time.perf_counter()
        yield session
    pace.took(rows, time.perf_counter() - began)


def _signed(draft: DatasetVersion) -> None:
    with transaction() as session:
        sign(session, draft.id)


def sign(session: Session, version_id: int) -> None:
    """A sign of life of whoever fills a draft."""
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values(alive_at=db_now()))


def _place(parent: DatasetVersion, draft: DatasetVersion, watch: Watch) -> None:
    """Give every row that wishes for a split its place."""
    with reading() as session:
        rows = session.scalar(select(func.count()).where(Example.version_id == draft.id)) or 0

    def tell(share: float) -> None:
        watch.placed = share
        watch.told(draft, rows)

    amend(draft, ({"key": key, "split": split} for key, split in placing.placed(parent, draft, tell)))


def amend(draft: DatasetVersion, changes: Iterable[dict[str, Any]]) -> None:
    """Write other values into rows of a draft: {"key": a row's id, column: its value, ...} each, all with the same columns."""
    table = inspect(Example).local_table
    statement = update(table).where(table.c.id == bindparam("key"))  # type: ignore[arg-type]
    pace, coming = Pace(), iter(changes)
    while part := list(islice(coming, min(pace.size, ROWS))):
        with writing(draft, pace, len(part)) as session:
            session.connection().execute(statement, part)


def _seal(parent: DatasetVersion, draft: DatasetVersion, change: Change, told: dict[str, Any], watch: Watch) -> None:
    """Count and freeze, unless somebody else was faster."""
    book = lineage.book_after(change, parent.book)
    with reading() as session:
        counted = intake.counted(session, draft, book)
    with transaction() as session:
        lineage.newest(session, session.get_one(DatasetVersion, parent.id))
        row = session.get_one(DatasetVersion, draft.id)
        row.change = {**(row.change or {}), **told, "before": parent.splits, "after": counted["splits"]}
        session.flush()
        intake.seal(session, row, counted)
        chores.add(session, row.id, row.rows)
        watch.ended(session, row)
    for name in ("change", "labels", "splits", "content_hash", "sealed_at"):
        setattr(draft, name, getattr(row, name))


def purge_draft(version_id: int) -> None:
    """Remove a draft and its rows, a chunk at a time. Sealed versions are left alone."""
    pace, gone = Pace(), 1
    unsealed = DatasetVersion.id == version_id, DatasetVersion.sealed_at.is_(None)
    while gone:
        size = pace.size
        with transaction() as session:
            began = time.perf_counter()
            gone = intake.take_out(session, select(DatasetVersion.id).where(*unsealed), size)
        pace.took(size, time.perf_counter() - began)
    with transaction() as session:
        session.execute(delete(DatasetVersion).where(*unsealed))


def sweep(silent_ms: int = SILENT_MS) -> int:
    """Remove drafts of derived versions whose process fell silent; returns how many."""
    with reading() as session:
        # Versions of a dataset that is being deleted have no beginning any more: app/services/removal.py takes them away.
        silent = (
            DatasetVersion.created_at > 0,
            DatasetVersion.sealed_at.is_(None),
            DatasetVersion.parent_id.is_not(None),
            DatasetVersion.alive_at < db_now() - silent_ms,
        )
        keys = list(session.scalars(select(DatasetVersion.id).where(*silent)))
    for key in keys:
        purge_draft(key)
    return len(keys)
