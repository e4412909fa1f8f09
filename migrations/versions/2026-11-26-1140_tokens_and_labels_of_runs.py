"""tokens and labels of runs: a run keeps the log-probabilities and the labels that were asked for"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "d05b7a3e91c4"
down_revision: str | None = "c83f1e5a02d7"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("run", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("logprobs", JSON, nullable=True))
        batch_op.add_column(sa.Column("labels", JSON, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("run", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("labels")
        batch_op.drop_column("logprobs")
