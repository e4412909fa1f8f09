"""Giving labels: the grid of a dataset's rows, the queue of its unlabelled ones, and saving what was given as the next version."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.db import reading, transaction
from app.domain import annotation as annotations
from app.domain import chore as chores
from app.domain import dataset as datasets
from app.domain import text_search
from app.domain.access import Who, write
from app.domain.annotation import Annotation
from app.domain.dataset import STRETCH, Dataset, DatasetVersion, Example, known_by
from app.domain.lineage import Edit
from app.domain.splits import SPLITS
from app.domain.upload import Upload
from app.domain.words import tokens
from app.errors import Conflict, Invalid
from app.services import changing
from app.services import grid as pages
from app.services.change_files import Saved as Done
from app.services.datasets import DatasetView

POSITIONS_AT_ONCE = 500

READ_THROUGH = 20_000
"""A version of up to so many rows is searched without its index."""

Lacking = tuple[float | None, Conflict | None]
"""How far an index is that does not stand yet, or why it failed."""

_NOTHING_LACKS: Lacking = (None, None)


@dataclass(frozen=True)
class GivenRow:
    """A row with what the person gave it and has not saved."""

    example: Example
    given: Annotation | None

    @property
    def output(self) -> str | None:
        """The label that stands now: the one given, else the row's own."""
        return self.given.output if self.given and not self.given.skipped else self.example.output

    @property
    def changed(self) -> bool:
        return self.output != self.example.output

    @property
    def clashes(self) -> bool:
        """Somebody else has given this row another label since."""
        return bool(self.given and not self.given.skipped and self.example.output not in (self.given.before, self.given.output))


@dataclass(frozen=True)
class Progress:
    """A person's standing work on a dataset: rows given another label, and of the unlabelled rows how many they labelled or skipped."""

    changed: int
    unlabelled: int
    labelled: int
    skipped: int

    @property
    def left(self) -> int:
        return self.unlabelled - self.labelled - self.skipped


@dataclass(frozen=True)
class Grid:
    """One page of the grid. `splits` are those that may be shown, with their rows."""

    dataset: Dataset
    version: DatasetVersion
    splits: dict[str, int]
    split: str
    rows: list[GivenRow]
    total: int
    progress: Progress
    more: bool = False
    """There may be more rows than `total`: more have these words than are looked up."""
    indexing: float | None = None
    """How far the index of words is, where rows were asked for by words and it does not stand yet."""
    error: Conflict | None = None
    """Why it is not built any more, where it failed."""


@dataclass(frozen=True)
class Queue:
    """The unlabelled rows to come, skipped ones last."""

    dataset: Dataset
    version: DatasetVersion
    rows: list[GivenRow]
    progress: Progress


def grid(
    person: Who, key: int | str, *, split: str = "", label: str | None = None, text: str = "", changed: bool = False, offset: int = 0, limit: int = 50
) -> Grid:
    """Rows of the newest version that may be shown, in file order, with what was given: those with all the words of `text`, the last of which may go on,
    where its index finds them the first text_search.MOST_FOUND. Reading an opened test split counts as a look.
    """
    if text.strip():
        pages.ensure_search(person, str(key).split("@", maxsplit=1)[0])
    with reading() as session:
        version, dataset = _newest(session, person, key)
        shut = datasets.closed(version)
        splits = {name: version.splits[name] for name in SPLITS if name in version.splits and name not in shut}
        chosen = split if split in splits else next(iter(splits), "")
        where = _of(version, chosen)
        also = _also(person, dataset.id, label, changed)
        more, lacking = False, _NOTHING_LACKS
        if text.strip():
            found, more, lacking = _having(session, version, chosen, text)
            there = _narrowed(session, where, also, found) if also else found
            query, total = select(Example).where(*where, Example.position.in_(there[offset : offset + limit])).order_by(Example.position), len(there)
        elif also:
            query = select(Example).where(*where, *also).order_by(Example.position).offset(offset).limit(limit)
            total = session.scalar(select(func.count()).where(*where, *also)) or 0
        else:
            query, total = pages.page(session, version, chosen, offset, limit), splits.get(chosen, 0)
        rows = session.scalars(query).all()
        page = Grid(
            dataset, version, splits, chosen, _with_given(session, person, dataset.id, rows), total, _progress(session, person, version), more, *lacking
        )
    if chosen in datasets.SEALED and rows:
        with transaction() as session:
            datasets.count_viewed(session, version.id, {chosen})
    return page


