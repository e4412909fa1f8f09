"""finished early: a run that ends where it stands, with its best moment"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "f1a7c2905be8"
down_revision: str | None = "e06b4d1973fa"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("finish", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.alter_column("finish", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("finish")
