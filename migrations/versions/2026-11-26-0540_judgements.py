"""judgements of answers beyond right and wrong, and their rulings"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "e4b7206d91fa"
down_revision: str | None = "a91e5d3c7b04"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "judgement",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("evaluation_id", WHOLE, nullable=False),
        sa.Column("other_id", WHOLE, nullable=True),
        sa.Column("model_id", WHOLE, nullable=True),
        sa.Column("job_id", WHOLE, nullable=True),
        sa.Column("brief", JSON, nullable=False),
        sa.Column("row_limit", WHOLE, nullable=True),
        sa.Column("scores", JSON, nullable=True),
        sa.Column("seed", WHOLE, nullable=False),
        sa.Column("closed_at", WHOLE, nullable=True),
        sa.Column("workspace_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_judgement_author_id_user")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name=op.f("fk_judgement_evaluation_id_evaluation"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["other_id"], ["evaluation.id"], name=op.f("fk_judgement_other_id_evaluation"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_judgement_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_judgement_model_id_model")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_judgement_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgement")),
    )
    with op.batch_alter_table("judgement", schema=None) as batch_op:
        for name in ("evaluation_id", "other_id", "model_id", "job_id", "workspace_id"):
            batch_op.create_index(batch_op.f(f"ix_judgement_{name}"), [name])
    op.create_table(
        "ruling",
        sa.Column("judgement_id", WHOLE, nullable=False),
        sa.Column("example_id", WHOLE, nullable=False),
        sa.Column("judge", WHOLE, nullable=False),
        sa.Column("order", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("written", sa.String(), nullable=True),
        sa.Column("likelihoods", JSON, nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("input_tokens", WHOLE, nullable=False),
        sa.Column("output_tokens", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name=op.f("fk_ruling_example_id_example"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["judgement_id"], ["judgement.id"], name=op.f("fk_ruling_judgement_id_judgement"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("judgement_id", "example_id", "judge", "order", name=op.f("pk_ruling")),
    )
    with op.batch_alter_table("ruling", schema=None) as batch_op:
        # Rows are deleted by the hundred thousand: without it each of them is looked for in every ruling.
        batch_op.create_index(batch_op.f("ix_ruling_example_id"), ["example_id"])


def downgrade() -> None:
    op.drop_table("ruling")
    op.drop_table("judgement")
