"""Datasets: immutable, content-hashed versions of labelled examples, with a sealed test split."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Computed, ForeignKey, Index, Select, UniqueConstraint, func, select, update
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, read
from app.domain.base import Base, Json, Owned, db_now, parse_reference
from app.domain.cutting import content_key
from app.domain.label_book import LabelBook
from app.domain.rendering import LABELS
from app.domain.shots import Candidate
from app.domain.validation import Measure, measure_of
from app.errors import Invalid, NotFound, Sealed

SEALED = ("test", "reserve")
"""Splits whose rows nobody sees before they are opened on purpose. The reserve cannot be scored before that either."""

MARKED = 1_000
"""Rows from one mark to the next: a page deep inside a split is found from the mark before it."""

_packer = msgspec.msgpack.Encoder()


class Dataset(Owned, Base):
    """A named task. Its examples are in its versions. `quiet` are the codes of warnings that somebody switched off for it (services/health.py)."""

    __tablename__ = "dataset"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="upload")
    quiet: Mapped[list[Any]] = mapped_column(default=list)


class DatasetVersion(Owned, Base):
    """A frozen set of examples. It is invisible until `sealed_at`; afterwards nothing in it changes but its counters.

    A version made from another one names it (`parent_id`) and says what was done (`change`, see app/domain/lineage.py).
    `alive_at` is the last sign of life of whoever is still filling it.
    """

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    sealed_at: Mapped[int | None]
    alive_at: Mapped[int] = mapped_column(default=db_now())
    examined_at: Mapped[int | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"), index=True)
    change: Mapped[dict[str, Any] | None] = mapped_column(Json)
    content_hash: Mapped[str] = mapped_column(default="")
    columns: Mapped[list[Any]] = mapped_column(default=list)
    labels: Mapped[list[Any]] = mapped_column(default=list)
    splits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    origin: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seed: Mapped[int] = mapped_column(default=0)
    revealed_at: Mapped[int | None]
    revealed_by: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    revealed_reason: Mapped[str | None]
    reserve_opened: Mapped[dict[str, Any] | None] = mapped_column(Json)
    scored: Mapped[int] = mapped_column(default=0)
    viewed: Mapped[int] = mapped_column(default=0)
    marks: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """The position of every 1,000th row, of each split and ("") of all: where to begin looking for a page."""

    @property
    def reference(self) -> str:
        return f"{self.dataset_id}@{self.number}"

    @property
    def rows(self) -> int:
        return sum(self.splits.values())

    @property
    def variables(self) -> list[str]:
        """What a prompt may name: `input`, the columns that are neither input, output nor split, and `labels` where there is a book."""
        return [*self._columns(), *self.shown_labels()]

    def _columns(self) -> list[str]:
        mapping = self.origin.get("mapping") or {}
        used = {column for field, column in mapping.items() if isinstance(column, str) and not (field == "input" and mapping.get("more"))}
        return ["input", *(column for column in self.columns if column not in used | {"input"})]

    def shown_labels(self) -> dict[str, str]:
        """What `{labels}` stands for, unless a column of that name does: {"labels": "billing, delivery"}, or nothing for free text."""
        return {LABELS: self.book.rendered()} if self.labels and LABELS not in self._columns() else {}

    @property
    def book(self) -> LabelBook:
        """What each label is called. Empty when the outputs are free text."""
        return LabelBook.of(self.labels)

    def label_texts(self) -> list[str]:
        """What the model may answer, in a fixed order. Empty when the outputs are free text."""
        return self.book.texts()

    def measure(self, validate_by: str) -> Measure:
        """What a tuning run on these rows is judged by. Raises Invalid when it cannot be judged so."""
        return measure_of(validate_by, labels=bool(self.labels), rows=bool(self.splits.get("validation")))


STRETCH = 1 << 15
"""Rows whose contents are indexed together: an import changes few pages of the index, and a content of a million rows is looked for in 31 places instead
of one (docs/decisions/0023)."""


def _key_of_row(context: DefaultExecutionContext) -> int:
    return content_key(context.get_current_parameters()["input"])  # type: ignore[no-untyped-call]


class Example(Base):
    """One row: input, output, split. `line` is where it stood in the file it came from.

    `position` stays a row's own from version to version, and so does `added_in`, the number of the version it came with. Contents are
    indexed by the `stretch` of rows they stand in: rows that come in one after the other change few pages of an index, however long it is.
    `given` is where the file of a row without an output wanted it: it goes there once it is labelled.
    """

    __tablename__ = "example"
    __table_args__ = (
        Index("ix_example_version_split_position", "version_id", "split", "position"),
        Index("ix_example_version_stretch_content_key", "version_id", "stretch", "content_key", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id", ondelete="CASCADE"))
    position: Mapped[int]
    stretch: Mapped[int] = mapped_column(Computed(f"position / {STRETCH}", persisted=True))
    line: Mapped[int | None]
    split: Mapped[str]
    input: Mapped[str]
    output: Mapped[str | None]
    cells: Mapped[dict[str, Any] | None] = mapped_column(Json)
    content_key: Mapped[int] = mapped_column(default=_key_of_row)
    added_in: Mapped[int] = mapped_column(default=1)
    given: Mapped[str | None]

    def values(self) -> dict[str, str]:
        """The template variables of this row."""
        return {**(self.cells or {}), "input": self.input}


def find(session: Session, person: Who, reference: int | str) -> DatasetVersion:
    """A sealed version by `ID` (the newest) or `ID@N`. Raises NotFound."""
    parsed = parse_reference(reference)
    if parsed is None:
        raise NotFound("dataset", reference)
    key, number = parsed
    row = read(session, person, Dataset, key, "dataset")
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == row.id, DatasetVersion.sealed_at.is_not(None))
    query = query.where(DatasetVersion.number == number) if number is not None else query.order_by(DatasetVersion.number.desc())
    version = session.scalars(query.limit(1)).first()
    if version is None:
        raise NotFound("dataset", reference)
    return version


def draft(session: Session, person: Who, dataset: Dataset, seed: int, origin: dict[str, Any]) -> DatasetVersion:
    """The next version of a dataset, unsealed: nobody sees it yet."""
    session.execute(select(Dataset.id).where(Dataset.id == dataset.id).with_for_update())  # two drafts at once take two numbers
    number = (session.scalar(select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == dataset.id)) or 0) + 1
    version = DatasetVersion(**owned(person), dataset_id=dataset.id, number=number, seed=seed, origin=origin)
    session.add(version)
    session.flush()
    return version


def rows_bytes(rows: Sequence[tuple[str, str, str | None, Mapping[str, Any] | None]]) -> bytes:
    """Rows (split, input, output, cells) as their version's hash takes them in: msgpack, where every value says its kind and length."""
    packed = [(split, text, output, sorted(cells.items()) if cells else ()) for split, text, output, cells in rows]
    try:
        # The head that says how many rows there are is left out: the same rows, given in other portions, are the same bytes.
        return _packer.encode(packed)[1 if len(packed) < 16 else 3 if len(packed) < 1 << 16 else 5 :]
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return b"".join(_packer.encode([part if part is None else ascii(part) for part in row]) for row in packed)


