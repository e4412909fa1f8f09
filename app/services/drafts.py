"""Drafts: kept on the server as somebody types, so that another tab, another machine or a crash finds them."""

from typing import Any

from app.db import reading, transaction
from app.domain import draft as drafts
from app.domain.access import Who
from app.domain.draft import Draft


def find(person: Who, key: str | None = None) -> Draft | None:
    """The draft with this key; without one, the draft that was saved last."""
    with reading() as session:
        return drafts.of(session, person, key)


def save(person: Who, key: str, revision: int, state: dict[str, Any]) -> Draft:
    """The next revision of a draft. Raises Conflict with the newer one when `revision` is not the newest any more."""
    with transaction() as session:
        return drafts.save(session, person, key, revision, state)


def remove(person: Who, key: str) -> None:
    """Away with it: it was saved as a version, or nobody wants it. One that is gone already is no error."""
    with transaction() as session:
        row = drafts.of(session, person, key)
        if row is not None:
            session.delete(row)
