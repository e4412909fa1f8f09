"""People, their sessions, API tokens and invitations. Secrets are stored as hashes only."""

import hashlib
import secrets

from sqlalchemy import ForeignKey, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Owned, Row, db_now
from app.errors import Conflict, Invalid

SESSION_DAYS = 30
INVITE_HOURS = 48
DAY = 86_400_000


def hashed(secret: str) -> str:
    """The form in which a random secret is stored: enough, because the secrets are 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Workspace(Row, Base):
    """The circle of people who share prompts, datasets, models and jobs."""

    __tablename__ = "workspace"

    name: Mapped[str]


class User(Row, Base):
    """A person who can sign in. The password is an argon2 hash."""

    __tablename__ = "user"

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"), index=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    disabled_at: Mapped[int | None]
    seen_at: Mapped[int | None]


class SignIn(Row, Base):
    """One browser's session."""

    __tablename__ = "sign_in"

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[int]


class Token(Owned, Base):
    """An API token. `hint` is its first characters, to tell tokens apart."""

    __tablename__ = "token"

    name: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    used_at: Mapped[int | None]


class Invite(Row, Base):
    """A one-time link that makes an account. The first one comes from the installation itself."""

    __tablename__ = "invite"

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    expires_at: Mapped[int]
    used_at: Mapped[int | None]


def the_workspace(session: Session) -> Workspace:
    """The installation's first workspace, made when there is none."""
    workspace = session.scalars(select(Workspace).order_by(Workspace.id).limit(1)).first()
    if workspace is None:
        workspace = Workspace(name="Workspace")
        session.add(workspace)
        session.flush()
    return workspace


def invite(session: Session, role: str = "member") -> str:
    """A new invitation; returns its secret, which is not stored."""
    secret = secrets.token_urlsafe(32)
    row = Invite(workspace_id=the_workspace(session).id, token_hash=hashed(secret), role=role, expires_at=0)
    session.add(row)
    session.flush()
    session.execute(update(Invite).where(Invite.id == row.id).values(expires_at=db_now() + INVITE_HOURS * 3_600_000))
    return secret


def open_invite(session: Session, secret: str) -> Invite | None:
    """The invitation of this secret while it is neither used nor expired."""
    query = select(Invite).where(Invite.token_hash == hashed(secret), Invite.used_at.is_(None), Invite.expires_at > db_now())
    return session.scalars(query).first()


def accept(session: Session, secret: str, name: str, password_hash: str) -> User:
    """Make the account that an invitation stands for. Raises Invalid for a dead link, Conflict for a name taken."""
    query = update(Invite).where(Invite.token_hash == hashed(secret), Invite.used_at.is_(None), Invite.expires_at > db_now())
    row = session.execute(query.values(used_at=db_now()).returning(Invite.workspace_id, Invite.role)).first()
    if row is None:
        raise Invalid("dead_link", "This sign-in link was used already or has expired.", "Ask for a new one: `fettle user invite` prints it.")
    if session.scalars(select(User).where(User.name == name)).first() is not None:
        raise Conflict("name_taken", f"There is already an account named {name}.", "Choose another name.")
    user = User(workspace_id=row.workspace_id, name=name, password_hash=password_hash, role=row.role, disabled_at=None, seen_at=None)
    session.add(user)
    session.flush()
    return user


def start_session(session: Session, user: User) -> str:
    """Sign a browser in; returns the cookie's secret. Every sign-in gets a new one."""
    secret = secrets.token_urlsafe(32)
    row = SignIn(user_id=user.id, token_hash=hashed(secret), expires_at=0)
    session.add(row)
    session.flush()
    session.execute(update(SignIn).where(SignIn.id == row.id).values(expires_at=db_now() + SESSION_DAYS * DAY))
    return secret


def signed_in(session: Session, secret: str) -> User | None:
    """The person behind a session cookie."""
    query = select(User).join(SignIn, SignIn.user_id == User.id)
    return session.scalars(query.where(SignIn.token_hash == hashed(secret), SignIn.expires_at > db_now(), User.disabled_at.is_(None))).first()


def new_token(session: Session, user: User, name: str) -> tuple[Token, str]:
    """A new API token and its secret, which is shown once."""
    secret = "fettle_" + secrets.token_urlsafe(32)
    token = Token(workspace_id=user.workspace_id, author_id=user.id, name=name, token_hash=hashed(secret), hint=secret[:12], used_at=None)
    session.add(token)
    session.flush()
    return token, secret


def token_owner(session: Session, secret: str) -> User | None:
    """The person behind an API token."""
    query = select(User).join(Token, Token.author_id == User.id)
    return session.scalars(query.where(Token.token_hash == hashed(secret), User.disabled_at.is_(None))).first()
