"""endpoints, and the models that were taken from them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "7d30c9b1e4a2"
down_revision: str | None = "5d1c7a90b3e2"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "endpoint",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("sealed_key", sa.String(), nullable=True),
        sa.Column("prices", JSON, nullable=False),
        sa.Column("concurrency", WHOLE, nullable=False),
        sa.Column("time_out", sa.Double(), nullable=False),
        sa.Column("probe", JSON, nullable=True),
        sa.Column("tested_at", WHOLE, nullable=True),
        sa.Column("workspace_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_endpoint_author_id_user")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_endpoint_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_endpoint_workspace_id_name")),
    )
    op.create_index(op.f("ix_endpoint_workspace_id"), "endpoint", ["workspace_id"])
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.add_column(sa.Column("endpoint_id", WHOLE, nullable=True))
        batch_op.add_column(sa.Column("remote_name", sa.String(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_model_endpoint_id_endpoint"), "endpoint", ["endpoint_id"], ["id"])
        batch_op.create_index(op.f("ix_model_endpoint_id"), ["endpoint_id"])


def downgrade() -> None:
    op.execute("DELETE FROM model WHERE kind = 'remote'")
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.drop_index(op.f("ix_model_endpoint_id"))
        batch_op.drop_constraint(op.f("fk_model_endpoint_id_endpoint"), type_="foreignkey")
        batch_op.drop_column("remote_name")
        batch_op.drop_column("endpoint_id")
    op.drop_table("endpoint")
