"""Webhooks: where a workspace wants to be told how its jobs ended, and every message on its way there.

A message is a row, written in the transaction that ends the job; it is sent after that has committed, again and again until the other side takes it or
the pauses are used up. Bodies and signatures follow <https://www.standardwebhooks.com>.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Owned, Row, db_now
from app.domain.job import Job
from app.domain.sealing import seal, unseal

PREFIX = "whsec_"
KINDS = {"succeeded": "job.succeeded", "failed": "job.failed"}
"""The message of each end of a job; a job that a person cancelled tells nobody."""

TEST = "webhook.test"
PAUSES = (5, 60, 300, 1800, 7200, 18_000, 36_000)
"""Seconds before the second try, the third, and so on: eight tries within 18 hours."""


class Webhook(Owned, Base):
    """A workspace's one address. `origin` is its scheme, host and port: what the secret is sealed for."""

    __tablename__ = "webhook"
    __table_args__ = (UniqueConstraint("workspace_id"),)

    url: Mapped[str]
    origin: Mapped[str]
    sealed_secret: Mapped[str]

    def secret(self, key: bytes) -> str:
        """The signing secret in the clear. Raises Conflict when it cannot be read any more."""
        return unseal(self.sealed_secret, key, self.origin)


class Delivery(Row, Base):
    """One message: states waiting, sent and failed. `tries` were begun; the next is due at `next_at`. `answered` is the status of the last answer."""

    __tablename__ = "delivery"
    __table_args__ = (Index("ix_delivery_state_next_at", "state", "next_at"),)

    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="waiting")
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[int | None] = mapped_column(default=db_now())
    answered: Mapped[int | None]
    problem: Mapped[str | None]
    sent_at: Mapped[int | None]

    @property
    def name(self) -> str:
        """The message's id for the other side: the same at every try, so that a doubled one can be told."""
        return f"msg_{self.id}"


def fresh_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, name: str, second: int, body: bytes) -> str:
    """The signature header's value: HMAC-SHA256 over id, time in seconds since 1970 and body."""
    signed = f"{name}.{second}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(base64.b64decode(secret.removeprefix(PREFIX)), signed, hashlib.sha256).digest()).decode()


def sealed(secret: str, key: bytes, origin: str) -> str:
    return seal(secret, key, origin)


def of(session: Session, workspace_id: int) -> Webhook | None:
    return session.scalars(select(Webhook).where(Webhook.workspace_id == workspace_id)).first()


def tell(session: Session, job: Job) -> None:
    """Write down that a job has ended, for the workspace's webhook if it has one."""
    kind, hook = KINDS.get(job.state), of(session, job.workspace_id)
    if kind is None or hook is None:
        return
    names = ("id", "kind", "name", "state", "attempt", "error", "result", "created_at", "started_at", "finished_at")
    add(session, hook, kind, {name: getattr(job, name) for name in names}, job.id)


def add(session: Session, hook: Webhook, kind: str, data: dict[str, Any], job_id: int | None = None) -> Delivery:
    row = Delivery(webhook_id=hook.id, job_id=job_id, kind=kind, body=data, answered=None, problem=None, sent_at=None)
    session.add(row)
    session.flush()
    return row


def take(session: Session, seconds: int) -> tuple[Delivery, Webhook] | None:
    """The message that is due longest, begun: nobody else takes it for so many seconds, whatever becomes of this process. None when none is due."""
    due = select(Delivery.id).where(Delivery.state == "waiting", Delivery.next_at <= db_now()).order_by(Delivery.next_at, Delivery.id).limit(1)
    if session.get_bind().dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True)
    begun = {"tries": Delivery.tries + 1, "next_at": db_now() + seconds * 1000}
    query = update(Delivery).where(Delivery.id == due.scalar_subquery(), Delivery.state == "waiting", Delivery.next_at <= db_now()).values(begun)
    key = session.scalars(query.returning(Delivery.id), execution_options={"synchronize_session": False}).first()
    if key is None:
        return None
    row = session.get_one(Delivery, key, populate_existing=True)
    return row, session.get_one(Webhook, row.webhook_id)


def note(session: Session, row: Delivery, answered: int | None, problem: str | None) -> None:
    """What became of a try: no problem means that it is sent, else the next try is set, or there is none left."""
    ours = update(Delivery).where(Delivery.id == row.id, Delivery.state == "waiting", Delivery.tries == row.tries)
    if problem is None:
        found: dict[str, Any] = {"state": "sent", "next_at": None, "sent_at": db_now()}
    elif row.tries > len(PAUSES):
        found = {"state": "failed", "next_at": None}
    else:
        found = {"next_at": db_now() + PAUSES[row.tries - 1] * 1000}
    session.execute(ours.values(answered=answered, problem=problem, **found), execution_options={"synchronize_session": False})


def recent(session: Session, hook: Webhook, limit: int = 10) -> Sequence[Delivery]:
    return session.scalars(select(Delivery).where(Delivery.webhook_id == hook.id).order_by(Delivery.id.desc()).limit(limit)).all()


def unsent(session: Session, hook: Webhook) -> int:
    return session.scalar(select(func.count()).where(Delivery.webhook_id == hook.id, Delivery.state == "waiting")) or 0


def forget_told(session: Session, before_ms: int, most: int) -> int:
    """Delete up to `most` messages from before a moment that are not to be sent any more; returns how many."""
    some = select(Delivery.id).where(Delivery.created_at < before_ms, Delivery.state != "waiting").limit(most)
    done = session.execute(delete(Delivery).where(Delivery.id.in_(some)), execution_options={"synchronize_session": False})
    return int(done.rowcount)  # type: ignore[attr-defined]
