"""examples: the split that its file gave a row which waits for its label"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "b27f90c4d81e"
down_revision: str | None = "b3d95f0e6a17"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("example", sa.Column("given", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("example", "given")
