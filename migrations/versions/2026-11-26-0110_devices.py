"""devices, leases of their memory, pinned models, tokens with which machines join"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "d7a94e1c5b20"
down_revision: str | None = "4f0c92b7d1a3"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "device",
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("memory", KEY, nullable=False),
        sa.Column("heartbeat_at", KEY, nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("worker_until", KEY, nullable=True),
        *_row("device"),
        sa.UniqueConstraint("machine", "name", name=op.f("uq_device_machine_name")),
    )
    op.create_table(
        "memory_lease",
        sa.Column("device_id", KEY, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("bytes", KEY, nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("busy", sa.Boolean(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("until", KEY, nullable=False),
        *_row("memory_lease"),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_memory_lease_device_id_device"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_memory_lease_job_id_job"), ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", "holder", "key", name=op.f("uq_memory_lease_device_id_holder_key")),
    )
    with op.batch_alter_table("memory_lease", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memory_lease_job_id"), ["job_id"], unique=False)
    op.create_table(
        "join_token",
        sa.Column("author_id", KEY, nullable=True),
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("expires_at", KEY, nullable=False),
        sa.Column("used_at", KEY, nullable=True),
        sa.Column("report", JSON, nullable=True),
        sa.Column("refusal", sa.String(), nullable=True),
        *_row("join_token"),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_join_token_author_id_user"), ondelete="SET NULL"),
        sa.UniqueConstraint("token_hash", name=op.f("uq_join_token_token_hash")),
    )
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))


def _row(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return sa.Column("id", KEY, nullable=False), sa.Column("created_at", KEY, nullable=False), sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))


def downgrade() -> None:
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.drop_column("pinned")
    for name in ("join_token", "memory_lease", "device"):
        op.drop_table(name)
