"""Who may read or write what. The one file that decides; pages, API and services ask here.

Today a workspace is one circle of trust: its members read and write what it owns. Teams and roles change these functions
and nothing else, because every owned row carries its workspace and author.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.domain.base import Owned
from app.domain.user import User, the_workspace
from app.errors import Forbidden, NotFound

T = TypeVar("T", bound=Owned)


@dataclass(frozen=True)
class Who:
    """The person a request acts for. `user_id` is None for the installation itself."""

    user_id: int | None
    workspace_id: int
    name: str
    role: str


def who(user: User) -> Who:
    return Who(user.id, user.workspace_id, user.name, user.role)


def installation(session: Session) -> Who:
    """The installation itself, for what comes with it: the starter model, the sample tasks. Such rows have no author."""
    return Who(None, the_workspace(session).id, "Fettle", "admin")


def may_read(person: Who, row: Owned) -> bool:
    return row.workspace_id == person.workspace_id


def may_write(person: Who, row: Owned) -> bool:
    return may_read(person, row)


def may_administer(person: Who) -> None:
    """Raises Forbidden for everyone but an administrator."""
    if person.role != "admin":
        raise Forbidden("admin_only", "Only an administrator may do this.", "Ask the person who set this installation up.")


def visible(person: Who, table: type[T]) -> Select[T]:
    """The rows of a noun that this person may read, newest first."""
    return select(table).where(table.workspace_id == person.workspace_id).order_by(table.id.desc())


def read(session: Session, person: Who, table: type[T], key: int, noun: str) -> T:
    """One row. A foreign row answers exactly like a missing one."""
    row = session.get(table, key)
    if row is None or not may_read(person, row):
        raise NotFound(noun, key)
    return row


def write(session: Session, person: Who, table: type[T], key: int, noun: str) -> T:
    """One row that is about to change."""
    row = read(session, person, table, key, noun)
    if not may_write(person, row):
        raise Forbidden("not_yours", f"You may read this {noun} but not change it.", "Ask its author.")
    return row


def mine(person: Who, table: type[T]) -> Select[T]:
    """The rows of a noun that this person made and nobody else reads, such as a notebook's; newest first."""
    return visible(person, table).where(table.author_id == person.user_id)


def own(session: Session, person: Who, table: type[T], key: int, noun: str) -> T:
    """One such row."""
    row = read(session, person, table, key, noun)
    if row.author_id != person.user_id:
        raise NotFound(noun, key)
    return row


def owned(person: Who) -> dict[str, Any]:
    """The owner's columns of a new row."""
    return {"workspace_id": person.workspace_id, "author_id": person.user_id}


def page(session: Session, query: Select[T], table: type[T], after: int | None, limit: int) -> tuple[Sequence[T], int | None]:
    """One page of a list, newest first, and the id to go on after."""
    if after is not None:
        query = query.where(table.id < after)
    rows = session.scalars(query.limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
