"""Sessions keep to what they were opened for, on SQLite and on PostgreSQL."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from app.db import make_engine, reading, transaction
from app.domain.job import Job
from tests.faults.tap import Tap
from tests.house.rules import ROOT


def test_what_only_looks_cannot_write(database: Engine) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"), reading() as session:
        session.execute(delete(Job))
    # The same connection, from the pool, writes again for who may.
    with transaction() as session:
        session.execute(delete(Job))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_postgresql_that_cannot_be_reached_is_an_error_within_seconds(database: str, tmp_path: Path) -> None:
    engine = make_engine(database)
    with engine.connect() as connection:
        found = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
        assert int(found["tcp_user_timeout"]) <= 15_000 and int(found["connect_timeout"]) <= 10 and int(found["keepalives_idle"]) <= 15
    engine.dispose()
    tap = Tap(tmp_path / "nothing")
    tap.hole()
    silent = make_url(database).set(host="127.0.0.1", port=tap.port, query={"connect_timeout": "3"})
    began = time.monotonic()
    with pytest.raises(OperationalError, match="timeout"):
        make_engine(silent.render_as_string(hide_password=False)).connect()
    assert time.monotonic() - began < 5, "what the address says counts"
    tap.cut()


def test_a_process_that_is_forked_while_a_thread_writes_finds_no_lock_of_its_own(tmp_path: Path) -> None:
    """As Celery forks when a process of its pool was killed, while another thread says that the worker is there."""
    script = """
import os, sys, threading, time
from sqlalchemy import text
from app.db import make_engine, transaction
engine = make_engine(sys.argv[1])
writes = threading.Event()
with transaction(engine) as session:
    session.execute(text("CREATE TABLE told (who TEXT)"))

def presence():
    with transaction(engine) as session:
        session.execute(text("INSERT INTO told VALUES ('parent')"))
        writes.set()
        time.sleep(1)

thread = threading.Thread(target=presence)
thread.start()
writes.wait()
if not (child := os.fork()):
    engine.dispose(close=False)
    with transaction(make_engine(sys.argv[1])) as session:
        session.execute(text("INSERT INTO told VALUES ('child')"))
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child found the database locked"
thread.join()
with transaction(engine) as session:
    assert sorted(session.scalars(text("SELECT who FROM told"))) == ["child", "parent"]
"""
    subprocess.run([sys.executable, "-c", script, f"sqlite:///{tmp_path / 'forked.db'}"], check=True, timeout=60, cwd=ROOT)
