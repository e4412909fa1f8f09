"""the validation score of a rung, on which the best one is chosen"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "a3f1d27c6b58"
down_revision: str | None = "e2b7c9d05f16"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("rung", schema=None) as batch_op:
        batch_op.add_column(sa.Column("validation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
        batch_op.create_index(op.f("ix_rung_validation_id"), ["validation_id"])
        batch_op.create_foreign_key(op.f("fk_rung_validation_id_evaluation"), "evaluation", ["validation_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("rung", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("fk_rung_validation_id_evaluation"), type_="foreignkey")
        batch_op.drop_index(op.f("ix_rung_validation_id"))
        batch_op.drop_column("validation_id")
