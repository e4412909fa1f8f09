"""lineage of dataset versions, and what an example is known by"""

import hashlib
import unicodedata
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "f045b419288e"
down_revision: str | None = "c41d7e2b90a5"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
CHUNK = 1000


def upgrade() -> None:
    with op.batch_alter_table("dataset_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("alive_at", KEY, nullable=True))
        batch_op.add_column(sa.Column("examined_at", KEY, nullable=True))
        batch_op.add_column(sa.Column("reserve_opened", JSON, nullable=True))
        batch_op.add_column(sa.Column("parent_id", KEY, nullable=True))
        batch_op.add_column(sa.Column("change", JSON, nullable=True))
        batch_op.create_index(batch_op.f("ix_dataset_version_parent_id"), ["parent_id"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_dataset_version_parent_id_dataset_version"), "dataset_version", ["parent_id"], ["id"])
    with op.batch_alter_table("example", schema=None) as batch_op:
        batch_op.add_column(sa.Column("content_key", KEY, nullable=True))
        batch_op.add_column(sa.Column("added_in", KEY, nullable=True))
    op.execute("UPDATE dataset_version SET alive_at = created_at")
    op.execute("UPDATE example SET added_in = (SELECT number FROM dataset_version WHERE dataset_version.id = example.version_id)")
    _give_keys(op.get_bind())
    with op.batch_alter_table("dataset_version", schema=None) as batch_op:
        batch_op.alter_column("alive_at", existing_type=KEY, nullable=False)
    with op.batch_alter_table("example", schema=None) as batch_op:
        batch_op.alter_column("content_key", existing_type=KEY, nullable=False)
        batch_op.alter_column("added_in", existing_type=KEY, nullable=False)
        batch_op.create_index("ix_example_version_content_key", ["version_id", "content_key", "position"], unique=False)
    op.create_table(
        "finding",
        sa.Column("id", KEY, nullable=False),
        sa.Column("version_id", KEY, nullable=False),
        sa.Column("position", KEY, nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("harm", KEY, nullable=False),
        sa.Column("count", KEY, nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("rows", JSON, nullable=False),
        sa.Column("hidden", JSON, nullable=False),
        sa.Column("fix", JSON, nullable=True),
        sa.Column("remedy", sa.String(), nullable=True),
        sa.Column("fixed", KEY, nullable=False),
        sa.Column("after", JSON, nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["dataset_version.id"], name=op.f("fk_finding_version_id_dataset_version"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
        sa.UniqueConstraint("version_id", "code", name=op.f("uq_finding_version_id_code")),
    )


def _give_keys(bind: sa.Connection) -> None:
    """The key of every example that is there already: app.domain.dataset.content_key as it was on the day of this migration."""
    example = sa.table("example", sa.column("id"), sa.column("input"), sa.column("content_key"))
    change = sa.update(example).where(example.c.id == sa.bindparam("row")).values(content_key=sa.bindparam("key"))
    last = 0
    while found := bind.execute(sa.select(example.c.id, example.c.input).where(example.c.id > last).order_by(example.c.id).limit(CHUNK)).all():
        bind.execute(change, [{"row": row.id, "key": _content_key(row.input)} for row in found])
        last = found[-1].id


def _content_key(text: str) -> int:
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    digest = hashlib.sha256(unicodedata.normalize("NFC", spaced.casefold()).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def downgrade() -> None:
    op.drop_table("finding")
    with op.batch_alter_table("example", schema=None) as batch_op:
        batch_op.drop_index("ix_example_version_content_key")
        batch_op.drop_column("added_in")
        batch_op.drop_column("content_key")
    with op.batch_alter_table("dataset_version", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_dataset_version_parent_id_dataset_version"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_dataset_version_parent_id"))
        batch_op.drop_column("change")
        batch_op.drop_column("parent_id")
        batch_op.drop_column("reserve_opened")
        batch_op.drop_column("examined_at")
        batch_op.drop_column("alive_at")
