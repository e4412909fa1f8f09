"""schemes of experiments: how answers are read and judged, and by which figure rungs are compared"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "9b3f6ad20c57"
down_revision: str | None = "e4b7206d91fa"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    # Until now rungs were compared by the share of right rows, which is what an empty scheme says.
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scheme", JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        batch_op.alter_column("scheme", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        batch_op.drop_column("scheme")
