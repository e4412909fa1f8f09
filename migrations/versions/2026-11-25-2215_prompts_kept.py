"""what is kept of prompts: messages of versions, aliases and their moves, drafts, the notebook"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "8e21f4c60b7d"
down_revision: str | None = "a3f1d27c6b58"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("message", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.alter_column("message", server_default=None)
    _owned(
        "prompt_alias",
        sa.Column("prompt_id", KEY, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", KEY, nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_prompt_alias_prompt_id_prompt"), ondelete="CASCADE"),
        sa.UniqueConstraint("prompt_id", "name", name=op.f("uq_prompt_alias_prompt_id_name")),
    )
    _owned(
        "alias_move",
        sa.Column("prompt_id", KEY, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("before", KEY, nullable=True),
        sa.Column("after", KEY, nullable=True),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_alias_move_prompt_id_prompt"), ondelete="CASCADE"),
        index="prompt_id",
    )
    _owned(
        "draft",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("revision", KEY, nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("saved_at", KEY, nullable=False),
        sa.UniqueConstraint("author_id", "key", name=op.f("uq_draft_author_id_key")),
    )
    _owned(
        "run",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("model_id", KEY, nullable=True),
        sa.Column("model_name", sa.String(), nullable=False),
        sa.Column("prompt_version", sa.String(), nullable=True),
        sa.Column("prompt", JSON, nullable=False),
        sa.Column("variables", JSON, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("output", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("error", JSON, nullable=True),
        sa.Column("input_tokens", KEY, nullable=True),
        sa.Column("output_tokens", KEY, nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_run_model_id_model"), ondelete="SET NULL"),
        index="author_id",
    )


def _owned(name: str, *columns: sa.schema.SchemaItem, index: str = "") -> None:
    """A table of rows that somebody made."""
    op.create_table(
        name,
        *columns,
        sa.Column("workspace_id", KEY, nullable=False),
        sa.Column("author_id", KEY, nullable=True),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f(f"fk_{name}_author_id_user")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f(f"fk_{name}_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )
    with op.batch_alter_table(name, schema=None) as batch_op:
        for column in filter(None, ("workspace_id", index)):
            batch_op.create_index(batch_op.f(f"ix_{name}_{column}"), [column], unique=False)


def downgrade() -> None:
    for name in ("run", "draft", "alias_move", "prompt_alias"):
        op.drop_table(name)
    with op.batch_alter_table("prompt_version", schema=None) as batch_op:
        batch_op.drop_column("message")
