"""endpoints: how many tokens their models take at once, and which model here counts like them; datasets: warnings that are switched off"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "4e8a1c97d3b0"
down_revision: str | None = "f1a7c2905be8"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("endpoint", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("windows", JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("endpoint", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.alter_column("windows", server_default=None)
    with op.batch_alter_table("dataset", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("quiet", JSON, nullable=False, server_default="[]"))
    with op.batch_alter_table("dataset", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.alter_column("quiet", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("endpoint", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("windows")
    with op.batch_alter_table("dataset", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("quiet")
