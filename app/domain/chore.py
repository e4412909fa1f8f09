"""Chores: what is worked out about a sealed version in the background, each with its own progress. One that was cut off goes on."""

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Json, Row, db_now, inserting

KINDS = ("search", "near_duplicates", "lengths", "health")

OF_EACH = KINDS[:3]
"""What is worked out about every version; its health once somebody asks for it."""

LEASE_MS = 12_000
MAX_ATTEMPTS = 5


class Chore(Row, Base):
    """`done` of `total` rows. `result` is what was found out, and while it runs whatever is needed to go on."""

    __tablename__ = "chore"
    __table_args__ = (UniqueConstraint("version_id", "kind"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id", ondelete="CASCADE"))
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    lease_token: Mapped[str | None]
    lease_until: Mapped[int | None]

    @property
    def fraction(self) -> float:
        return 1.0 if self.state == "done" else self.done / self.total if self.total else 0.0


class Dropped(Exception):
    """The chore, or its version, was taken away."""


def add(session: Session, version_id: int, total: int, kinds: Iterable[str] = OF_EACH) -> None:
    """What there is to do about a new version."""
    session.add_all([Chore(version_id=version_id, kind=kind, total=total) for kind in kinds])


def of(session: Session, version_id: int) -> dict[str, Chore]:
    """A version's chores by kind."""
    return {chore.kind: chore for chore in session.scalars(select(Chore).where(Chore.version_id == version_id).order_by(Chore.id))}


def find(session: Session, version_id: int, kind: str) -> Chore | None:
    return session.scalars(select(Chore).where(Chore.version_id == version_id, Chore.kind == kind)).first()


def waiting(session: Session, kinds: Iterable[str] = KINDS) -> int | None:
    """The oldest chore that nobody works on; those whose worker fell silent count."""
    cut_off = (Chore.state == "running") & (Chore.lease_until < db_now())
    return session.scalar(select(Chore.id).where((Chore.state == "waiting") | cut_off, Chore.kind.in_(kinds)).order_by(Chore.id).limit(1))


def claim(session: Session, key: int) -> tuple[Chore, str] | None:
    """Take a chore; None when somebody else has it. One that was cut off too often is given up."""
    token = secrets.token_hex(16)
    free = (Chore.state == "waiting") | ((Chore.state == "running") & (Chore.lease_until < db_now()))
    values = {"state": "running", "attempt": Chore.attempt + 1, "lease_token": token, "lease_until": db_now() + LEASE_MS}
    taken = session.execute(
        update(Chore).where(Chore.id == key, free).values(**values).returning(Chore.id), execution_options={"synchronize_session": False}
    ).first()
    if taken is None:
        return None
    chore = session.get_one(Chore, key, populate_existing=True)
    if chore.attempt > MAX_ATTEMPTS:
        error = {"code": "cut_off", "message": f"It was cut off {MAX_ATTEMPTS} times.", "advice": "Ask for it again; the web process's log says more."}
        hold(session, key, token, state="failed", error=error)
        return None
    return chore, token


def hold(session: Session, key: int, token: str, **values: Any) -> None:
    """Write down how far it is, and keep it. Raises Dropped."""
    query = update(Chore).where(Chore.id == key, Chore.lease_token == token, Chore.state == "running")
    found = session.execute(
        query.values(lease_until=db_now() + LEASE_MS, **values).returning(Chore.id), execution_options={"synchronize_session": False}
    ).first()
    if found is None:
        raise Dropped


def again(session: Session, version_id: int, kind: str, total: int, result: dict[str, Any]) -> None:
    """Begin a version's chore anew, or for the first time."""
    values = {"state": "waiting", "done": 0, "total": total, "attempt": 0, "result": result, "error": None, "lease_token": None}
    query = update(Chore).where(Chore.version_id == version_id, Chore.kind == kind).values(**values).returning(Chore.id)
    if session.execute(query, execution_options={"synchronize_session": False}).first() is None:
        insert = inserting(session, Chore).values(version_id=version_id, kind=kind, total=total, result=result)
        session.execute(insert.on_conflict_do_nothing(index_elements=["version_id", "kind"]))  # somebody else may have begun it by now


class NearDuplicate(Base):
    """A row that says nearly the same as another one of its version. Rows of one `group` belong together; it is the position of the first."""

    __tablename__ = "near_duplicate"

    version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    group: Mapped[int]