def known_by(session: Session, version_id: int, keys: Collection[int]) -> ColumnElement[bool]:
    """The rows of a version that have one of these contents, in the terms of their index."""
    last = session.scalar(select(func.max(Example.stretch)).where(Example.version_id == version_id))
    return (Example.version_id == version_id) & Example.stretch.in_(range((last or 0) + 1)) & Example.content_key.in_(keys)


def rows(session: Session, version: DatasetVersion, split: str | None = None, limit: int | None = None) -> Iterator[Example]:
    """A version's examples in file order, streamed."""
    query = select(Example).where(Example.version_id == version.id).order_by(Example.position)
    if split is not None:
        query = query.where(Example.split == split)
    yield from session.scalars(query.limit(limit).execution_options(yield_per=500))


@dataclass(frozen=True)
class Case:
    """A labelled row as a model meets it: the template's values, `labels` among them, and the answer in the words of the label book."""

    id: int
    position: int
    values: dict[str, str]
    answer: str

    @property
    def input(self) -> str:
        return self.values["input"]


def cases(session: Session, version: DatasetVersion, split: str, limit: int | None = None, positions: Collection[int] | None = None) -> Generator[Case]:
    """The labelled rows of a split, in file order, streamed: what is trained on, drawn from and scored. Rows of retired labels are left out.

    With a `limit`, as many as that are taken by the hashes of their texts: the same rows every time, however the file is sorted.
    """
    book, shown = version.book, version.shown_labels()
    query = labelled(version, split, limit, positions)
    with closing(session.scalars(query.order_by(Example.position).execution_options(yield_per=500))) as found:
        for row in found:
            yield Case(row.id, row.position, {**shown, **row.values()}, book.text_of(row.output or ""))


