"""cells of rungs: a rung has one for each combination of its lists and each seed; the test rows are opened for an experiment at once"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "c7d94e1b20a6"
down_revision: str | None = "5c0b7e93d21f"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

POINTERS = {
    "prompt_version_id": "prompt_version", "model_id": "model", "tune_job_id": "job", "validation_id": "evaluation", "evaluation_id": "evaluation",
}  # fmt: skip
"""What moves from a rung to its cells, with the table each points to."""
INDEXED = ("tune_job_id", "validation_id", "evaluation_id")
NEEDED = ("prompt_version_id", "model_id")

RUNG = sa.table("rung", sa.column("id"), sa.column("settings", JSON), sa.column("chosen"), *(sa.column(name) for name in POINTERS))
CELL = sa.table(
    "cell", *(sa.column(name) for name in ("id", "rung_id", "number", "labels", "seed")), sa.column("settings", JSON), *(sa.column(name) for name in POINTERS)
)


def upgrade() -> None:
    op.create_table(
        "cell",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("rung_id", INTEGER, nullable=False),
        *(sa.Column(name, INTEGER, nullable=False) for name in ("number", "labels", "seed")),
        sa.Column("settings", JSON, nullable=False),
        *(sa.Column(name, INTEGER, nullable=name not in NEEDED) for name in POINTERS),
        sa.ForeignKeyConstraint(["rung_id"], ["rung.id"], name=op.f("fk_cell_rung_id_rung"), ondelete="CASCADE"),
        *(sa.ForeignKeyConstraint([name], [f"{table}.id"], name=op.f(f"fk_cell_{name}_{table}")) for name, table in POINTERS.items()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell")),
        sa.UniqueConstraint("rung_id", "number", "labels", "seed", name=op.f("uq_cell_rung_id_number_labels_seed")),
    )
    with op.batch_alter_table("cell", schema=None) as batch_op:
        for name in INDEXED:
            batch_op.create_index(op.f(f"ix_cell_{name}"), [name])
    with op.batch_alter_table("rung", schema=None) as batch_op:
        batch_op.add_column(sa.Column("chosen", INTEGER, nullable=True))
    _into_cells()
    with op.batch_alter_table("rung", schema=None) as batch_op:
        for name in INDEXED:
            batch_op.drop_index(op.f(f"ix_rung_{name}"))
        for name, table in POINTERS.items():
            batch_op.drop_constraint(op.f(f"fk_rung_{name}_{table}"), type_="foreignkey")
            batch_op.drop_column(name)
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("validation_rows", INTEGER, nullable=False, server_default="300"))
        batch_op.add_column(sa.Column("opens", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("opened_at", INTEGER, nullable=True))
    # Until now a rung's job went on to the test rows by itself.
    op.execute("UPDATE experiment SET opened_at = created_at")
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        for name, kind in (("validation_rows", INTEGER), ("opens", sa.Boolean())):
            batch_op.alter_column(name, existing_type=kind, server_default=None)


def _into_cells() -> None:
    bind = op.get_bind()
    for row in bind.execute(sa.select(RUNG)).mappings().all():
        settings = {**row["settings"]}
        seed = settings.get("seed", 0)
        same = {name: row[name] for name in POINTERS}
        bind.execute(CELL.insert().values(rung_id=row["id"], number=0, labels=0, seed=seed, settings=settings, **same))
        bind.execute(RUNG.update().where(RUNG.c.id == row["id"]).values(chosen=0, settings={**settings, "seeds": [seed]}))


def downgrade() -> None:
    with op.batch_alter_table("experiment", schema=None) as batch_op:
        for name in ("opened_at", "opens", "validation_rows"):
            batch_op.drop_column(name)
    with op.batch_alter_table("rung", schema=None) as batch_op:
        for name in POINTERS:
            batch_op.add_column(sa.Column(name, INTEGER, nullable=True))
    _out_of_cells()
    with op.batch_alter_table("rung", schema=None) as batch_op:
        for name in NEEDED:
            batch_op.alter_column(name, existing_type=INTEGER, nullable=False)
        for name, table in POINTERS.items():
            batch_op.create_foreign_key(op.f(f"fk_rung_{name}_{table}"), table, [name], ["id"])
        for name in INDEXED:
            batch_op.create_index(op.f(f"ix_rung_{name}"), [name])
        batch_op.drop_column("chosen")
    op.drop_table("cell")


def _out_of_cells() -> None:
    """The first cell of what was chosen stands for its rung again; the others' figures are lost to it."""
    bind = op.get_bind()
    for row in bind.execute(sa.select(RUNG.c.id, RUNG.c.chosen, RUNG.c.settings)).mappings().all():
        first = sa.select(CELL).where(CELL.c.rung_id == row["id"], CELL.c.labels == 0, CELL.c.number == (row["chosen"] or 0)).order_by(CELL.c.id)
        cell = bind.execute(first.limit(1)).mappings().one()
        same = {name: cell[name] for name in POINTERS}
        bind.execute(RUNG.update().where(RUNG.c.id == row["id"]).values(settings={**row["settings"], **cell["settings"], "seed": cell["seed"]}, **same))
