"""Aliases of prompts: a name such as `production` that stands for one version, and every move of it."""

import re

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned
from app.domain.base import Base, Owned
from app.errors import Invalid, NotFound

PRODUCTION = "production"
"""The alias that everybody means when a program should ask for what was tested."""

NAME = r"[a-z][a-z0-9_-]{0,39}"
TAKEN = ("latest", "newest")
"""Words that would mean something else: an id without a number is the newest version."""


class PromptAlias(Owned, Base):
    """Which version of a prompt a name stands for; whoever moved it last is its author."""

    __tablename__ = "prompt_alias"
    __table_args__ = (UniqueConstraint("prompt_id", "name"),)

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id", ondelete="CASCADE"))
    name: Mapped[str]
    number: Mapped[int]


class AliasMove(Owned, Base):
    """One move of an alias: from version `before` (none: it was new) to version `after` (none: it was taken off)."""

    __tablename__ = "alias_move"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    before: Mapped[int | None]
    after: Mapped[int | None]


def named(session: Session, prompt_id: int, name: str) -> PromptAlias | None:
    return session.scalars(select(PromptAlias).where(PromptAlias.prompt_id == prompt_id, PromptAlias.name == name)).first()


def move(session: Session, person: Who, prompt_id: int, name: str, number: int) -> None:
    """Let a name stand for this version, on the record. Staying where it is, is no move. Raises Invalid for a name that cannot be."""
    if not re.fullmatch(NAME, name) or name in TAKEN:
        why = "means the newest version already" if name in TAKEN else "cannot be an alias"
        advice = "Use small letters, digits, - and _, a letter first, at most 40: production, staging, v2-trial."
        raise Invalid("bad_alias", f"“{name}” {why}.", advice, detail={"field": "alias"})
    row = named(session, prompt_id, name)
    before = row.number if row else None
    if before == number:
        return
    if row is None:
        session.add(PromptAlias(**owned(person), prompt_id=prompt_id, name=name, number=number))
    else:
        row.number, row.author_id = number, person.user_id
    session.add(AliasMove(**owned(person), prompt_id=prompt_id, name=name, before=before, after=number))
    session.flush()


def take_off(session: Session, person: Who, prompt_id: int, name: str) -> None:
    """Remove a name, on the record. Raises NotFound."""
    row = named(session, prompt_id, name)
    if row is None:
        raise NotFound("alias", name)
    session.delete(row)
    session.add(AliasMove(**owned(person), prompt_id=prompt_id, name=name, before=row.number, after=None))
    session.flush()
