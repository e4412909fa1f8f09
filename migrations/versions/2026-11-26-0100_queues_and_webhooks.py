"""queues that can be paused, clones that name their origin, versions of each attempt, webhooks"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "4f0c92b7d1a3"
down_revision: str | None = "8e21f4c60b7d"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.create_table(
        "queue",
        sa.Column("workspace_id", KEY, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("paused_at", KEY, nullable=True),
        sa.Column("author_id", KEY, nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_queue_workspace_id_workspace")),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_queue_author_id_user")),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_queue")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.add_column(sa.Column("needs_gpu", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("cloned_from", KEY, nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_job_cloned_from_job"), "job", ["cloned_from"], ["id"], ondelete="SET NULL")
        batch_op.create_index("ix_job_workspace_id_finished_at", ["workspace_id", "finished_at"], unique=False)
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.alter_column("needs_gpu", server_default=None)
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ran_with", JSON, nullable=True))
    op.create_table(
        "webhook",
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("sealed_secret", sa.String(), nullable=False),
        sa.Column("workspace_id", KEY, nullable=False),
        sa.Column("author_id", KEY, nullable=True),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_webhook_author_id_user")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_webhook_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        sa.UniqueConstraint("workspace_id", name=op.f("uq_webhook_workspace_id")),
    )
    with op.batch_alter_table("webhook", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_workspace_id"), ["workspace_id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("webhook_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", KEY, nullable=False),
        sa.Column("next_at", KEY, nullable=True),
        sa.Column("answered", KEY, nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("sent_at", KEY, nullable=True),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhook.id"], name=op.f("fk_delivery_webhook_id_webhook"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_delivery_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index("ix_delivery_state_next_at", ["state", "next_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_delivery_webhook_id"), ["webhook_id"], unique=False)


def downgrade() -> None:
    for name in ("delivery", "webhook"):
        op.drop_table(name)
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_column("ran_with")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_workspace_id_finished_at")
        batch_op.drop_constraint(batch_op.f("fk_job_cloned_from_job"), type_="foreignkey")
        batch_op.drop_column("cloned_from")
        batch_op.drop_column("needs_gpu")
    op.drop_table("queue")
