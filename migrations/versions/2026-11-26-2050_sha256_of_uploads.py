"""uploads: the sha256 of the bytes that were sent"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c5e9130a7f42"
down_revision: str | None = "7b2f60c4ad91"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("upload", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("sha256", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("upload", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("sha256")
