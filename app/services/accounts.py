"""Sign-in, invitations, API tokens."""

from contextlib import suppress
from functools import lru_cache

from pwdlib import PasswordHash
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import OperationalError

from app.db import reading, transaction
from app.domain import user as users
from app.domain.access import Who, may_administer, who
from app.domain.base import db_now
from app.domain.user import SignIn, Token, User
from app.errors import Invalid, SignInNeeded

SHORTEST_PASSWORD = 10
NOTE_MS = 60_000


@lru_cache
def _argon2() -> PasswordHash:
    return PasswordHash.recommended()


def has_accounts() -> bool:
    with reading() as session:
        return bool(session.scalar(select(func.count()).select_from(User)))


def invitation(secret: str) -> bool:
    """Is this one-time link still good?"""
    with reading() as session:
        return users.open_invite(session, secret) is not None


def accept(secret: str, name: str, password: str) -> str:
    """Make the account behind a one-time link and sign it in; returns the cookie's secret."""
    name = name.strip()
    if not name:
        raise Invalid("no_name", "Choose a name.", "It is what others see beside your prompts and jobs.")
    if len(password) < SHORTEST_PASSWORD:
        raise Invalid("short_password", f"The password has {len(password)} characters.", f"Use at least {SHORTEST_PASSWORD}; three or four words are good.")
    digest = _argon2().hash(password) if invitation(secret) else ""  # hashing is costly, and free to ask for
    with transaction() as session:
        return users.start_session(session, users.accept(session, secret, name, digest))


def sign_in(name: str, password: str) -> str:
    """Check a password; returns the cookie's secret. Unknown names take as long as wrong passwords."""
    with reading() as session:
        user = session.scalars(select(User).where(User.name == name.strip(), User.disabled_at.is_(None))).first()
    digest = user.password_hash if user else _decoy()
    if not _argon2().verify(password, digest) or user is None:
        raise SignInNeeded("Name or password is wrong.", "Try again, or ask for a new link: `fettle user invite` prints one.")
    with transaction() as session:
        return users.start_session(session, user)


@lru_cache
def _decoy() -> str:
    return _argon2().hash("no account has this password")


def sign_out(secret: str) -> None:
    with transaction() as session:
        session.execute(delete(SignIn).where(SignIn.token_hash == users.hashed(secret)))


def by_cookie(secret: str) -> Who | None:
    with reading() as session:
        user = users.signed_in(session, secret)
        return who(user) if user else None


def by_token(secret: str) -> Who | None:
    """The owner of an API token. That it was used is noted once a minute, not at every request."""
    with reading() as session:
        user = users.token_owner(session, secret)
    if user is None:
        return None
    mine = Token.token_hash == users.hashed(secret)
    stale = or_(Token.used_at.is_(None), Token.used_at < db_now() - NOTE_MS)
    with reading() as session:
        due = session.scalar(select(func.count()).select_from(Token).where(mine, stale))
    if due:
        with transaction() as session:
            session.execute(update(Token).where(mine).values(used_at=db_now()))
    return who(user)


def invite(person: Who) -> str:
    """A one-time link's secret for the next person."""
    may_administer(person)
    with transaction() as session:
        return users.invite(session)


def tokens(person: Who) -> list[Token]:
    with reading() as session:
        return list(session.scalars(select(Token).where(Token.author_id == person.user_id).order_by(Token.id.desc())))


def create_token(person: Who, name: str) -> str:
    """A new API token; its secret is returned once and never again."""
    if not name.strip():
        raise Invalid("no_name", "A token needs a name.", "Name it after the program that will use it.")
    with transaction() as session:
        return users.new_token(session, session.get_one(User, person.user_id), name.strip())[1]


def revoke_token(person: Who, key: int) -> None:
    with transaction() as session:
        session.execute(delete(Token).where(Token.id == key, Token.author_id == person.user_id))


def seen(person: Who) -> int | None:
    """When this person last looked at the home page; now it is seen again. Where nothing can be written that is not kept: it is the page that says why."""
    with reading() as session:
        before = session.scalar(select(User.seen_at).where(User.id == person.user_id))
    with suppress(OperationalError), transaction() as session:
        session.execute(update(User).where(User.id == person.user_id).values(seen_at=db_now()))
    return before


def token_for(name: str, purpose: str) -> str:
    """A new API token for an account by its name; "" means the only account there is. Raises Invalid."""
    with reading() as session:
        users_there = session.scalars(select(User).where(User.disabled_at.is_(None)).order_by(User.id)).all()
    if not users_there:
        raise Invalid("no_account", "There is no account yet.", "Open the sign-in link that `fettle up` prints, or make one: `fettle user invite`.")
    chosen = [user for user in users_there if user.name == name] if name else users_there
    if len(chosen) != 1:
        names = ", ".join(user.name for user in users_there)
        raise Invalid("which_account", f"There is no account named {name}." if name else "There are several accounts.", f"Choose one with --user: {names}.")
    return create_token(who(chosen[0]), purpose)
