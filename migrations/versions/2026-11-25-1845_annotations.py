"""labels people give, until they are saved as a version"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5d1c7a90b3e2"
down_revision: str | None = "03d0ff4260de"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "annotation",
        sa.Column("dataset_id", KEY, nullable=False),
        sa.Column("author_id", KEY, nullable=True),
        sa.Column("position", KEY, nullable=False),
        sa.Column("content_key", KEY, nullable=False),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("output", sa.String(), nullable=True),
        sa.Column("assisted", sa.Boolean(), nullable=False),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_annotation_author_id_user")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_annotation_dataset_id_dataset"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation")),
    )
    with op.batch_alter_table("annotation", schema=None) as batch_op:
        batch_op.create_index("ix_annotation_dataset_author_position", ["dataset_id", "author_id", "position"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("annotation", schema=None) as batch_op:
        batch_op.drop_index("ix_annotation_dataset_author_position")
    op.drop_table("annotation")
