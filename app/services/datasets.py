"""Datasets: import a file, list, read examples, reveal the test split, draw shots."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.db import transaction
from app.domain import dataset as datasets
from app.domain.access import Who, owned
from app.domain.dataset import Dataset, DatasetVersion

SHOWN_PROBLEMS = 20


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
    mapping: Mapping[str, str | None] | None = None,
    splits: Mapping[str, float] | None = None,
    seed: int = 0,
    source: str = "upload",
    description: str = "",
) -> DatasetView:
    """Read a file into a new dataset's first version, split and sealed. Raises Invalid with the problems of a broken file.

    Rows go in by chunks under a version that nobody sees until it is sealed; a refused file leaves nothing behind.
    """
    with transaction() as session:
        dataset = Dataset(**owned(person), name=name.strip() or filename.rpartition(".")[0] or filename, source=source, description=description)
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, seed, {"filename": filename})
    try:
        _fill(version, path, mapping)
        with transaction() as session:
            version = session.get_one(DatasetVersion, version.id)
            _split(version, session, seed, splits)
            datasets.seal(session, version)
        return DatasetView(dataset, version)
    except BaseException:
        _purge(dataset.id)
        raise
