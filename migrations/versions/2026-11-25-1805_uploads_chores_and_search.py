"""uploads, chores, and what searching and near-duplicates need"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "03d0ff4260de"
down_revision: str | None = "f045b419288e"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "upload",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("aim", sa.String(), nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("cut", JSON, nullable=False),
        sa.Column("report", JSON, nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("rows", WHOLE, nullable=False),
        sa.Column("dataset_id", WHOLE, nullable=True),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_until", WHOLE, nullable=True),
        sa.Column("cancel_requested_at", WHOLE, nullable=True),
        sa.Column("started_at", WHOLE, nullable=True),
        sa.Column("touched_at", WHOLE, nullable=False),
        sa.Column("workspace_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_upload_author_id_user")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_upload_dataset_id_dataset"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"], name=op.f("fk_upload_workspace_id_workspace")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
        sa.UniqueConstraint("file", name=op.f("uq_upload_file")),
    )
    op.create_index(op.f("ix_upload_state"), "upload", ["state"])
    op.create_index(op.f("ix_upload_workspace_id"), "upload", ["workspace_id"])

    op.create_table(
        "chore",
        sa.Column("version_id", WHOLE, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("done", WHOLE, nullable=False),
        sa.Column("total", WHOLE, nullable=False),
        sa.Column("attempt", WHOLE, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("error", JSON, nullable=True),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_until", WHOLE, nullable=True),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["dataset_version.id"], name=op.f("fk_chore_version_id_dataset_version"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chore")),
        sa.UniqueConstraint("version_id", "kind", name=op.f("uq_chore_version_id_kind")),
    )
    op.create_index(op.f("ix_chore_state"), "chore", ["state"])

    op.create_table(
        "example_search",
        sa.Column("example_id", WHOLE, nullable=False),
        sa.Column("version_id", WHOLE, nullable=False),
        sa.Column("position", WHOLE, nullable=False),
        sa.Column("words", postgresql.TSVECTOR().with_variant(sa.Text(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name=op.f("fk_example_search_example_id_example"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("example_id", name=op.f("pk_example_search")),
    )
    op.create_table(
        "near_duplicate",
        sa.Column("version_id", WHOLE, nullable=False),
        sa.Column("position", WHOLE, nullable=False),
        sa.Column("group", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["dataset_version.id"], name=op.f("fk_near_duplicate_version_id_dataset_version"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id", "position", name=op.f("pk_near_duplicate")),
    )
    op.create_index("ix_example_search_version_position", "example_search", ["version_id", "position"])
    op.create_index("ix_example_search_words", "example_search", ["words"], postgresql_using="gin")

    op.add_column("dataset_version", sa.Column("marks", JSON, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("dataset_version", schema=None) as batch_op:
        batch_op.drop_column("marks")
    for table in ("near_duplicate", "example_search", "chore", "upload"):
        op.drop_table(table)
