"""trials of a search, and whose samples are whose"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "5c1e0b7a93d4"
down_revision: str | None = "7d30c9b1e4a2"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "trial",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("parameters", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("event", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_trial_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_trial")),
    )
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.add_column(sa.Column("trial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, server_default="0"))
    _key("job_id", "trial", "step", "row")
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.alter_column("trial", server_default=None)


def downgrade() -> None:
    # Without numbers the samples of several trials would be one another's.
    op.execute("DELETE FROM sample WHERE trial > 0")
    _key("job_id", "step", "row")
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.drop_column("trial")

    op.drop_table("trial")


def _key(*columns: str) -> None:
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("pk_sample"), type_="primary")
        batch_op.create_primary_key(op.f("pk_sample"), list(columns))
