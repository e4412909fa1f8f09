"""Datasets: list, find, reveal the test split."""

from dataclasses import dataclass

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import looks
from app.domain.access import Who, page, visible
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.looks import Looks


@dataclass(frozen=True)
class DatasetView:
    """A dataset with one of its versions."""

    dataset: Dataset
    version: DatasetVersion


def find(person: Who, reference: int | str) -> DatasetView:
    with reading() as session:
        version = datasets.find(session, person, reference)
        return DatasetView(session.get_one(Dataset, version.dataset_id), version)


def recent(person: Who, after: int | None = None, limit: int = 100) -> tuple[list[DatasetView], int | None]:
    """Datasets with their newest sealed version, newest first."""
    with reading() as session:
        rows, following = page(session, visible(person, Dataset), Dataset, after, limit)
        query = select(DatasetVersion).where(DatasetVersion.dataset_id.in_([row.id for row in rows]), DatasetVersion.sealed_at.is_not(None))
        newest = {version.dataset_id: version for version in session.scalars(query.order_by(DatasetVersion.number))}
        return [DatasetView(row, newest[row.id]) for row in rows if row.id in newest], following


def looked_at(version: DatasetVersion) -> dict[str, Looks]:
    """How often the rows of each sealed split were scored and seen, in this version and in others that hold them."""
    with reading() as session:
        return looks.of_sealed(session, version)


def reveal(person: Who, reference: int | str, reason: str) -> DatasetView:
    """Open the test split's rows for reading, on the record."""
    with transaction() as session:
        version = datasets.find(session, person, reference)
        datasets.reveal(session, person, version, reason)
        return DatasetView(session.get_one(Dataset, version.dataset_id), version)
