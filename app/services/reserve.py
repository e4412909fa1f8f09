"""The reserve: test rows set aside before anybody scored them, opened once, at the end, on record."""

from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import looks
from app.domain.access import Who
from app.domain.cutting import together
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.lineage import SetAside
from app.domain.splits import Open, assign_splits
from app.domain.upload import Upload
from app.errors import Conflict, Invalid
from app.readers.near_duplicates import near_duplicate_groups
from app.services import changing
from app.services.datasets import DatasetView, find

SHARE = 0.5


def set_aside(person: Who, reference: int | str, share: float = SHARE) -> DatasetView | Upload:
    """The next version, or the upload that makes it, with a share of the test rows in its reserve: seeded, stratified, near-duplicates on one side, and so the rows that a column keeps together.

    Raises Conflict when test rows were seen or scored before: a reserve that somebody chose by is none. Invalid without enough of them.
    """
    if not 0 < share < 1:
        raise Invalid("bad_share", "A share is a number between 0 and 1.", "Use for example 0.5.")
    version = find(person, reference).version
    with reading() as session:
        mine = select(DatasetVersion).where(DatasetVersion.dataset_id == version.dataset_id)
        used = session.scalar(mine.with_only_columns(func.sum(DatasetVersion.scored + DatasetVersion.viewed + func.coalesce(DatasetVersion.revealed_at, 0))))
        if used:
            message = "Test rows of this dataset have been scored or seen already."
            raise Conflict("test_used", message, "Set a reserve aside before the first comparison, or as a new dataset.")
        query = select(Example.id, Example.input, Example.output, Example.cells).where(Example.version_id == version.id, Example.split == "test")
        rows = session.execute(query.order_by(Example.position)).all()
    if len(rows) < 2:
        raise Invalid("few_test_rows", f"Version {version.number} has {len(rows)} test rows.", "Append labelled rows first.")
    free = [Open(row.input, row.output) for row in rows]
    groups = together([row.cells for row in rows], (version.origin.get("cut") or {}).get("group"))
    sides = assign_splits(free, version.seed, (0.0, share, 1 - share), lambda: near_duplicate_groups([row.input for row in rows]), together=groups)
    chosen = frozenset(row.id for row, side in zip(rows, sides, strict=True) if side == "validation")
    return changing.change(person, version.reference, SetAside(chosen))


def open_reserve(person: Who, reference: int | str, reason: str) -> DatasetView:
    """Open the reserve split, for scoring and for reading, on the record. Raises Invalid, and Conflict the second time."""
    with transaction() as session:
        version = datasets.find(session, person, reference)
        looks.open_reserve(session, person, version, reason)
        return DatasetView(session.get_one(Dataset, version.dataset_id), version)
