"""Tokens with which another machine joins, and what it said of itself. A token works once, for an hour, and is stored as a hash."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import ForeignKey, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Row, db_now
from app.domain.user import hashed
from app.errors import Forbidden

TOKEN_MINUTES = 60
SHOWN = 5
SKEW_MS = 2_000
"""A difference of clocks from which on log lines of two machines no longer line up. Leases do not care: they go by the database's clock."""


LIBRARIES = ("torch", "transformers", "peft")
"""What computes: a job's losses, and what can be read of another machine's checkpoint, follow from their versions."""


class JoinToken(Row, Base):
    """`report` is what the machine that used it said of itself; `refusal` why it may not work here."""

    __tablename__ = "join_token"

    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[int]
    used_at: Mapped[int | None]
    report: Mapped[dict[str, Any] | None]
    refusal: Mapped[str | None]


def make(session: Session, author_id: int | None) -> str:
    """A new token; this is the only time it is known."""
    secret = secrets.token_urlsafe(24)
    session.add(JoinToken(author_id=author_id, token_hash=hashed(secret), expires_at=db_now() + TOKEN_MINUTES * 60_000, used_at=None, refusal=None))
    return secret


def use(session: Session, secret: str, report: Mapping[str, Any], refusal: str | None) -> None:
    """Spend a token. One that was refused may be tried again: nothing was given away. Raises Forbidden for one that is unknown, spent or old."""
    query = update(JoinToken).where(JoinToken.token_hash == hashed(secret), JoinToken.used_at.is_(None), JoinToken.expires_at > db_now())
    query = query.values(used_at=None if refusal else db_now(), report=dict(report), refusal=refusal).returning(JoinToken.id)
    if session.execute(query, execution_options={"synchronize_session": False}).first() is None:
        raise Forbidden("join_token", "This token is unknown, was used before, or is older than an hour.", "Make a new one on the page “Add a machine”.")


def reports(session: Session) -> list[JoinToken]:
    """What machines said that joined or tried to within the last day, newest first."""
    query = select(JoinToken).where(JoinToken.report.is_not(None), JoinToken.created_at > db_now() - 86_400_000)
    return list(session.scalars(query.order_by(JoinToken.id.desc()).limit(20)))


def installed() -> dict[str, str]:
    """Versions of what computes on this machine, without loading any of it; what is not installed is left out."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def differences(theirs: Mapping[str, Any], ours: Mapping[str, str]) -> list[str]:
    """What another machine computes with that is not as here, in sentences. Its build (2.13.0+cu130) and its last number are its own affair."""
    unlike = [name for name in LIBRARIES if name in theirs and name in ours and _series(str(theirs[name])) != _series(ours[name])]
    if not unlike:
        return []
    here, there = (", ".join(f"{name} {versions[name]}" for name in unlike) for versions in (ours, theirs))
    wanted = ", ".join(f"{name} {_plain(ours[name])}" for name in unlike)
    return [f"It computes with {there}, and this server has {here}: the same job may come out otherwise there, or not go on from a checkpoint made elsewhere. Install {wanted} there, in the build for its devices."]  # fmt: skip


def _plain(version: str) -> str:
    """Without its build: 2.13.0 of 2.13.0+cpu, which is this server's and no GPU's."""
    return version.partition("+")[0]


def _series(version: str) -> list[str]:
    return _plain(version).split(".")[:2]


def clock_trouble(ahead_ms: int) -> list[str]:
    """That a machine's clock is off by so much that it is worth a sentence."""
    if abs(ahead_ms) <= SKEW_MS:
        return []
    return [f"Its clock is {abs(ahead_ms) / 1000:.1f} s {'ahead' if ahead_ms > 0 else 'behind'}. Jobs do not mind, but its log lines will not line up."]
