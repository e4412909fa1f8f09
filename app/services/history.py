"""A dataset's versions: the list with what was done from one to the next, and what differs between two of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.lineage import same_row
from app.domain.splits import SPLITS
from app.domain.user import User
from app.errors import Invalid

Kind = Literal["added", "removed", "changed", "moved"]
KINDS: tuple[Kind, ...] = ("added", "removed", "changed", "moved")


@dataclass(frozen=True)
class Slice:
    """Test rows that one version, sealed at `at` (milliseconds), was the first to have among its test rows."""

    version: int
    at: int
    rows: int


@dataclass(frozen=True)
class Line:
    """A version as the list shows it. `slices` are its test rows by the version that was the first to test on them, oldest first."""

    version: DatasetVersion
    author: str | None
    parent: int | None
    slices: list[Slice]


@dataclass(frozen=True)
class Pair:
    """A row in two versions; one side is None where it is not there."""

    before: Example | None
    after: Example | None


@dataclass(frozen=True)
class Diff:
    """What differs from `older` to `newer`. `counts` and `sealed` by kind; a row of a sealed split is counted in both and never shown."""

    dataset: Dataset
    older: DatasetVersion
    newer: DatasetVersion
    counts: Mapping[Kind, int]
    sealed: Mapping[Kind, int]
    splits: Mapping[Kind, Mapping[str, int]]
    kind: Kind
    rows: Sequence[Pair]
    total: int


def versions(person: Who, key: int | str) -> tuple[Dataset, list[Line]]:
    """All sealed versions of a dataset, newest first. The same number of queries however many there are."""
    with reading() as session:
        newest = datasets.find(session, person, key)
        dataset = session.get_one(Dataset, newest.dataset_id)
        query = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset.id, DatasetVersion.sealed_at.is_not(None))
        found = session.scalars(query.order_by(DatasetVersion.number.desc())).all()
        authors = dict(session.execute(select(User.id, User.name).where(User.id.in_({row.author_id for row in found if row.author_id}))).all())
        slices = _slices(session, found)
        numbers = {row.id: row.number for row in found}
        return dataset, [Line(row, authors.get(row.author_id or 0), numbers.get(row.parent_id or 0), slices.get(row.id, [])) for row in found]


def _slices(session: Session, found: Sequence[DatasetVersion]) -> dict[int, list[Slice]]:
    """The test rows of each version by the first version in which they were test rows: some came earlier, and waited for a label."""
    sealed_at = {row.number: row.sealed_at or 0 for row in found}
    tested = Example.version_id.in_(row.id for row in found), Example.split == "test"
    since: Any = Example.added_in
    if any(row.change.get("changed") or row.change.get("labelled") for row in found if row.change):
        # Where no version changed a row that was there, all of them were test rows from the beginning: half the work.
        since = func.min(DatasetVersion.number).over(partition_by=(Example.position, Example.content_key))
    each = select(Example.version_id, since.label("since")).join(DatasetVersion, DatasetVersion.id == Example.version_id).where(*tested).subquery()
    query = select(each.c.version_id, each.c.since, func.count()).group_by(each.c.version_id, each.c.since).order_by(each.c.since)
    slices: dict[int, list[Slice]] = {}
    for version, number, rows in session.execute(query):
        slices.setdefault(version, []).append(Slice(number, sealed_at.get(number, 0), rows))
    return slices


def diff(person: Who, reference: int | str, since: int, kind: str | None = None, offset: int = 0, limit: int = 50) -> Diff:
    """What differs from version `since` to the one of the reference. Raises NotFound; Invalid for the same version or an unknown kind."""
    with reading() as session:
        newer = datasets.find(session, person, reference)
        older = datasets.find(session, person, f"{newer.dataset_id}@{since}")
        if older.number >= newer.number or kind not in (None, *KINDS):
            raise Invalid(
                "no_difference", f"Version {since} is not older than version {newer.number}.", f"Name an older version, and one of {', '.join(KINDS)}."
            )
        splits = {one: _counts(session, older, newer, one) for one in KINDS}
        shut = _shut(older, newer)
        sealed = {one: sum(count for pair, count in splits[one].items() if shut & set(_sides(pair))) for one in KINDS}
        counts = {one: sum(splits[one].values()) for one in KINDS}
        chosen = _chosen(kind, counts)
        rows = _rows(session, older, newer, chosen, offset, limit)
        looked = {(row.version_id, row.split) for pair in rows for row in (pair.before, pair.after) if row is not None and row.split in datasets.SEALED}
        told = {one: _told(splits[one]) for one in KINDS}
        dataset = session.get_one(Dataset, newer.dataset_id)
        found = Diff(dataset, older, newer, counts, sealed, told, chosen, rows, counts[chosen] - sealed[chosen])
    if looked:
        with transaction() as session:
            for key, split in sorted(looked):
                datasets.count_viewed(session, key, {split})
    return found


def opened_before(version: DatasetVersion) -> dict[int, int]:
    """How many test rows of a version somebody could see in other versions where they were opened: rows by the version's number."""
    a, b = aliased(Example), aliased(Example)
    with reading() as session:
        others = DatasetVersion.dataset_id == version.dataset_id, DatasetVersion.revealed_at.is_not(None), DatasetVersion.id != version.id
        found: dict[int, int] = {}
        for other in session.scalars(select(DatasetVersion).where(*others, DatasetVersion.sealed_at.is_not(None)).order_by(DatasetVersion.number)):
            shared = select(func.count()).select_from(a).join(b, same_row(a, b, other.id))
            rows = session.scalar(shared.where(a.version_id == version.id, a.split == "test", b.split == "test"))
            found |= {other.number: rows} if rows else {}
        return found


