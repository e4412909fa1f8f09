"""Drafts: what stands in somebody's editor before it is saved as a prompt version, one for each person and prompt."""

from typing import Any

from sqlalchemy import UniqueConstraint, delete, select
from sqlalchemy.orm import Mapped, Session

from app.domain.access import Who, owned
from app.domain.base import Base, Owned, db_now
from app.domain.user import User
from app.errors import Conflict

KEPT = 50
"""Drafts kept for a person; the one that was left alone longest goes first."""


class Draft(Owned, Base):
    """`key` is the prompt's id, or a word of the browser's own for a prompt that was never saved. `state` is the editor's."""

    __tablename__ = "draft"
    __table_args__ = (UniqueConstraint("author_id", "key"),)

    key: Mapped[str]
    revision: Mapped[int]
    state: Mapped[dict[str, Any]]
    saved_at: Mapped[int]


def of(session: Session, person: Who, key: str | None = None) -> Draft | None:
    """A person's draft by its key; without one, the draft that was saved last."""
    query = select(Draft).where(Draft.author_id == person.user_id)
    query = query.where(Draft.key == key) if key is not None else query.order_by(Draft.saved_at.desc(), Draft.id.desc())
    return session.scalars(query.limit(1)).first()


def save(session: Session, person: Who, key: str, revision: int, state: dict[str, Any]) -> Draft:
    """Save over revision `revision` (0: nothing was there). Raises Conflict with the newer draft when somebody saved in between.

    What stands there already is no change, and stays the revision it was: a page that is loaded anew sends what it found.
    """
    # One save of a person after the other, also where two are new. (SQLite has one writer anyway.)
    session.execute(select(User.id).where(User.id == person.user_id).with_for_update())
    row = of(session, person, key)
    if row is not None and row.state == state:
        row.saved_at = db_now()
        session.flush()
        return row
    if row is not None and row.revision != revision:
        detail = {"state": row.state, "revision": row.revision, "saved_at": row.saved_at}
        raise Conflict("newer_draft", "This draft was changed in another tab or browser.", "Keep yours or take the other one.", detail=detail)
    if row is None:
        row = Draft(**owned(person), key=key, revision=revision, state=state, saved_at=db_now())
        session.add(row)
    row.revision, row.state = revision + 1, state
    row.saved_at = db_now()
    session.flush()
    _trim(session, person)
    return row


def _trim(session: Session, person: Who) -> None:
    kept = select(Draft.id).where(Draft.author_id == person.user_id).order_by(Draft.saved_at.desc(), Draft.id.desc()).limit(KEPT)
    session.execute(delete(Draft).where(Draft.author_id == person.user_id, Draft.id.not_in(list(session.scalars(kept)))))
