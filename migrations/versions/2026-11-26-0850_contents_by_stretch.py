"""contents by stretch: rows are known by their content within 32,768 rows, so that an import changes few pages of the index"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "8c41e5d90b27"
down_revision: str | None = "5d2c80e7b93f"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.drop_index("ix_example_version_content_key", "example")
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    # SQLite adds a column that is stored only by copying the table; PostgreSQL has no index on one that is not.
    stored = op.get_bind().dialect.name != "sqlite"
    op.add_column("example", sa.Column("stretch", kind, sa.Computed("position / 32768", persisted=stored), nullable=False))
    op.create_index("ix_example_version_stretch_content_key", "example", ["version_id", "stretch", "content_key", "position"])


def downgrade() -> None:
    op.drop_index("ix_example_version_stretch_content_key", "example")
    op.drop_column("example", "stretch")
    op.create_index("ix_example_version_content_key", "example", ["version_id", "content_key", "position"])
