"""Datasets: import a file, list, read examples, reveal the test split, draw shots."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain.access import Who, page, visible
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.rendering import Shot
from app.domain.shots import Candidate, Selection, draw
from app.readers.options import Options
from app.readers.parent import DETECT
from app.services.uploads import Sent, import_now


@dataclass(frozen=True)
class DatasetView:
    """A dataset with one of its versions."""

    dataset: Dataset
    version: DatasetVersion


def import_file(
    person: Who,
    path: Path,
    *,
    name: str,
    filename: str,
    mapping: Mapping[str, Any] | None = None,
    options: Options = DETECT,
    splits: Mapping[str, float] | None = None,
    seed: int = 0,
    source: str = "upload",
    description: str = "",
) -> DatasetView:
    """Read a file into a new dataset's first version, split and sealed. Raises Invalid with the problems of a broken file.

    It goes the way of every upload: nobody sees it until it is sealed; a refused file leaves nothing behind.
    """
    cut = {"splits": dict(splits) if splits else None, "seed": seed}
    options = options if mapping is None else replace(options, mapping=mapping)
    with path.open("rb") as stream:
        key = import_now(person, Sent(stream, filename, name, options, cut, source, description))
    return find(person, key)


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


def reveal(person: Who, reference: int | str, reason: str) -> DatasetView:
    """Open the test split's rows for reading, on the record."""
    with transaction() as session:
        version = datasets.find(session, person, reference)
        datasets.reveal(session, person, version, reason)
        return DatasetView(session.get_one(Dataset, version.dataset_id), version)


def draw_shots(person: Who, reference: int | str, count: int, seed: int, selection: Selection = "balanced") -> list[Shot]:
    """Shots from the train split, and from nowhere else."""
    with reading() as session:
        version = datasets.find(session, person, reference)
        candidates = [Candidate(case.position, case.input, case.answer) for case in datasets.cases(session, version, "train")]
    return [Shot(row.input, row.output) for row in draw(candidates, count, seed, selection)]
