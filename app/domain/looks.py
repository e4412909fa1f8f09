"""How often the rows of a sealed split were scored and looked at, and the one opening of a reserve: over all versions of a dataset that hold them.

A change makes a new version of the same rows. Its own counters begin at 0, so whoever wants to know how much a figure is worth sums them up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session, aliased

from app.domain.access import Who
from app.domain.base import db_now
from app.domain.dataset import SEALED, Dataset, DatasetVersion, Example
from app.domain.lineage import same_row
from app.errors import Conflict, Invalid


@dataclass(frozen=True)
class Looks:
    """What became of the rows of one split of a version, here and in other versions that hold some of them. `opened` are the numbers of the versions in
    which they were opened as a reserve."""

    scored: int = 0
    viewed: int = 0
    opened: tuple[int, ...] = ()


def looks(session: Session, version: DatasetVersion, split: str = "test") -> Looks:
    """Rows that stand in the reserve now may have been scored in an older version as test rows: those looks are among them."""
    scored, viewed, opened = 0, 0, []
    for other, there in _holding(session, version, split):
        if there == "test":
            scored, viewed = scored + other.scored, viewed + other.viewed
        elif other.reserve_opened is not None:
            scored, viewed = scored + other.reserve_opened.get("scored", 0), viewed + other.reserve_opened.get("viewed", 0)
            opened.append(other.number)
    return Looks(scored, viewed, tuple(sorted(opened)))


def of_sealed(session: Session, version: DatasetVersion) -> dict[str, Looks]:
    """Those of each sealed split that a version has."""
    return {split: looks(session, version, split) for split in SEALED if version.splits.get(split)}


def _holding(session: Session, version: DatasetVersion, split: str) -> Iterator[tuple[DatasetVersion, str]]:
    """The versions of which something was scored, seen or opened, each with the sealed splits in which rows of this one's split stand."""
    used = or_(DatasetVersion.scored > 0, DatasetVersion.viewed > 0, DatasetVersion.reserve_opened.is_not(None))
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == version.dataset_id, DatasetVersion.sealed_at.is_not(None), used)
    a, b = aliased(Example), aliased(Example)
    for other in session.scalars(query, execution_options={"populate_existing": True}).all():
        for there in SEALED if other.id != version.id else (split,):
            shared = exists().where(a.version_id == version.id, a.split == split, same_row(a, b, other.id), b.split == there)
            if other.id == version.id or (other.splits.get(there) and session.scalar(select(shared))):
                yield other, there


def open_reserve(session: Session, person: Who, version: DatasetVersion, reason: str) -> None:
    """Open the reserve split for its one look, at the end, on the record. Raises Invalid without a reserve or a reason; Conflict the second time, in
    whichever version of the dataset the first was."""
    if not version.splits.get("reserve"):
        raise Invalid("no_reserve", f"Version {version.number} has no reserve split.", "A reserve is set aside from a test split that nobody has scored yet.")
    if not reason.strip():
        raise Invalid("no_reason", "Say why the reserve is opened now.", "One sentence is enough; it is kept with the version.")
    session.execute(select(Dataset.id).where(Dataset.id == version.dataset_id).with_for_update())  # two people who open it at once are one after the other
    for other, there in _holding(session, version, "reserve"):
        if there == "reserve" and other.reserve_opened is not None:
            where = "" if other.id == version.id else f" in version {other.number}"
            raise Conflict("reserve_opened", f"The reserve was opened already{where}.", _advice(other, other.id == version.id))
    version.reserve_opened = {"by": person.name, "reason": reason.strip(), "at": int(session.scalar(select(db_now())) or 0)}
    session.flush()


def _advice(opened: DatasetVersion, here: bool) -> str:
    said: dict[str, Any] = opened.reserve_opened or {}
    return f"It said: {said['reason']}" + ("" if here else f" Score version {opened.number}, where it is open: it is opened once, whatever changes beside it.")
