"""Brings a database to the newest revision in `migrations/`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from app.db import engine
from app.errors import Conflict

SCRIPTS = Path(__file__).parents[1] / "migrations"
_LOCK = 0x466574746C65  # "Fettle": one migration at a time on a PostgreSQL server's database


def newest() -> str | None:
    """The revision that this code wants."""
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


def current(bind: Engine | None = None) -> str | None:
    """The revision that the database has; None for an empty one."""
    with (bind or engine()).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def refuse_unknown(bind: Engine | None = None) -> None:
    """Raises Conflict unless the database has the schema that this code was written for: a worker of another version would write what nobody can read."""
    if (found := current(bind)) != newest():
        raise Conflict(
            "other_schema",
            f"The database is at revision {found or 'none'}, and this version of Fettle works with {newest()}.",
            "Run `fettle migrate` if this is the newer version, else update Fettle on this machine; then start again.",
        )


def migrate(bind: Engine | None = None) -> None:
    """Upgrade to the newest revision, in one transaction and under a lock: whoever comes second finds nothing to do.

    Raises Conflict when the database is ahead of this code.
    """
    known = {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}
    if (found := current(bind)) is not None and found not in known:
        raise Conflict(
            "newer_database", f"The database is at revision {found}, which this version of Fettle does not know.", "Update Fettle, or restore a backup."
        )
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with (bind or engine()).connect() as connection:
        _allow_rebuilding(connection)
        with connection.begin():  # on SQLite this takes the write lock
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        connection.invalidate()  # its foreign keys are off on SQLite: nobody else may get it from the pool


def _allow_rebuilding(connection: Connection) -> None:
    """Alembic changes a SQLite table by copying and dropping it, and the drop would cascade to the rows that refer to it.

    The pragma that prevents this works outside transactions only, hence the driver's own connection.
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver is not None:
        driver.execute("PRAGMA foreign_keys=OFF")
