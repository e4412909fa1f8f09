"""Deleting a dataset: refused while something is built on it, else everything of it goes, its evaluations and predictions too."""

import time
from dataclasses import dataclass

from sqlalchemy import Select, delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from app import storage
from app.db import reading, transaction
from app.domain import intake
from app.domain.access import Who, write
from app.domain.chore import Chore, NearDuplicate
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.evaluation import Evaluation, Prediction
from app.domain.experiment import Experiment
from app.domain.job import ACTIVE, Job
from app.domain.model import Model
from app.errors import Conflict
from app.services.index_files import index_file
from app.services.pacing import Pace
from app.settings import settings

ROWS = 500
NAMED = 5
"""Users named in a refusal; the others are counted."""


@dataclass(frozen=True)
class User:
    """Something that would lose its ground: a noun, its id and its name. Without an id it is not said which one it is."""

    noun: str
    id: int | None
    name: str

    def __str__(self) -> str:
        return self.name if self.id is None else f"{self.noun} {self.id} ({self.name})"


def users(person: Who, key: int) -> list[User]:
    """What is built on a dataset: experiments, tuned models, and jobs that still run or wait."""
    with reading() as session:
        return users_of(session, write(session, person, Dataset, key, "dataset"))


def refuse(name: str, noun: str, found: list[User]) -> None:
    """Raises Conflict with the names of what uses something that is to be deleted."""
    if found:
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        message = f"{name} is used by {', '.join(map(str, found[:NAMED]))}{more}."
        raise Conflict("in_use", message, f"Delete those first, or keep the {noun}.", detail={"users": [vars(user) for user in found]})


def users_of(session: Session, dataset: Dataset) -> list[User]:
    """What is built on a dataset."""
    versions = _versions(dataset)
    found = []
    for noun, table in (("experiment", Experiment), ("model", Model)):
        rows = session.execute(select(table.id, table.name).where(table.dataset_version_id.in_(versions)).order_by(table.id))
        found += [User(noun, row.id, row.name) for row in rows]
    return [*found, *(User("job", job.id, job.name) for job in jobs_of(session, dataset.id) if job.state in ACTIVE)]


def jobs_of(session: Session, key: int) -> list[Job]:
    """The jobs that work, or worked, on a dataset."""
    jobs = session.scalars(select(Job).join(Dataset, Dataset.workspace_id == Job.workspace_id).where(Dataset.id == key).order_by(Job.id))
    return [job for job in jobs if str(job.settings.get("dataset", "")).split("@")[0] == str(key)]


def _versions(dataset: Dataset) -> Select[int]:
    return select(DatasetVersion.id).where(DatasetVersion.dataset_id == dataset.id)


def remove(person: Who, key: int) -> None:
    """Delete a dataset with all its versions. Raises Conflict with the names of what is built on it.

    It disappears at once; its rows follow in short writes. Should the process end in between, the sweep goes on with it. While the object store
    with the files of its jobs does not answer, nothing is deleted (Unavailable).
    """
    storage.answers()
    with transaction() as session:
        dataset = write(session, person, Dataset, key, "dataset")
        # A lock that a new version or experiment would wait for: nobody begins to use what is about to go.
        session.execute(select(Dataset.id).where(Dataset.id == key).with_for_update())
        refuse(dataset.name, "dataset", users_of(session, dataset))
        vanished = update(DatasetVersion).where(DatasetVersion.dataset_id == key).values(sealed_at=None, alive_at=0, created_at=0)
        session.execute(vanished)
        # Whoever works on one of these stops with its next word.
        session.execute(delete(Chore).where(Chore.version_id.in_(_versions(dataset))))
    purge(key)


def purge(key: int) -> None:
    """Take a dataset's evaluations, jobs, rows, versions and the dataset itself away, a chunk in each transaction."""
    with reading() as session:
        mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == key)
        evaluations = session.scalars(select(Evaluation.id).where(Evaluation.dataset_version_id.in_(mine))).all()
        jobs = [job.id for job in jobs_of(session, key)]
    for evaluation in evaluations:
        while _some_predictions(evaluation):
            pass
        with transaction() as session:
            session.execute(delete(Evaluation).where(Evaluation.id == evaluation))
    for job in jobs:
        with transaction() as session:
            session.execute(delete(Job).where(Job.id == job))
        storage.discard(settings().storage_folder / "jobs" / str(job))
    for took in (_some_near_duplicates, _some_examples):
        pace = Pace()
        while took(key, pace):
            pass
    _forget_words(key)
    with transaction() as session:
        session.execute(update(DatasetVersion).where(DatasetVersion.dataset_id == key).values(parent_id=None))
        session.execute(delete(DatasetVersion).where(DatasetVersion.dataset_id == key))
        session.execute(delete(Dataset).where(Dataset.id == key))


def _some_predictions(evaluation_id: int) -> int:
    with transaction() as session:
        some = session.scalars(select(Prediction.example_id).where(Prediction.evaluation_id == evaluation_id).limit(ROWS)).all()
        session.execute(delete(Prediction).where(Prediction.evaluation_id == evaluation_id, Prediction.example_id.in_(some)))
        return len(some)


def _some_examples(key: int, pace: Pace) -> int:
    mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == key)
    size = pace.size
    with transaction() as session:
        began = time.perf_counter()
        gone = intake.take_out(session, mine, size)
    pace.took(size, time.perf_counter() - began)
    return gone


def _some_near_duplicates(key: int, pace: Pace) -> int:
    size, row = pace.size, tuple_(NearDuplicate.version_id, NearDuplicate.position)
    mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == key)
    with transaction() as session:
        began = time.perf_counter()
        some = select(NearDuplicate.version_id, NearDuplicate.position).where(NearDuplicate.version_id.in_(mine)).limit(size)
        gone = session.execute(delete(NearDuplicate).where(row.in_(some)), execution_options={"synchronize_session": False}).rowcount  # type: ignore[attr-defined]
    pace.took(size, time.perf_counter() - began)
    return int(gone)


def _forget_words(key: int) -> None:
    """The search indexes that are files of their own."""
    with reading() as session:
        versions = session.scalars(select(DatasetVersion).where(DatasetVersion.dataset_id == key)).all()
    for version in versions:
        index_file(version).remove()


def sweep() -> int:
    """Finish what a process that ended in the middle of a deletion left; returns how many datasets."""
    with reading() as session:
        going = select(DatasetVersion.dataset_id).where(DatasetVersion.created_at == 0, DatasetVersion.sealed_at.is_(None))
        keys = list(session.scalars(going.group_by(DatasetVersion.dataset_id).having(func.count() > 0)))
    for key in keys:
        purge(key)
    return len(keys)
