"""numbers are kept: on SQLite nothing gets the number of what was deleted, as on PostgreSQL"""

from collections.abc import Sequence

from alembic import op

revision: str = "5d2c80e7b93f"
down_revision: str | None = "9b3f6ad20c57"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

OWNED = (
    "alias_move", "dataset", "dataset_version", "draft", "endpoint", "evaluation", "experiment", "job", "judgement", "mark", "model", "prompt",
    "prompt_alias", "prompt_version", "run", "token", "upload", "webhook",
)  # fmt: skip


def _rebuild(*, autoincrement: bool) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in OWNED:
            with op.batch_alter_table(table, recreate="always", table_kwargs={"sqlite_autoincrement": autoincrement}):
                pass


def upgrade() -> None:
    _rebuild(autoincrement=True)


def downgrade() -> None:
    _rebuild(autoincrement=False)
