"""Sessions keep to what they were opened for, on SQLite and on PostgreSQL."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from app.db import make_engine, reading, transaction
from app.domain.job import Job
from tests.faults.tap import Tap


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
