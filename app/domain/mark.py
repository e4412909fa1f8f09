"""Marks: what a person thinks of one answer in the Lab, a thumb and a note. (A verdict is computed; this is not.)"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, visible
from app.domain.base import Base, Owned
from app.domain.prompt import content_hash

THUMBS = ("up", "down", "")


class Mark(Owned, Base):
    """One person's opinion of one answer. `prompt` are the fields it was written from, parameters included, and `prompt_hash` finds the
    version that says the same. `key` names the answer: the same text from the same model, prompt and variables is the same answer."""

    __tablename__ = "mark"
    __table_args__ = (UniqueConstraint("author_id", "key"),)

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), index=True)
    prompt: Mapped[dict[str, Any]]
    prompt_hash: Mapped[str] = mapped_column(index=True)
    variables: Mapped[dict[str, Any]]
    text: Mapped[str] = mapped_column(Text)
    thumb: Mapped[str]
    note: Mapped[str] = mapped_column(Text)
    key: Mapped[str]


def key_of(model_id: int, prompt_hash: str, variables: Mapping[str, str], text: str) -> str:
    return hashlib.sha256(json.dumps([model_id, prompt_hash, dict(variables), text], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def given(session: Session, person: Who, keys: Collection[str]) -> dict[str, Mark]:
    """A person's own marks on these answers, by their keys."""
    rows = session.scalars(visible(person, Mark).where(Mark.author_id == person.user_id, Mark.key.in_(keys)))
    return {row.key: row for row in rows}


def put(session: Session, person: Who, model_id: int, prompt: Mapping[str, Any], variables: Mapping[str, str], text: str, thumb: str, note: str) -> Mark | None:
    """Say or change what one thinks of an answer. Neither thumb nor note: the mark is taken back, and there is none."""
    digest = content_hash(prompt)
    key = key_of(model_id, digest, variables, text)
    row = session.scalars(visible(person, Mark).where(Mark.author_id == person.user_id, Mark.key == key)).first()
    if not thumb and not note.strip():
        if row is not None:
            session.delete(row)
        return None
    if row is None:
        about = {"model_id": model_id, "prompt": dict(prompt), "prompt_hash": digest, "variables": dict(variables), "text": text, "key": key}
        row = Mark(**owned(person), **about, thumb=thumb, note=note.strip())
        session.add(row)
    row.thumb, row.note = thumb, note.strip()
    session.flush()
    return row
