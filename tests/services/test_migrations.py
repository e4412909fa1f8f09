"""The migrations lead to exactly the tables that the code declares, on both databases, and only once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from app.db import engine, make_engine
from app.domain.base import Owned
from app.domain.tables import Base
from app.errors import Conflict
from app.migrate import SCRIPTS, _allow_rebuilding, current, migrate, newest

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
        keys = {name: inspect(connection).get_pk_constraint(name)["constrained_columns"] for name in Base.metadata.tables}
    assert keys == {name: [column.name for column in table.primary_key] for name, table in Base.metadata.tables.items()}, "Alembic compares no keys"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_person_made_keeps_its_number_on_sqlite_too(database: str) -> None:
    with engine().connect() as connection:
        counted = counting(connection)
    declared = {name for name, table in Base.metadata.tables.items() if table.dialect_options["sqlite"]["autoincrement"]}
    assert {mapper.local_table.description for mapper in Base.registry.mappers if issubclass(mapper.class_, Owned)} == declared
    assert counted == declared


@contextmanager
def without_references(bind: Engine) -> Iterator[Connection]:
    """A transaction in which rows may refer to nothing: what they refer to is not what is tried."""
    with bind.connect() as connection:
        _allow_rebuilding(connection)
        with connection.begin():
            yield connection


def at(bind: Engine, move: Callable[[Config, str], None], revision: str) -> None:
    """Upgrade or downgrade to a revision."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with without_references(bind) as connection:
        config.attributes["connection"] = connection
        move(config, revision)


def counting(connection: Connection) -> set[str]:
    """The tables that keep the numbers of what was deleted, on SQLite."""
    if connection.dialect.name != "sqlite":
        return set()
    return set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'")))


def shape(bind: Engine) -> dict[str, object]:
    """What there is of each table, in words that two looks have in common."""
    found: dict[str, object] = {}
    with bind.connect() as connection:
        seen, counted = inspect(connection), counting(connection)
        for name in seen.get_table_names():
            columns = {column["name"]: (str(column["type"]), column["nullable"]) for column in seen.get_columns(name)}
            indexes = sorted((str(index["name"]), index["column_names"]) for index in seen.get_indexes(name))
            keys = sorted((str(key["name"]), key["constrained_columns"], key["referred_table"]) for key in seen.get_foreign_keys(name))
            uniques = sorted((str(unique["name"]), unique["column_names"]) for unique in seen.get_unique_constraints(name))
            found[name] = (columns, indexes, keys, uniques, seen.get_pk_constraint(name)["constrained_columns"], name in counted)
    return found


FOR_SQLITE = {"5d2c80e7b93f"}
"""What PostgreSQL did already."""


def test_every_migration_can_be_taken_back(empty: str) -> None:
    bind = make_engine(empty)
    oldest, *later = reversed([revision.revision for revision in ScriptDirectory(str(SCRIPTS)).walk_revisions()])
    at(bind, command.upgrade, oldest)
    for before, revision in pairwise([oldest, *later]):
        stood = shape(bind)
        at(bind, command.upgrade, revision)
        grown = shape(bind)
        at(bind, command.downgrade, before)
        assert shape(bind) == stood, revision
        assert stood != grown or (revision in FOR_SQLITE and bind.dialect.name != "sqlite"), revision
        at(bind, command.upgrade, revision)
        assert shape(bind) == grown, revision
    bind.dispose()


def test_samples_from_before_searches_belong_to_no_trial(empty: str) -> None:
    bind = make_engine(empty)
    at(bind, command.upgrade, "7d30c9b1e4a2")
    with without_references(bind) as connection:
        if bind.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE sample DROP CONSTRAINT fk_sample_job_id_job"))
        connection.execute(text("INSERT INTO sample (job_id, step, row, input, gold, text, event) VALUES (1, 4, 3, 'in', 'gold', 'out', 9)"))
    at(bind, command.upgrade, "5c1e0b7a93d4")
    with without_references(bind) as connection:
        assert connection.execute(text("SELECT job_id, trial, step, row, text FROM sample")).all() == [(1, 0, 4, 3, "out")]
        connection.execute(text("INSERT INTO sample (job_id, trial, step, row, input, gold, text, event) VALUES (1, 2, 4, 3, 'in', 'gold', 'other', 9)"))
    at(bind, command.downgrade, "7d30c9b1e4a2")
    with without_references(bind) as connection:
        assert connection.execute(text("SELECT job_id, step, row, text FROM sample")).all() == [(1, 4, 3, "out")]
    bind.dispose()


def test_revisions_are_one_dated_line() -> None:
    revisions = list(ScriptDirectory(str(SCRIPTS)).walk_revisions())
    assert len([revision for revision in revisions if revision.is_head]) == 1
    assert all(Path(revision.path).name[:4].isdigit() for revision in revisions)


@pytest.mark.faults
def test_migrating_again_changes_nothing(database: str) -> None:
    assert current() == newest()
    migrate()
    assert current() == newest()


@pytest.mark.faults
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


@pytest.mark.faults
def test_a_database_of_a_newer_version_is_left_alone(database: str) -> None:
    with engine().begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    with pytest.raises(Conflict, match="from the future"):
        migrate()
