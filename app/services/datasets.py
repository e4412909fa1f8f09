"""Datasets: import a file, list, read examples, reveal the test split, draw shots."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import bindparam, delete, func, insert, inspect, select, update

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain.access import Who, owned, page, visible
from app.domain.base import db_now
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.rendering import Shot
from app.domain.shots import Candidate, Selection, draw
from app.domain.splits import assign_splits
from app.errors import Invalid
from app.readers.frames import Broken, Chunk, End, Found
from app.readers.near_duplicates import near_duplicate_groups
from app.readers.parent import read_file

CHUNK = 500
UNSEALED_MS = 3_600_000


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
        dataset = Dataset(**owned(person), name=name.strip() or Path(filename).stem or "dataset", source=source, description=description)
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, seed, {"filename": filename})
    try:
        _fill(version, path, mapping)
        _settle(version, seed, splits)
    except BaseException:
        _purge(dataset.id)
        raise
    return find(person, dataset.id)


def _fill(version: DatasetVersion, path: Path, mapping: Mapping[str, str | None] | None) -> None:
    """Store a file's rows as they come. Raises Invalid when the file has a problem; the first ones are told in full."""
    problems, position = [], 0
    for frame in read_file(path, mapping):
        if isinstance(frame, Broken):
            problems.append(frame.problem)
        elif isinstance(frame, Found):
            origin = {**version.origin, "detected": asdict(frame.detected), "mapping": asdict(frame.mapping)}
            with transaction() as session:
                session.execute(update(DatasetVersion).where(DatasetVersion.id == version.id).values(columns=frame.columns, origin=origin))
        elif isinstance(frame, Chunk) and not problems:
            rows = [
                {
                    "version_id": version.id,
                    "position": position + at,
                    "line": row.line,
                    "split": row.split or "",
                    "input": row.input,
                    "output": row.output,
                    "cells": row.cells or None,
                }
                for at, row in enumerate(frame.examples)
            ]
            position += len(rows)
            with transaction() as session:
                session.execute(insert(Example), rows)
        elif isinstance(frame, End) and frame.problems:
            first = problems[0]
            detail = {"problems": [asdict(problem) for problem in problems], "count": frame.problems}
            where = f"line {first.line}: " if first.line else ""
            raise Invalid(
                "broken_file",
                f"The file was not taken: {frame.problems:,} problem{'s' if frame.problems > 1 else ''}.",
                f"First, {where}{first.advice}",
                detail=detail,
            )


def _settle(version: DatasetVersion, seed: int, splits: Mapping[str, float] | None) -> None:
    """Give every row its split and seal the version. Thinking is done outside of transactions; writes are short ones."""
    shares = _shares(splits)
    query = select(Example.id, Example.input, Example.output, func.nullif(Example.split, "").label("split")).where(Example.version_id == version.id)
    with reading() as session:
        rows = session.execute(query.order_by(Example.position)).all()
    groups = near_duplicate_groups([row.input for row in rows]) if not any(row.split for row in rows) else None
    given = assign_splits(rows, seed, shares, groups)
    changes = [{"key": row.id, "value": split} for row, split in zip(rows, given, strict=True) if row.split != split]
    table = inspect(Example).local_table
    statement = update(table).where(table.c.id == bindparam("key")).values(split=bindparam("value"))  # type: ignore[arg-type]
    for start in range(0, len(changes), CHUNK):
        with transaction() as session:
            session.connection().execute(statement, changes[start : start + CHUNK])
    with reading() as session:
        counted = datasets.totals(session, version)
    with transaction() as session:
        datasets.seal(session, session.get_one(DatasetVersion, version.id), counted)


def _shares(splits: Mapping[str, float] | None) -> tuple[float, float, float]:
    """Shares of train, validation and test. Raises Invalid for other names."""
    wanted = splits or {"train": 0.7, "validation": 0.1, "test": 0.2}
    unknown = set(wanted) - {"train", "validation", "test"}
    if unknown:
        raise Invalid("unknown_split", f"There is no split {', '.join(sorted(unknown))}.", "Shares are given for train, validation and test.")
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in wanted.values()):
        raise Invalid("bad_shares", "A share is a number between 0 and 1.", "Use for example 0.7, 0.1 and 0.2.")
    return wanted.get("train", 0.0), wanted.get("validation", 0.0), wanted.get("test", 0.0)


def sweep() -> int:
    """Remove what imports left behind that never came to their end (a killed process); returns how many."""
    with reading() as session:
        old = [DatasetVersion.sealed_at.is_(None), DatasetVersion.created_at > 0, DatasetVersion.created_at < db_now() - UNSEALED_MS]
        keys = list(session.scalars(select(DatasetVersion.dataset_id).where(*old, DatasetVersion.number == 1)))
    for key in keys:
        _purge(key)
    return len(keys)


def _purge(key: int) -> None:
    with transaction() as session:
        mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == key)
        session.execute(delete(Example).where(Example.version_id.in_(mine)))
        session.execute(delete(DatasetVersion).where(DatasetVersion.dataset_id == key))
        session.execute(delete(Dataset).where(Dataset.id == key))


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


def examples(person: Who, reference: int | str, split: str | None = None, offset: int = 0, limit: int = 50) -> list[Example]:
    """Rows in file order. Raises Sealed for the test split (and for all rows together) before somebody revealed it."""
    with reading() as session:
        version = datasets.find(session, person, reference)
        datasets.readable(version, split)
        query = select(Example).where(Example.version_id == version.id).order_by(Example.position)
        if split is not None:
            query = query.where(Example.split == split)
        rows = list(session.scalars(query.offset(offset).limit(limit)))
    if any(row.split == "test" for row in rows):
        with transaction() as session:
            datasets.count_viewed(session, version.id)
    return rows


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
