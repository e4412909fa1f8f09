"""installation: a name of its own, by which an object store knows whose it is"""

import secrets
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "e06b4d1973fa"
down_revision: str | None = "d05b7a3e91c4"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def upgrade() -> None:
    table = op.create_table(
        "installation",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", KEY, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        sa.UniqueConstraint("name", name=op.f("uq_installation_name")),
    )
    now = sa.literal_column(NOW[op.get_bind().dialect.name])
    op.execute(table.insert().values(name=secrets.token_hex(8), created_at=now))


def downgrade() -> None:
    op.drop_table("installation")
