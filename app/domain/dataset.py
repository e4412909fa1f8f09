"""Datasets: immutable, content-hashed versions of labelled examples, with a sealed test split."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, read
from app.domain.base import Base, Json, Owned, db_now, parse_reference
from app.errors import Invalid, NotFound, Sealed

SPLITS = ("train", "validation", "test", "unlabelled")

_packer = msgspec.msgpack.Encoder()


class Dataset(Owned, Base):
    """A named task. Its examples are in its versions."""

    __tablename__ = "dataset"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="upload")


class DatasetVersion(Owned, Base):
    """A frozen set of examples. It is invisible until `sealed_at`; afterwards nothing in it changes but its counters."""

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    sealed_at: Mapped[int | None]
    content_hash: Mapped[str] = mapped_column(default="")
    columns: Mapped[list[Any]] = mapped_column(default=list)
    labels: Mapped[list[Any]] = mapped_column(default=list)
    splits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    origin: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seed: Mapped[int] = mapped_column(default=0)
    revealed_at: Mapped[int | None]
    revealed_by: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    revealed_reason: Mapped[str | None]
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
        """What a prompt may name: `input`, and the columns that are neither input, output nor split."""
        mapping = self.origin.get("mapping") or {}
        used = {column for field, column in mapping.items() if isinstance(column, str) and not (field == "input" and mapping.get("more"))}
        return ["input", *(column for column in self.columns if column not in used | {"input"})]

    def label_texts(self) -> list[str]:
        """What the model reads and writes for each label, in a fixed order. Empty when the outputs are free text."""
        return [label["display"] for label in self.labels]


class Example(Base):
    """One row: input, output, split. `line` is where it stood in the file it came from."""

    __tablename__ = "example"
    __table_args__ = (Index("ix_example_version_split_position", "version_id", "split", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id", ondelete="CASCADE"))
    position: Mapped[int]
    line: Mapped[int | None]
    split: Mapped[str]
    input: Mapped[str]
    output: Mapped[str | None]
    cells: Mapped[dict[str, Any] | None] = mapped_column(Json)

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
    number = (session.scalar(select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == dataset.id)) or 0) + 1
    version = DatasetVersion(**owned(person), dataset_id=dataset.id, number=number, seed=seed, origin=origin)
    session.add(version)
    session.flush()
    return version


def seal(session: Session, version: DatasetVersion, digest: str = "", label_limit: int = 1000) -> None:
    """Freeze a version: count its splits, write its label table and its hash (`digest`, when it is computed already). Raises Invalid when there is nothing to learn from."""
    counts = dict(session.execute(select(Example.split, func.count()).where(Example.version_id == version.id).group_by(Example.split)).all())
    if not counts.get("train") and not counts.get("test"):
        raise Invalid("no_labelled_rows", "No row has an output.", "Fettle needs rows whose output is filled in; check the column mapping.")
    labelled = select(Example.output, func.count()).where(Example.version_id == version.id, Example.output.is_not(None))
    table = session.execute(labelled.group_by(Example.output).order_by(Example.output).limit(label_limit + 1)).all()
    few = len(table) <= label_limit and len(table) * 2 <= sum(count for _, count in table)
    version.labels = [{"key": text, "display": text, "count": count} for text, count in table] if few else []
    version.splits = {split: counts[split] for split in SPLITS if counts.get(split)}
    version.content_hash = digest or fingerprint(rows(session, version))
    session.flush()
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version.id).values(sealed_at=db_now()))
    session.refresh(version)


def fingerprint(examples: Iterable[Example]) -> str:
    """sha256 over every row's split, input, output and cells, in order: the same content has the same hash everywhere."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(rows_bytes([(example.split, example.input, example.output, example.cells)]))
    return digest.hexdigest()


def rows_bytes(rows: Sequence[tuple[str, str, str | None, Mapping[str, Any] | None]]) -> bytes:
    """Rows (split, input, output, cells) as their version's hash takes them in: msgpack, where every value says its kind and length."""
    packed = [(split, text, output, sorted(cells.items()) if cells else ()) for split, text, output, cells in rows]
    try:
        # The head that says how many rows there are is left out: the same rows, given in other portions, are the same bytes.
        return _packer.encode(packed)[1 if len(packed) < 16 else 3 if len(packed) < 1 << 16 else 5 :]
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return b"".join(_packer.encode([part if part is None else ascii(part) for part in row]) for row in packed)


def rows(session: Session, version: DatasetVersion, split: str | None = None, limit: int | None = None) -> Iterator[Example]:
    """A version's examples in file order, streamed."""
    query = select(Example).where(Example.version_id == version.id).order_by(Example.position)
    if split is not None:
        query = query.where(Example.split == split)
    yield from session.scalars(query.limit(limit).execution_options(yield_per=500))


def readable(version: DatasetVersion, split: str | None) -> None:
    """Raises Sealed when rows of the test split would be shown before somebody revealed them."""
    if split in (None, "test") and version.splits.get("test") and version.revealed_at is None:
        raise Sealed


def reveal(session: Session, person: Who, version: DatasetVersion, reason: str) -> None:
    """Open the test split's rows for reading, on purpose and on the record."""
    if not reason.strip():
        raise Invalid("no_reason", "Say why the test rows are needed.", "One sentence is enough; it is kept with the version.")
    values = {"revealed_at": db_now(), "revealed_by": person.user_id, "revealed_reason": reason.strip()}
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version.id, DatasetVersion.revealed_at.is_(None)).values(**values))
    session.refresh(version)


def count_scored(session: Session, version_id: int) -> None:
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values(scored=DatasetVersion.scored + 1))


def count_viewed(session: Session, version_id: int) -> None:
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values(viewed=DatasetVersion.viewed + 1))
