"""room on the disk: a job that found too little waits for a worker that has as much as it needs"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c41e97d05a62"
down_revision: str | None = "8c41e5d90b27"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("needs_bytes", KEY, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("needs_bytes")
