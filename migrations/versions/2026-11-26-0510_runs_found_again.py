"""runs found again: a run has the ticket that its asker gave it, and the answers one by one where there were several"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "a91e5d3c7b04"
down_revision: str | None = "c7d94e1b20a6"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ticket", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("texts", JSON, nullable=True))
        batch_op.create_index("ix_run_ticket", ["ticket"])


def downgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index("ix_run_ticket")
        batch_op.drop_column("texts")
        batch_op.drop_column("ticket")