def _chosen(kind: str | None, counts: Mapping[Kind, int]) -> Kind:
    """The kind that was asked for, else the first one that there is."""
    asked: list[Kind] = [one for one in KINDS if one == kind or (kind is None and counts[one])]
    return asked[0] if asked else "added"


def _told(counts: Mapping[tuple[str | None, str | None], int]) -> dict[str, int]:
    """Rows by where they stand, or "from → to", in the order of the splits."""
    ordered = sorted(counts.items(), key=lambda one: [SPLITS.index(split) for split in one[0] if split])
    return {f"{a} → {b}" if a and b and a != b else b or a or "": count for (a, b), count in ordered}


def _sides(pair: tuple[str | None, str | None]) -> list[str]:
    return [side for number, split in enumerate(pair) if split for side in [f"{number}{split}"]]


def _shut(older: DatasetVersion, newer: DatasetVersion) -> set[str]:
    """The splits that are closed, each with the number of its side."""
    return {f"{number}{split}" for number, version in enumerate((older, newer)) for split in datasets.closed(version)}


def _joined(older: DatasetVersion, newer: DatasetVersion, kind: Kind) -> tuple[Any, Any, Select[Any]]:
    """Both sides of the rows of one kind, and the statement without its columns."""
    a, b = aliased(Example, name="a"), aliased(Example, name="b")
    if kind == "added":
        return None, b, select().select_from(b).outerjoin(a, same_row(b, a, older.id)).where(b.version_id == newer.id, a.id.is_(None))
    if kind == "removed":
        return a, None, select().select_from(a).outerjoin(b, same_row(a, b, newer.id)).where(a.version_id == older.id, b.id.is_(None))
    other = or_(a.output.is_distinct_from(b.output), a.input != b.input)
    # A first label brings its split along: that is one change, not two.
    differs = other if kind == "changed" else and_(a.split != b.split, ~other)
    return a, b, select().select_from(a).join(b, same_row(a, b, newer.id)).where(a.version_id == older.id, differs)


def _counts(session: Session, older: DatasetVersion, newer: DatasetVersion, kind: Kind) -> Counter[tuple[str | None, str | None]]:
    """Rows of one kind by their split before and after."""
    a, b, query = _joined(older, newer, kind)
    sides = [side.split for side in (a, b) if side is not None]
    found: Counter[tuple[str | None, str | None]] = Counter()
    for *splits, count in session.execute(query.add_columns(*sides, func.count()).group_by(*sides)):
        before = splits[0] if a is not None else None
        found[before, splits[-1] if b is not None else None] = count
    return found


def _rows(session: Session, older: DatasetVersion, newer: DatasetVersion, kind: Kind, offset: int, limit: int) -> list[Pair]:
    """Rows of one kind that may be shown, in order."""
    a, b, query = _joined(older, newer, kind)
    for side, version in ((a, older), (b, newer)):
        if side is not None and datasets.closed(version):
            query = query.where(side.split.not_in(datasets.closed(version)))
    present = [side for side in (a, b) if side is not None]
    found = session.execute(query.add_columns(*present).order_by(present[0].position).offset(offset).limit(limit)).all()
    return [Pair(row[0] if a is not None else None, row[-1] if b is not None else None) for row in found]
