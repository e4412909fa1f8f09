"""Sessions keep to what they were opened for, on SQLite and on PostgreSQL."""

import pytest
from sqlalchemy import Engine, delete
from sqlalchemy.exc import DBAPIError

from app.db import reading, transaction
from app.domain.job import Job


def test_what_only_looks_cannot_write(database: Engine) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"), reading() as session:
        session.execute(delete(Job))
    # The same connection, from the pool, writes again for who may.
    with transaction() as session:
        session.execute(delete(Job))
