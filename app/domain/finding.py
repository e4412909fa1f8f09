"""What was found out about the health of a sealed version: worked out once, because a version never changes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Json, db_now
from app.domain.dataset import DatasetVersion
from app.domain.lineage import Change, Drop, Gather, Move, Relabel
from app.domain.packed import unpacked
from app.domain.placing import HELD_OUT
from app.errors import Conflict, NotFound


class Finding(Base):
    """`count` rows or labels are concerned. `rows` are the ids of all examples to look at; `hidden` names those of sealed splits. Many are packed (domain/packed.py).

    `fix` is what one click would do ({"kind", "rows" or "labels", "split", "to": where each row goes, by its number in HELD_OUT}), `after` the splits and
    the number of labels there would be then.
    """

    __tablename__ = "finding"
    __table_args__ = (UniqueConstraint("version_id", "code"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id", ondelete="CASCADE"))
    position: Mapped[int]
    code: Mapped[str]
    harm: Mapped[int]
    count: Mapped[int]
    sentence: Mapped[str]
    rows: Mapped[Any] = mapped_column(Json, deferred=True)
    hidden: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    fix: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    remedy: Mapped[str | None]
    fixed: Mapped[int]
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)

    def change(self) -> Change:
        """The remedy as a change of the version. Raises Conflict when there is none."""
        if self.fix is None:
            raise Conflict("no_remedy", "Only a person can decide what to do here.", "Look at the rows, and upload a corrected file.")
        rows = unpacked(self.fix["rows"])
        # What was found by earlier versions of Fettle has the names themselves.
        named: list[Any] = unpacked(self.fix.get("to") or [])
        to = [split if isinstance(split, str) else HELD_OUT[split] for split in named]
        changes: dict[str, Change] = {
            "drop": Drop(frozenset(rows)),
            "move": Move(frozenset(rows), self.fix["split"]),
            "gather": Gather(dict(zip(rows, to, strict=True)) if self.fix["kind"] == "gather" else {}),
            "relabel": Relabel(self.fix["labels"]),
        }
        return changes[self.fix["kind"]]


def of(session: Session, version_id: int) -> Sequence[Finding]:
    """A version's findings, the most harmful first."""
    return session.scalars(select(Finding).where(Finding.version_id == version_id).order_by(Finding.harm.desc(), Finding.position)).all()


def find(session: Session, version: DatasetVersion, code: str) -> Finding:
    """One finding with its rows. Raises NotFound."""
    row = session.scalars(select(Finding).where(Finding.version_id == version.id, Finding.code == code)).first()
    if row is None:
        raise NotFound("finding", code)
    return row


def counted(session: Session, version_id: int, code: str, finding: Finding | None) -> None:
    """What is known better now than when a version was examined, in place of what was said then; None: nothing is wrong there."""
    session.execute(select(DatasetVersion.id).where(DatasetVersion.id == version_id).with_for_update())
    session.execute(delete(Finding).where(Finding.version_id == version_id, Finding.code == code))
    if finding is not None:
        session.add(finding)


def store(session: Session, finding: Finding) -> None:
    """Keep one finding of an examination in place of what an earlier one said, unless one has come to its end.

    One at a time: it may name every row, and no write is to be long.
    """
    unexamined = select(DatasetVersion.id).where(DatasetVersion.id == finding.version_id, DatasetVersion.examined_at.is_(None))
    if session.scalar(unexamined.with_for_update()) is not None:
        session.execute(delete(Finding).where(Finding.version_id == finding.version_id, Finding.code == finding.code))
        session.add(finding)


def forget(session: Session, version_id: int) -> None:
    """A version is to be examined anew: something that its examination waits for is known now and was not then."""
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id).values(examined_at=None))
    session.execute(delete(Finding).where(Finding.version_id == version_id))


def examined(session: Session, version_id: int) -> None:
    """All findings of a version are there."""
    session.execute(update(DatasetVersion).where(DatasetVersion.id == version_id, DatasetVersion.examined_at.is_(None)).values(examined_at=db_now()))
