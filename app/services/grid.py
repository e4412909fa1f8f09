"""Looking through a version's rows: any page of any size of version in the same time, and rows by their words."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import chore as chores
from app.domain import dataset as datasets
from app.domain import text_search
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.dataset import MARKED, DatasetVersion, Example
from app.domain.words import tokens
from app.errors import Conflict
from app.services.index_files import index_file, on_sqlite


@dataclass(frozen=True)
class Found:
    """Rows that have all words. `total` is exact below text_search.MOST_FOUND. While the index does not stand, `indexing` says how far it is, or `error` why
    nobody builds it any more."""

    rows: Sequence[Example]
    total: int = 0
    following: int | None = None
    indexing: float | None = None
    words: Sequence[str] = ()
    error: Conflict | None = None

    @property
    def looked_up(self) -> bool:
        """Whether the index was asked, and these are all there are."""
        return self.indexing is None and self.error is None and bool(self.words)


def examples(person: Who, reference: int | str, split: str | None = None, offset: int = 0, limit: int = 50) -> list[Example]:
    """Rows in file order. Raises Sealed for the test split (and for all rows together) before somebody revealed it."""
    with reading() as session:
        version = datasets.find(session, person, reference)
        datasets.readable(version, split)
        rows = list(session.scalars(page(session, version, split, offset, limit)))
    _looked_at(version, rows)
    return rows


def page(session: Session, version: DatasetVersion, split: str | None, offset: int, limit: int) -> Select[Example]:
    """The rows of one page. Deep inside a long version the way is short all the same: from the mark before it."""
    splits = list(version.splits) if split is None else [split]
    query = select(Example).where(Example.version_id == version.id, Example.split.in_(splits)).order_by(Example.position).limit(limit)
    marks = (session.scalar(select(DatasetVersion.marks).where(DatasetVersion.id == version.id)) or {}).get(split or "")
    if not marks:
        return query.offset(offset)
    first = offset // MARKED
    if first >= len(marks):
        return query.where(Example.position < 0)
    # A bound on both sides: with all splits together the rows of each have to be put in order.
    after = first + 1 + (offset % MARKED + limit) // MARKED
    query = query.where(Example.position >= marks[first]).offset(offset - first * MARKED)
    return query.where(Example.position < marks[after]) if after < len(marks) else query


def _looked_at(version: DatasetVersion, rows: Sequence[Example]) -> None:
    if looked := {row.split for row in rows} & set(datasets.SEALED):
        with transaction() as session:
            datasets.count_viewed(session, version.id, looked)


def find(person: Who, reference: int | str, asked: str, split: str | None = None, after: int = -1, limit: int = 50) -> Found:
    """Rows of a split (or of all) that have all the words asked for, the last of which may go on; from behind a position. Raises Sealed."""
    words = tokens(asked)[: text_search.MOST_WORDS]
    with reading() as session:
        version = datasets.find(session, person, reference)
        datasets.readable(version, split)
        chore = chores.find(session, version.id, "search")
    if _is_lost(version, chore):
        _begin_index(version)
        return Found([], indexing=0.0, words=words)
    indexing, error = lacking(version, chore)
    if indexing is not None or error is not None:
        return Found([], indexing=indexing, words=words, error=error)
    if not words:
        return Found([])
    with reading() as session:
        positions, total = look_up(session, version, words, split, after, limit + 1)
        wanted = select(Example).where(Example.version_id == version.id, Example.split.in_([split] if split else list(version.splits)))
        rows = list(session.scalars(wanted.where(Example.position.in_(positions[:limit])).order_by(Example.position)))
    _looked_at(version, rows)
    return Found(rows, total, positions[limit - 1] if len(positions) > limit else None, words=words)


def lacking(version: DatasetVersion, chore: Chore | None) -> tuple[float | None, Conflict | None]:
    """What search answers while a version's index does not stand: how far it is, or why it failed. Neither where it stands."""
    if chore is None or chore.state == "done":
        return (0.0, None) if chore is None else (None, None)
    if chore.state != "failed" or chore.error is None:
        return chore.fraction, None
    message = f"Indexing failed, so rows cannot be found by their words. {chore.error['message']}"
    return None, Conflict("index_failed", message, chore.error["advice"], detail={"again": f"/api/v1/datasets/{version.reference}/background/search"})


def look_up(session: Session, version: DatasetVersion, words: Sequence[str], split: str | None, after: int, limit: int) -> tuple[list[int], int]:
    if on_sqlite():
        file = index_file(version)
        return file.positions(words, split, after, limit), file.count(words, split)
    return text_search.look_up(session, version.id, words, split, after, limit)


def background(person: Who, reference: int | str) -> dict[str, Chore]:
    """What is being worked out about a version, and what was."""
    with reading() as session:
        return chores.of(session, datasets.find(session, person, reference).id)


def ensure_search(person: Who, reference: int | str) -> None:
    """A version whose index is lost gets one."""
    with reading() as session:
        version = datasets.find(session, person, reference)
        chore = chores.find(session, version.id, "search")
    if _is_lost(version, chore):
        _begin_index(version)


def _is_lost(version: DatasetVersion, chore: Chore | None) -> bool:
    """Whether nobody makes its index, nor has it: the version was made before there were chores, or the file is gone."""
    return chore is None or (chore.state == "done" and on_sqlite() and not index_file(version).path.exists())


def _begin_index(version: DatasetVersion) -> None:
    with transaction() as session:
        chores.again(session, version.id, "search", version.rows, {})
