"""A PostgreSQL database that a bench may empty."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text


@pytest.fixture
def bench_postgresql(postgresql_server: Engine) -> Iterator[str]:
    with postgresql_server.connect() as connection:
        connection.execute(text("CREATE DATABASE fettle_bench"))
        yield postgresql_server.url.set(database="fettle_bench").render_as_string(hide_password=False)
        connection.execute(text("DROP DATABASE fettle_bench WITH (FORCE)"))
