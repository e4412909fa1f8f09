"""Labels people give, one row at a time, until they are saved as a new version of the dataset.

An annotation names its row by what is the row's own for ever (position and content), so it survives versions that somebody else
makes meanwhile. Each is kept as given; the newest one of a row counts, and undoing takes the newest one away.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ForeignKey, Index, Select, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who
from app.domain.base import Base, Row
from app.domain.dataset import DatasetVersion, Example, closed
from app.domain.label_book import label_text
from app.errors import NotFound, Sealed


class Annotation(Row, Base):
    """`output` is a label's key, or None: the label is taken away, or (`skipped`) the row was passed over in the queue.

    `before` is the output the person saw; `assisted` says that a model's suggestion was on the screen.
    """

    __tablename__ = "annotation"
    __table_args__ = (Index("ix_annotation_dataset_author_position", "dataset_id", "author_id", "position"),)

    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    position: Mapped[int]
    content_key: Mapped[int]
    before: Mapped[str | None]
    output: Mapped[str | None]
    assisted: Mapped[bool]
    skipped: Mapped[bool]


def give(
    session: Session, person: Who, version: DatasetVersion, example: int, output: str | None, *, assisted: bool = False, skipped: bool = False
) -> Annotation:
    """Keep one label for a row of a version. Raises NotFound, Sealed for a row nobody may see, Invalid for a text that no label may be."""
    row = session.get(Example, example)
    if row is None or row.version_id != version.id:
        raise NotFound("row", example)
    if row.split in closed(version):
        raise Sealed(row.split)
    given = Annotation(
        dataset_id=version.dataset_id,
        author_id=person.user_id,
        position=row.position,
        content_key=row.content_key,
        before=row.output,
        output=None if output is None else label_text(output),
        assisted=assisted,
        skipped=skipped,
    )
    session.add(given)
    session.flush()
    return given


def _mine(person: Who, dataset_id: int) -> tuple[Any, ...]:
    return Annotation.dataset_id == dataset_id, Annotation.author_id.is_not_distinct_from(person.user_id)


def standing(person: Who, dataset_id: int) -> Select[int]:
    """The ids of the annotations that count: a person's newest one of each row."""
    return select(func.max(Annotation.id)).where(*_mine(person, dataset_id)).group_by(Annotation.position, Annotation.content_key)


def waiting(session: Session, person: Who, dataset_id: int, positions: Iterable[int] | None = None) -> dict[int, Annotation]:
    """What a person has given and not saved, by the row's position."""
    query = select(Annotation).where(Annotation.id.in_(standing(person, dataset_id))).order_by(Annotation.id)
    if positions is not None:
        query = query.where(Annotation.position.in_(list(positions)))
    return {row.position: row for row in session.scalars(query)}


def undo(session: Session, person: Who, dataset_id: int) -> Annotation | None:
    """Take back the last thing a person gave; what they gave the row before counts again. None when there is nothing to take back."""
    last = session.scalars(select(Annotation).where(*_mine(person, dataset_id)).order_by(Annotation.id.desc()).limit(1)).first()
    if last is not None:
        session.delete(last)
        session.flush()
    return last


def forget(session: Session, person: Who, dataset_id: int, up_to: int, positions: Iterable[int] | None = None) -> None:
    """Remove a person's annotations, as far as one id: those of these rows, or all."""
    rows = None if positions is None else sorted(positions)
    mine = (*_mine(person, dataset_id), Annotation.id <= up_to)
    if rows is None:
        session.execute(delete(Annotation).where(*mine))
        return
    for start in range(0, len(rows), 500):
        session.execute(delete(Annotation).where(*mine, Annotation.position.in_(rows[start : start + 500])))


def rest_upon(session: Session, person: Who, version: DatasetVersion, after: int, positions: Iterable[int]) -> None:
    """Labels that a person gave after annotation `after`, while a version was made that saves earlier ones of the same rows: what they correct is what
    was saved, and no change of somebody else's.
    """
    later = select(Annotation).where(*_mine(person, version.dataset_id), Annotation.id > after)
    saved = set(positions)
    for one in [row for row in session.scalars(later) if row.position in saved]:
        row = session.scalars(select(Example).where(Example.version_id == version.id, Example.position == one.position)).first()
        if row is not None and row.content_key == one.content_key:
            one.before = row.output


def settle(given: Mapping[int, Annotation], rows: Mapping[int, tuple[int, int, str | None]]) -> tuple[dict[int, str | None], set[int], list[int], list[int]]:
    """What saving does: (outputs by example id, the ids that a model suggested for, positions that are done, positions that clash).

    `rows` are the newest version's, by position: (example id, content key, output). A row that is as wanted already is done without
    an output; one that somebody else has changed since, or that is gone, clashes and is left for the person to look at.
    """
    outputs: dict[int, str | None] = {}
    assisted: set[int] = set()
    done, clashing = [], []
    for position, one in given.items():
        key, content, now = rows.get(position, (0, None, None))
        if one.skipped:
            continue
        if content != one.content_key or (now != one.before and now != one.output):
            clashing.append(position)
            continue
        done.append(position)
        if now != one.output:
            outputs[key] = one.output
            if one.assisted:
                assisted.add(key)
    return outputs, assisted, done, clashing
