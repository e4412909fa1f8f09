"""Alembic's entry: runs inside the connection that `app.migrate` hands over, or on the configured database for `alembic revision`."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, Connection

from app.db import engine
from app.domain.tables import Base


def render(kind: str, item: Any, autogenerate: Any) -> str | Literal[False]:
    """Python for a type in a new revision. Alembic writes our JSON columns with a name that it does not import."""
    if kind != "type" or not isinstance(item, JSON):
        return False
    autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
    return "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')"


def run(connection: Connection) -> None:
    """One transaction for everything: a migration that fails leaves the database as it was."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


handed: Connection | None = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    with engine().begin() as own:
        run(own)
