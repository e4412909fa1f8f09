"""default values of a prompt's variables"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "e2b7c9d05f16"
down_revision: str | None = "b41c7e0d9a52"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("defaults", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False, server_default="{}"))
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.alter_column("defaults", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.drop_column("defaults")