def labelled(version: DatasetVersion, split: str, limit: int | None = None, positions: Collection[int] | None = None) -> Select[Example]:
    """The query behind `cases`."""
    query = select(Example).where(Example.version_id == version.id, Example.split == split, Example.output.is_not(None))
    if retired := version.book.retired:
        query = query.where(Example.output.not_in(retired))
    if positions is not None:
        query = query.where(Example.position.in_(positions))
    if limit is not None:
        query = query.where(Example.id.in_(query.with_only_columns(Example.id).order_by(Example.content_key, Example.id).limit(limit)))
    return query


def candidates(session: Session, version: DatasetVersion, positions: Collection[int] | None = None) -> Generator[Candidate]:
    """The rows that may become shots: those of the train split and of no other; with `positions`, those among them. Close it to read no further."""
    with closing(cases(session, version, "train", positions=positions)) as found:
        for case in found:
            yield Candidate(case.position, case.input, case.answer)


def closed(version: DatasetVersion) -> frozenset[str]:
    """The splits of a version whose rows may not be shown now."""
    opened = {"test": version.revealed_at is not None, "reserve": version.reserve_opened is not None}
    return frozenset(split for split in SEALED if version.splits.get(split) and not opened[split])


def readable(version: DatasetVersion, split: str | None) -> None:
    """Raises Sealed when rows of a sealed split would be shown before somebody opened it; None stands for all splits."""
    shut = closed(version)
    if split in shut or (split is None and shut):
        raise Sealed(split or min(shut, key=SEALED.index))


def reveal(session: Session, person: Who, version: DatasetVersion, reason: str) -> None:
    """Open the test split's rows for reading, on purpose and on the record."""
    if not reason.strip():
        raise Invalid("no_reason", "Say why the test rows are needed.", "One sentence is enough; it is kept with the version.")
    values = {"revealed_at": db_now(), "revealed_by": person.user_id, "revealed_reason": reason.strip()}
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version.id, DatasetVersion.revealed_at.is_(None)).values(**values))
    session.refresh(version)


def count_scored(session: Session, version_id: int, split: str) -> None:
    """One more scoring of a sealed split; other splits are not counted."""
    _count(session, version_id, "scored", {split})


def count_viewed(session: Session, version_id: int, splits: Collection[str]) -> None:
    """One more look at each sealed split among these."""
    _count(session, version_id, "viewed", splits)


def _count(session: Session, version_id: int, what: str, splits: Collection[str]) -> None:
    """The counters of the test split are columns; those of the reserve, which nobody sees before it is opened, stand with its opening."""
    if "test" in splits:
        counter = getattr(DatasetVersion, what)
        session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values({counter: counter + 1}))
    if "reserve" in splits:
        query = select(DatasetVersion).where(DatasetVersion.id == version_id).with_for_update()
        row = session.scalars(query, execution_options={"populate_existing": True}).one()
        if row.reserve_opened is not None:
            row.reserve_opened = {**row.reserve_opened, what: row.reserve_opened.get(what, 0) + 1}
            session.flush()
