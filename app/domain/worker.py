"""Who is there to do work: one presence row for each worker and engine process."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Row, db_now, inserting

ALIVE_MS = 20_000
WEB = "web"
"""The queue under which web processes say that they are there: none, but the table has one."""
FORGET_MS = 7 * 86_400_000


class Worker(Row, Base):
    """A process that answers for a queue. `devices` says what it can run on, `versions` also how its clock goes, over how many `gpus` it may spread a job,
    which `room` it has on disk for jobs of each kind, the `disks` of its machine and what is `kept` there.
    """

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    queue: Mapped[str]
    devices: Mapped[list[Any]]
    versions: Mapped[dict[str, Any]]
    heartbeat_at: Mapped[int]

    @property
    def machine(self) -> str:
        """The name of the machine that it runs on."""
        return self.name.rpartition("/")[0].rpartition(":")[0] or self.name


class Lease(Base):
    """A named duty that one process at a time holds (the dispatcher)."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[int]


def present(session: Session, name: str, kind: str, queue: str, devices: list[dict[str, Any]], versions: dict[str, Any]) -> None:
    """Say that a process is alive; forget those that have been silent for a week."""
    insert = inserting(session, Worker)
    row = {"name": name, "kind": kind, "queue": queue, "devices": devices, "versions": versions, "heartbeat_at": db_now(), "created_at": db_now()}
    again = {"devices": devices, "versions": versions, "heartbeat_at": db_now()}
    session.execute(insert.values(row).on_conflict_do_update(index_elements=["name"], set_=again))
    session.execute(delete(Worker).where(Worker.heartbeat_at < db_now() - FORGET_MS))


def gone(session: Session, name: str) -> None:
    session.execute(delete(Worker).where(Worker.name == name))


def alive(session: Session, queue: str | None = None) -> Sequence[Worker]:
    """The processes that have answered within the last 20 seconds."""
    query = select(Worker).where(Worker.heartbeat_at > db_now() - ALIVE_MS).order_by(Worker.name)
    return session.scalars(query if queue is None else query.where(Worker.queue == queue)).all()


def gpus(rows: Sequence[Worker]) -> list[int]:
    """Over how many GPUs each of these may spread a job."""
    return [int(row.versions.get("gpus", any(device["name"].startswith("cuda") for device in row.devices))) for row in rows]


def most_room(rows: Sequence[Worker], kind: str) -> int | None:
    """The bytes that a job of this kind finds free at the one of these that has most; none when nobody says."""
    return max((int(row.versions["room"][kind]) for row in rows if kind in row.versions.get("room", ())), default=None)


def heard(session: Session, queue: str) -> int | None:
    """When somebody last answered for a queue; None when nobody has within a week."""
    return session.scalar(select(func.max(Worker.heartbeat_at)).where(Worker.queue == queue))


def hold(session: Session, name: str, holder: str, seconds: int) -> bool:
    """Take or keep a duty; False while somebody else holds it."""
    insert = inserting(session, Lease)
    until = db_now() + seconds * 1000
    query = insert.values(name=name, holder=holder, until=until).on_conflict_do_update(
        index_elements=["name"], set_={"holder": holder, "until": until}, where=(Lease.holder == holder) | (Lease.until < db_now())
    )
    return session.execute(query.returning(Lease.holder)).scalar_one_or_none() == holder
