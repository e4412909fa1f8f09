"""Drafts: kept on the server as somebody types, so that another tab, another machine or a crash finds them."""

from typing import Any

from app.db import reading, transaction
from app.domain import draft as drafts
from app.domain.access import Who
from app.domain.draft import Draft
from app.errors import Forbidden


def find(person: Who, key: str | None = None) -> Draft | None:
    """The draft with this key; without one, the draft that was saved last."""
    with reading() as session:
        return drafts.of(session, person, key)


def save(person: Who, key: str, revision: int, state: dict[str, Any], account: int | None = None) -> Draft:
    """The next revision of a draft. Raises Conflict with the newer one when `revision` is not the newest any more, Forbidden when it was written by somebody
    who is not signed in any more: `account` is whose page it comes from."""
    if account not in (None, person.user_id):
        raise Forbidden("somebody_else", "This page was opened by another account, so its draft is not kept as yours.", "Open the Lab anew.")
    with transaction() as session:
        return drafts.save(session, person, key, revision, state)


def remove(person: Who, key: str) -> None:
    """Away with it: it was saved as a version, or nobody wants it. One that is gone already is no error."""
    with transaction() as session:
        row = drafts.of(session, person, key)
        if row is not None:
            session.delete(row)