def _also(person: Who, dataset_id: int, label: str | None, changed: bool) -> list[ColumnElement[bool]]:
    """What else rows are asked for by."""
    also = [] if label is None else [Example.output == label]
    if changed:
        mine = annotations.standing(person, dataset_id)
        also.append(Example.position.in_(select(Annotation.position).where(Annotation.id.in_(mine), Annotation.skipped.is_(False))))
    return also


def _having(session: Session, version: DatasetVersion, split: str, text: str) -> tuple[Sequence[int], bool, Lacking]:
    """The positions of a split's rows that have all words of a text, in order; whether there are more of them than are looked up; and how far the index is
    (or why it failed) while only it could tell.

    A short version, such as one that was saved a moment ago, is read through until its index stands.
    """
    words = tokens(text)[: text_search.MOST_WORDS]
    if not words:
        return [], False, _NOTHING_LACKS
    chore = chores.find(session, version.id, "search")
    if chore is not None and chore.state == "done":
        found = pages.look_up(session, version, words, split, -1, text_search.MOST_FOUND + 1)[0]
        return found[: text_search.MOST_FOUND], len(found) > text_search.MOST_FOUND, _NOTHING_LACKS
    if version.rows > READ_THROUGH:
        return [], False, pages.lacking(version, chore)
    rows = session.execute(select(Example.position, Example.input, Example.output, Example.cells).where(*_of(version, split)).order_by(Example.position))
    return [row.position for row in rows if text_search.has(text_search.words_of(row.input, row.output, row.cells), words)], False, _NOTHING_LACKS


def _of(version: DatasetVersion, split: str) -> tuple[ColumnElement[bool], ...]:
    return Example.version_id == version.id, Example.split == split


def _narrowed(session: Session, where: Sequence[ColumnElement[bool]], also: Sequence[ColumnElement[bool]], positions: Sequence[int]) -> list[int]:
    """Of these positions those of rows that are as asked for otherwise, too."""
    found: list[int] = []
    for start in range(0, len(positions), POSITIONS_AT_ONCE):
        part = Example.position.in_(positions[start : start + POSITIONS_AT_ONCE])
        found += session.scalars(select(Example.position).where(*where, part, *also).order_by(Example.position))
    return found


def _newest(session: Session, person: Who, key: int | str) -> tuple[DatasetVersion, Dataset]:
    version = datasets.find(session, person, str(key).split("@", maxsplit=1)[0])
    return version, session.get_one(Dataset, version.dataset_id)


def _with_given(session: Session, person: Who, dataset_id: int, rows: Sequence[Example]) -> list[GivenRow]:
    given = annotations.waiting(session, person, dataset_id, [row.position for row in rows])
    return [GivenRow(row, one if (one := given.get(row.position)) and one.content_key == row.content_key else None) for row in rows]


def _progress(session: Session, person: Who, version: DatasetVersion) -> Progress:
    mine = annotations.standing(person, version.dataset_id)
    row = aliased(Example)
    here = and_(
        row.version_id == version.id,
        row.stretch == Annotation.position // STRETCH,
        row.content_key == Annotation.content_key,
        row.position == Annotation.position,
    )
    standing = select(func.count()).select_from(Annotation).join(row, here).where(Annotation.id.in_(mine))
    given = standing.where(Annotation.skipped.is_(False))
    unlabelled = row.split == "unlabelled"
    return Progress(
        session.scalar(given.where(Annotation.output.is_distinct_from(row.output))) or 0,
        version.splits.get("unlabelled", 0),
        session.scalar(given.where(unlabelled, Annotation.output.is_not(None))) or 0,
        session.scalar(standing.where(unlabelled, Annotation.skipped.is_(True))) or 0,
    )


def queue(person: Who, key: int | str, limit: int = 8, after: int = -1) -> Queue:
    """The next unlabelled rows that have no label yet, those behind position `after` first to come; skipped ones wait until all others are done."""
    with reading() as session:
        version, dataset = _newest(session, person, key)
        given = select(Annotation.position).where(Annotation.id.in_(annotations.standing(person, dataset.id)))
        done = given.where(or_(Annotation.skipped.is_(True), Annotation.output.is_not(None)))
        skipped = given.where(Annotation.skipped.is_(True))
        rows: list[Example] = []
        # Each part in the order of its index, as far as rows are missing: of a million rows only the first ones are read.
        for some in (Example.position.not_in(done), Example.position.in_(skipped)):
            for place in (Example.position > after, Example.position <= after):
                query = select(Example).where(*_of(version, "unlabelled"), place, some).order_by(Example.position)
                rows += session.scalars(query.limit(limit - len(rows))) if len(rows) < limit else []
        return Queue(dataset, version, _with_given(session, person, dataset.id, rows), _progress(session, person, version))


