"""reliability: an evaluation's prompt asked again with other seeds and in other forms"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "c83f1e5a02d7"
down_revision: str | None = "c41e97d05a62"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("evaluation", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("run", WHOLE, nullable=True))
        batch_op.add_column(sa.Column("seed", WHOLE, nullable=True))
        batch_op.add_column(sa.Column("form", JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("evaluation", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.alter_column("form", server_default=None)
    op.create_table(
        "reliability",
        sa.Column("evaluation_id", WHOLE, nullable=False),
        sa.Column("job_id", WHOLE, nullable=False),
        sa.Column("repeats", WHOLE, nullable=False),
        sa.Column("forms", WHOLE, nullable=False),
        sa.Column("seed", WHOLE, nullable=False),
        sa.Column("scores", JSON, nullable=True),
        sa.Column("workspace_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_reliability_author_id_user")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name=op.f("fk_reliability_evaluation_id_evaluation"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_reliability_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_reliability_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reliability")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("reliability", schema=None) as batch_op:
        for name in ("evaluation_id", "job_id", "workspace_id"):
            batch_op.create_index(batch_op.f(f"ix_reliability_{name}"), [name])


def downgrade() -> None:
    op.drop_table("reliability")
    with op.batch_alter_table("evaluation", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        for name in ("form", "seed", "run"):
            batch_op.drop_column(name)
