"""jobs: over how many GPUs they are spread"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "e81c4f2a6b90"
down_revision: str | None = "c5e9130a7f42"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

job = sa.table("job", sa.column("id", sa.BigInteger), sa.column("settings", sa.JSON), sa.column("devices", sa.BigInteger))


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("devices", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, server_default="1"))
    for row in op.get_bind().execute(sa.select(job.c.id, job.c.settings)).all():
        spread = (row.settings.get("parameters") or {}).get("devices", 1)
        if spread != 1:
            op.execute(job.update().where(job.c.id == row.id).values(devices=spread))
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.alter_column("devices", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("devices")
