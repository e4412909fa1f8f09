"""Queues: where jobs wait. A queue that somebody paused hands out none of its workspace's jobs; what runs goes on."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, db_now, inserting
from app.domain.user import User

QUEUES = ("gpu", "light")
"""Work on this installation's devices, and work that only asks endpoints."""


class Queue(Base):
    """One queue of one workspace, once somebody has paused it or moved a job in it. `author_id` is who paused it."""

    __tablename__ = "queue"

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[int | None]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))


def unpaused(workspace: Any, name: Any) -> ColumnElement[bool]:
    """The condition that a queue is not paused; for columns of the rows that wait in it."""
    return ~exists().where(Queue.workspace_id == workspace, Queue.name == name, Queue.paused_at.is_not(None))


def pause(session: Session, workspace_id: int, name: str, author_id: int | None) -> None:
    """Hand out nothing more. One that is paused already keeps when and by whom."""
    row = held(session, workspace_id, name)
    if row.paused_at is None:
        row.paused_at, row.author_id = session.execute(select(db_now())).scalar_one(), author_id


def resume(session: Session, workspace_id: int, name: str) -> None:
    row = held(session, workspace_id, name)
    row.paused_at, row.author_id = None, None


def held(session: Session, workspace_id: int, name: str) -> Queue:
    """The queue's row, which nobody else changes before this transaction ends: whoever reorders a queue waits here for the others."""
    insert = inserting(session, Queue)
    row = {"workspace_id": workspace_id, "name": name, "paused_at": None, "author_id": None}
    session.execute(insert.values(row).on_conflict_do_update(index_elements=["workspace_id", "name"], set_={"name": name}))
    return session.get_one(Queue, (workspace_id, name), populate_existing=True)


def paused(session: Session, workspace_id: int) -> Sequence[tuple[Queue, str | None]]:
    """The paused queues, each with the name of who paused it."""
    query = select(Queue, User.name).outerjoin(User, User.id == Queue.author_id).where(Queue.workspace_id == workspace_id, Queue.paused_at.is_not(None))
    return [(queue, name) for queue, name in session.execute(query)]
