"""marks of answers in the lab"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "b41c7e0d9a52"
down_revision: str | None = "5c1e0b7a93d4"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "mark",
        sa.Column("model_id", WHOLE, nullable=False),
        sa.Column("prompt", JSON, nullable=False),
        sa.Column("prompt_hash", sa.String(), nullable=False),
        sa.Column("variables", JSON, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("thumb", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("workspace_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_mark_author_id_user")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_mark_model_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_mark_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mark")),
        sa.UniqueConstraint("author_id", "key", name=op.f("uq_mark_author_id_key")),
    )
    with op.batch_alter_table("mark", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mark_model_id"), ["model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_mark_prompt_hash"), ["prompt_hash"], unique=False)
        batch_op.create_index(batch_op.f("ix_mark_workspace_id"), ["workspace_id"], unique=False)


def downgrade() -> None:
    op.drop_table("mark")