def row(person: Who, key: int | str, example: int) -> GivenRow:
    """One row as it stands now."""
    with reading() as session:
        version, dataset = _newest(session, person, key)
        found = session.get(Example, example)
        if found is None or found.version_id != version.id or found.split in datasets.closed(version):
            raise _moved_on(version)
        return _with_given(session, person, dataset.id, [found])[0]


def _moved_on(version: DatasetVersion) -> Conflict:
    return Conflict("newer_version", f"Version {version.number} was made meanwhile.", "Reload the page; what you gave so far is kept.")


def give(person: Who, key: int | str, example: int, output: str | None, *, assisted: bool = False, skipped: bool = False) -> Progress:
    """Keep a label for a row of the newest version, until it is saved. None takes the label away. Raises Conflict when a newer version was made."""
    with transaction() as session:
        version, dataset = _newest(session, person, key)
        write(session, person, Dataset, dataset.id, "dataset")
        there = session.get(Example, example)
        if there is None or there.version_id != version.id:
            raise _moved_on(version)
        annotations.give(session, person, version, example, output, assisted=assisted, skipped=skipped)
        return _progress(session, person, version)


@dataclass(frozen=True)
class Undone:
    """What was taken back (None: there was nothing), the row it was given to if it is still there, and the work that stands."""

    annotation: Annotation | None
    row: GivenRow | None
    progress: Progress


def undo(person: Who, key: int | str) -> Undone:
    """Take back the last label given."""
    with transaction() as session:
        version, dataset = _newest(session, person, key)
        last = annotations.undo(session, person, dataset.id)
        found = None
        if last is not None:
            here = known_by(session, version.id, [last.content_key])
            found = session.scalars(select(Example).where(here, Example.position == last.position)).first()
        rows = _with_given(session, person, dataset.id, [found]) if found else []
        return Undone(last, rows[0] if rows else None, _progress(session, person, version))


def discard(person: Who, key: int | str) -> None:
    """Forget everything that was given and not saved."""
    with transaction() as session:
        _, dataset = _newest(session, person, key)
        annotations.forget(session, person, dataset.id, up_to=2**62)


@dataclass(frozen=True)
class Saved:
    """The new version, or the upload that makes it, and how many labels were left because somebody else changed their rows meanwhile."""

    view: DatasetView | Upload
    rows: int
    clashing: int


def save(person: Who, key: int | str, reason: str = "") -> Saved:
    """Everything given so far as the next version. Rows that somebody else changed meanwhile are left out of it and kept.

    Raises Invalid when there is nothing to save. Saving again after a break does no harm: what is there already counts as done.
    """
    with reading() as session:
        version, dataset = _newest(session, person, key)
        given = annotations.waiting(session, person, dataset.id)
        rows = _rows(session, version, sorted(given))
    outputs, assisted, done, clashing = annotations.settle(given, rows)
    last = max((one.id for one in given.values()), default=0)
    if outputs:
        view = changing.change(person, version.reference, Edit(outputs, frozenset(assisted)), reason, Done(last, done))
    else:
        with transaction() as session:
            annotations.forget(session, person, dataset.id, last, done)
        there = (
            f"{len(clashing):,} labels are on rows that somebody else changed meanwhile: look at those first."
            if clashing
            else "Give a row another label first."
        )
        raise Invalid("nothing_to_save", "There is no label to save.", there)
    return Saved(view, len(outputs), len(clashing))


def _rows(session: Session, version: DatasetVersion, positions: Sequence[int]) -> dict[int, tuple[int, int, str | None]]:
    found: dict[int, tuple[int, int, str | None]] = {}
    for start in range(0, len(positions), POSITIONS_AT_ONCE):
        part = positions[start : start + POSITIONS_AT_ONCE]
        query = select(Example.position, Example.id, Example.content_key, Example.output).where(Example.version_id == version.id, Example.position.in_(part))
        found.update({position: (key, content, output) for position, key, content, output in session.execute(query)})
    return found
