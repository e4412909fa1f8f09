"""The database: engine, `transaction()`, the database's clock. The only file that commits.

SQLite runs in WAL mode and takes its write lock at BEGIN: deferred transactions lose updates or fail with "database is
locked" as soon as two processes write (measured; docs/decisions/0003). Reading pages ask for `readonly`, which never locks.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.domain import tables  # noqa: F401 a session needs all tables, or foreign keys cannot be resolved
from app.domain.base import clock
from app.settings import settings

# An import changes pages all over the index by content: the log is put back every 32 MB instead of every 4, when many of them have changed again.
_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=15000", "wal_autocheckpoint=8000")

# A server that cannot be reached is an error within seconds, also when a network drops what is sent to it: else a write waits for the system's own patience,
# a quarter of an hour and more. A query that takes long on a server that lives is none of that. What the address says itself counts.
_POSTGRESQL_WAITS = {"connect_timeout": 5, "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}


def _json(value: Any) -> str:
    """JSON is written while SQLite's lock is held: several times as fast as by the standard library, for the ids of very many rows."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value)


class _Forks:
    """No process is forked while one of its threads uses a connection to SQLite.

    SQLite keeps in memory which locks a process holds, and a fork copies that: the new process would take a write of a thread that it does not have for one of its
    own, and find the database locked for ever (https://www.sqlite.org/howtocorrupt.html, section 2.6).
    """

    PATIENCE = 5.0
    """Seconds. Whoever forks while it uses a connection itself would wait for itself."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Also in a new process, whose only thread is the one that forked."""
        self._still, self._used = threading.Condition(), 0

    def taken(self, *_: Any) -> None:
        with self._still:
            self._used += 1

    def given_back(self, *_: Any) -> None:
        with self._still:
            self._used = max(0, self._used - 1)  # a connection of the process this one was forked from may be given back here
            self._still.notify_all()

    def before(self) -> None:
        self._still.acquire()
        self._still.wait_for(lambda: not self._used, self.PATIENCE)

    def after(self) -> None:
        self._still.release()


_forks = _Forks()
os.register_at_fork(before=_forks.before, after_in_parent=_forks.after, after_in_child=_forks.begin_anew)


def make_engine(url: str) -> Engine:
    """An engine with this installation's transaction rules on SQLite or PostgreSQL."""
    if not url.startswith("sqlite"):
        waits = {name: value for name, value in _POSTGRESQL_WAITS.items() if name not in make_url(url).query}
        return create_engine(url, json_serializer=_json, connect_args=waits, pool_pre_ping=True, pool_size=20, max_overflow=20, hide_parameters=True)
    engine = create_engine(url, json_serializer=_json, connect_args={"timeout": 15}, pool_size=20, max_overflow=40, hide_parameters=True)

    event.listen(engine, "checkout", _forks.taken)
    event.listen(engine, "checkin", _forks.given_back)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        readonly = bool(connection.get_execution_options().get("readonly"))
        if connection.info.get("query_only", False) != readonly:
            connection.connection.execute(f"PRAGMA query_only = {readonly:d}")
            connection.info["query_only"] = readonly
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


@lru_cache
def engine() -> Engine:
    if settings().database.startswith("sqlite"):
        settings().folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return make_engine(settings().database)


@contextmanager
def transaction(bind: Engine | None = None) -> Iterator[Session]:
    """One unit of work: committed when the block ends well, rolled back when it raises."""
    session = sessionmaker(bind or engine(), expire_on_commit=False)()
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.close()


@contextmanager
def reading(bind: Engine | None = None) -> Iterator[Session]:
    """A session for pages that only look: the database refuses to write in it. On SQLite it takes no write lock."""
    session = sessionmaker((bind or engine()).execution_options(readonly=True, postgresql_readonly=True), expire_on_commit=False)()
    try:
        yield session
    finally:
        session.close()  # not rollback(): that would expire the rows a page is about to show


def now(session: Session) -> int:
    """Milliseconds since 1970 on the database's clock, so that machines with wrong clocks agree about leases."""
    return int(session.execute(text(f"SELECT {clock(session.get_bind().dialect.name)}")).scalar_one())
