"""Near-duplicates on one side: rows of a long file are cut before it is known which of them say nearly the same, and are cut anew once it is.

Only while nobody has trained, scored or looked: later a row that changes its side would flatter whoever saw it.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import lineage
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.evaluation import Evaluation
from app.domain.splits import Open, assign_splits
from app.errors import Conflict
from app.services.removal import jobs_of, users_of

IDS = 500


def ours(version: DatasetVersion) -> bool:
    """Whether all its splits were made here, row by row: neither given by the file nor by groups of a column, nor for rows that came or got a label later."""
    origin = version.origin
    mapping = origin.get("mapping") or {}
    given = mapping.get("split") is not None or (origin.get("detected") or {}).get("members") or (origin.get("cut") or {}).get("group")
    return version.parent_id is None and bool(mapping) and not given


def unused(session: Session, dataset_id: int) -> bool:
    """Whether nothing has been trained on or scored of any version of a dataset, nor any test row been opened."""
    mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == dataset_id)
    scored = session.scalar(select(func.count()).where(Evaluation.dataset_version_id.in_(mine)))
    opened = session.scalar(select(func.count()).where(DatasetVersion.dataset_id == dataset_id, DatasetVersion.revealed_at.is_not(None)))
    reserved = any((splits or {}).get("reserve") for splits in session.scalars(select(DatasetVersion.splits).where(DatasetVersion.dataset_id == dataset_id)))
    trained = any(job.step for job in jobs_of(session, dataset_id))  # one that was stopped may still be kept or go on
    return not (scored or opened or reserved or trained or users_of(session, session.get_one(Dataset, dataset_id)))


def check_unused(session: Session, dataset_id: int) -> None:
    """Raises Conflict when rows of a dataset may not change their side any more."""
    if not unused(session, dataset_id):
        message = "Rows of this dataset have been trained on, scored or opened since: one that changed its side now would flatter whoever saw it."
        raise Conflict("rows_used", message, "Drop the near-duplicates instead: that keeps one row of each group, in the most protected split.")


def planned(session: Session, version: DatasetVersion, groups: Sequence[Sequence[int]]) -> Mapping[int, str]:
    """The split of every labelled row, by its id, that leaves its own so that each group stands on one side: the groups' rows are cut anew, in the
    shares of the dataset, seeded and stratified. Texts are not read: some 300 bytes a row are held."""
    ids = [key for group in groups for key in group]
    rows: dict[int, Open] = {}
    stands: dict[int, str] = {}
    labels: dict[str, str] = {}
    for start in range(0, len(ids), IDS):
        query = select(Example.id, Example.output, Example.content_key, Example.split).where(Example.id.in_(ids[start : start + IDS]))
        for row in session.execute(query.where(Example.output.is_not(None))):
            rows[row.id], stands[row.id] = Open(f"{row.content_key:x}", labels.setdefault(row.output, row.output)), row.split
    numbers = {key: number for number, key in enumerate(rows)}
    together = [[numbers[key] for key in group if key in numbers] for group in groups]
    cut = assign_splits(list(rows.values()), version.seed, lineage.shares_of(session, version), lambda: [group for group in together if group])
    return {key: split for key, split in zip(rows, cut, strict=True) if split != stands[key]}
