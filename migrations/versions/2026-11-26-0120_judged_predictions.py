"""how an evaluation judges its answers, and what was found of every one"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "5c0b7e93d21f"
down_revision: str | None = "d7a94e1c5b20"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scheme", JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.alter_column("scheme", server_default=None)
    with op.batch_alter_table("prediction", schema=None) as batch_op:
        batch_op.add_column(sa.Column("written", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("off_list", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("cut_off", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("offered", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("confidence", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("margin", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("judged", JSON, nullable=True))
    with op.batch_alter_table("prediction", schema=None) as batch_op:
        for name in ("off_list", "cut_off", "offered"):
            batch_op.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("prediction", schema=None) as batch_op:
        for name in ("judged", "margin", "confidence", "offered", "cut_off", "off_list", "written"):
            batch_op.drop_column(name)
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.drop_column("scheme")
