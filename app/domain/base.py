"""What every table shares: names of constraints, ids, the database's clock, who owns a row."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, MetaData, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Json = JSON().with_variant(JSONB(), "postgresql")
JsonOrNull = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""The same where rows are looked for by whether they have any: no value is NULL there, and not JSON's null."""

_CLOCK = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def clock(dialect: str) -> str:
    """SQL for the time in whole milliseconds since 1970 on the database's own clock."""
    return _CLOCK[dialect]


def inserting(session: Session, table: Any) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what happens to a row that is there already (`on_conflict_do_update`, `on_conflict_do_nothing`)."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


class db_now(FunctionElement[int]):  # noqa: N801 reads as a SQL function
    """The database's clock inside a statement: `update(Job).values(lease_until=db_now() + 30_000)`."""

    type = BigInteger()
    inherit_cache = True


@compiles(db_now)
def _compile_now(element: Any, compiler: SQLCompiler, **_: Any) -> str:
    return clock(compiler.dialect.name)


class Base(DeclarativeBase):
    """Declarative base with fixed constraint names, so that migrations can name what they change."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {int: BigInteger().with_variant(Integer(), "sqlite"), dict[str, Any]: Json, list[Any]: Json}


class Row:
    """Columns of every noun."""

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[int] = mapped_column(default=db_now(), server_default=None)


T = TypeVar("T", bound=Row)


class Owned(Row):
    """Columns of everything a person made. `domain/access.py` decides by them who may read or write.

    The number of what was deleted is not given again, as SQLite would: links, folders and the settings of jobs name things by it.
    """

    __table_args__: Any

    def __init_subclass__(cls, **more: Any) -> None:
        cls.__table_args__ = (*cls.__dict__.get("__table_args__", ()), {"sqlite_autoincrement": True})
        super().__init_subclass__(**more)

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspace.id"), index=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))


def parse_reference(text: object) -> tuple[int, int | None] | None:
    """(id, number) of `ID` or `ID@N`; None for anything else, numbers too large for a column included."""
    match = re.fullmatch(r"([0-9]{1,18})(?:@([0-9]{1,9}))?", str(text))
    return (int(match[1]), int(match[2]) if match[2] else None) if match else None


def require(session: Session, table: type[Any], key: int, noun: str) -> Any:
    """The row with this id. Raises NotFound."""
    from app.errors import NotFound

    row = session.get(table, key)
    if row is None:
        raise NotFound(noun, key)
    return row


def by_id(session: Session, table: type[T], keys: Iterable[int | None]) -> dict[int, T]:
    """The rows with these ids, by id; None is no id. Asks nothing where there are none."""
    wanted = {key for key in keys if key is not None}
    return {row.id: row for row in session.scalars(select(table).where(table.id.in_(wanted)))} if wanted else {}


__all__ = ["Base", "Json", "Owned", "Row", "by_id", "clock", "db_now", "parse_reference", "require"]
