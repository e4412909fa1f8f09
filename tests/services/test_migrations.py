"""The migrations lead to exactly the tables that the code declares, on both databases, and only once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from app.db import engine, make_engine
from app.domain.tables import Base
from app.errors import Conflict
from app.migrate import SCRIPTS, current, migrate, newest

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Engine = request.getfixturevalue("postgresql_server")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE fettle_empty"))
        yield server.url.set(database="fettle_empty").render_as_string(hide_password=False)
        connection.execute(text("DROP DATABASE fettle_empty WITH (FORCE)"))


def test_the_migrated_schema_is_the_declared_one(database: str) -> None:
    with engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_revisions_are_one_dated_line() -> None:
    revisions = list(ScriptDirectory(str(SCRIPTS)).walk_revisions())
    assert len([revision for revision in revisions if revision.is_head]) == 1
    assert all(Path(revision.path).name[:4].isdigit() for revision in revisions)


def test_migrating_again_changes_nothing(database: str) -> None:
    assert current() == newest()
    migrate()
    assert current() == newest()


def test_two_processes_that_migrate_at_once_agree(empty: str) -> None:
    binds = [make_engine(empty) for _ in range(3)]
    assert current(binds[0]) is None
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, binds))
    assert current(binds[0]) == newest()
    for bind in binds:
        bind.dispose()


def test_foreign_keys_are_checked_after_a_migration(tmp_path: Path) -> None:
    bind = make_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    migrate(bind)
    with bind.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    bind.dispose()


def test_a_database_of_a_newer_version_is_left_alone(database: str) -> None:
    with engine().begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    with pytest.raises(Conflict, match="from the future"):
        migrate()
