"""Deleting jobs, evaluations, experiments and models: refused while something is built on them or runs, else gone with predictions and files.

Files go from this machine and from the object store; while that does not answer, nothing is deleted (Unavailable).
"""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from app import storage
from app.db import transaction
from app.domain import experiment as experiments
from app.domain import judgement as judgements
from app.domain import model as models
from app.domain.access import Who, write
from app.domain.evaluation import Evaluation, Prediction
from app.domain.experiment import Cell, Experiment, Rung
from app.domain.job import ACTIVE, Job
from app.domain.judgement import Judgement
from app.domain.made_with import made_with
from app.domain.model import Model
from app.domain.reliability import Reliability
from app.services.removal import User, refuse
from app.settings import settings


def job(person: Who, key: int) -> None:
    """Delete a job that is over, with its curves, log and evaluation. Raises Conflict while it is not, or what it made is in use."""
    storage.answers()
    with transaction() as session:
        row = write(session, person, Job, key, "job")
        scored = session.scalars(select(Evaluation.id).where(Evaluation.job_id == key)).all()
        users = [*_compared(session, jobs=[key]), *judged(session, scored), *_checked(session, scored)]
        refuse(row.name, "job", [*_active([row]), *_made_by(session, [key]), *users])
        _forget_evaluations(session, scored)
        session.execute(delete(Job).where(Job.id == key))
    forget_files(key)


def evaluation(person: Who, key: int) -> None:
    """Delete an evaluation with its predictions, and its job when it filled nothing else. Raises Conflict while it runs, or a comparison needs it."""
    storage.answers()
    with transaction() as session:
        row = write(session, person, Evaluation, key, "evaluation")
        of = session.get_one(Job, row.job_id)
        users = [*_compared(session, evaluations=[key]), *judged(session, [key]), *_checked(session, [key]), *_run_of(session, row)]
        refuse(f"Evaluation {key}", "evaluation", [*_active([of]), *users])
        _forget_evaluations(session, [key])
        alone = not session.scalars(select(Evaluation.id).where(Evaluation.job_id == of.id)).first()
        if alone:
            session.execute(delete(Job).where(Job.id == of.id))
    if alone:
        forget_files(of.id)


def experiment(person: Who, key: int) -> None:
    """Delete a comparison with its evaluations and the jobs that made them. Models that were tuned for it stay, with the jobs that made them.

    Raises Conflict while one of its jobs is not over.
    """
    storage.answers()
    with transaction() as session:
        row = write(session, person, Experiment, key, "experiment")
        cells = experiments.cells(session, [rung.id for rung in experiments.rungs(session, key)])
        scored = {one for cell in cells for one in (cell.validation_id, cell.evaluation_id) if one is not None}
        jobs = {cell.tune_job_id for cell in cells if cell.tune_job_id is not None}
        jobs |= set(session.scalars(select(Evaluation.job_id).where(Evaluation.id.in_(scored))))
        under_way = _active(session.scalars(select(Job).where(Job.id.in_(jobs)).order_by(Job.id)))
        refuse(row.name, "experiment", [*under_way, *judged(session, scored), *_checked(session, scored)])
        session.execute(delete(Cell).where(Cell.id.in_([cell.id for cell in cells])))
        session.execute(delete(Rung).where(Rung.experiment_id == key))
        session.delete(row)
        session.flush()
        _forget_evaluations(session, scored)
        gone = jobs - set(session.scalars(select(Model.job_id).where(Model.job_id.in_(jobs))))
        session.execute(delete(Job).where(Job.id.in_(gone)))
    forget_files(*gone)


def judgement(person: Who, key: int) -> None:
    """Delete a judgement with its rulings, and its job. Raises Conflict while that runs."""
    storage.answers()
    with transaction() as session:
        row = write(session, person, Judgement, key, "judgement")
        of = session.get(Job, row.job_id) if row.job_id else None
        refuse(f"Judgement {key}", "judgement", _active([of] if of else []))
        judgements.leave_marks(session, row)
        session.delete(row)
        session.flush()
        session.execute(delete(Job).where(Job.id == row.job_id))
    if of is not None:
        forget_files(of.id)


def reliability(person: Who, key: int) -> None:
    """Delete a reliability check with its runs and its job. Raises Conflict while that runs, or a run of it is judged."""
    storage.answers()
    with transaction() as session:
        row = write(session, person, Reliability, key, "reliability check")
        of = session.get_one(Job, row.job_id)
        runs = session.scalars(select(Evaluation.id).where(Evaluation.job_id == of.id)).all()
        refuse(f"Reliability check {key}", "reliability check", [*_active([of]), *judged(session, runs)])
        _forget_evaluations(session, runs)
        session.execute(delete(Job).where(Job.id == of.id))  # and with it the check
    forget_files(of.id)


def model(person: Who, key: int | str) -> None:
    """Delete a model with its files, its evaluations and the jobs that worked with it. Raises Conflict while models or comparisons are built on it,
    or a job works with it.
    """
    storage.answers()
    with transaction() as session:
        found = models.find(session, person, key)
        row = write(session, person, Model, found.id, "model")
        refuse(row.name, "model", _users(session, row))
        files = [] if row.remote else _files(session, row)
        made = made_with(row)
        jobs = [one.id for one in session.scalars(made.jobs)]
        alone = row.kind == "foundation" and not session.scalars(select(Model.id).where(Model.content_hash == row.content_hash, Model.id != row.id)).first()
        _forget_evaluations(session, session.scalars(made.evaluations).all())
        session.execute(delete(Job).where(Job.id.in_(jobs)))
        session.delete(row)
    for folder in files:
        if folder.is_relative_to(settings().storage_folder):
            storage.discard(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    forget_files(*jobs)
    if alone and row.content_hash:  # in the store foundation models go by what is in them
        storage.drop(storage.model_key(row.content_hash))


def _users(session: Session, row: Model) -> list[User]:
    """Its own evaluations go with it, and so do its jobs once they are over."""
    made = made_with(row)
    found = [User("model", one.id, one.name) for one in session.scalars(made.tuned)]
    found += [User("experiment", one.id, one.name) for one in session.scalars(made.experiments)]
    return [*found, *_judging(session, made.judgements), *_active(session.scalars(made.jobs))]


def _files(session: Session, row: Model) -> list[Path]:
    base, adapter = models.folders(session, row, settings().models_folder, settings().storage_folder)
    return [adapter or base, settings().storage_folder / models.merged_folder(row)]


def _active(jobs: Iterable[Job]) -> list[User]:
    """Jobs that are not over: cancel them first."""
    return [User("job", one.id, f"{one.name}, {one.state}") for one in jobs if one.state in ACTIVE]


def _made_by(session: Session, jobs: Collection[int]) -> list[User]:
    return [User("model", one.id, one.name) for one in session.scalars(select(Model).where(Model.job_id.in_(jobs)).order_by(Model.id))]


def _compared(session: Session, *, jobs: Collection[int] = (), evaluations: Collection[int] = ()) -> list[User]:
    """Comparisons that stand on these."""
    scored = [*evaluations, *session.scalars(select(Evaluation.id).where(Evaluation.job_id.in_(jobs)))]
    uses = or_(Cell.tune_job_id.in_(jobs), Cell.validation_id.in_(scored), Cell.evaluation_id.in_(scored))
    query = select(Experiment).where(Experiment.id.in_(select(Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(uses)))
    return [User("experiment", one.id, one.name) for one in session.scalars(query.order_by(Experiment.id))]


def judged(session: Session, evaluations: Collection[int]) -> list[User]:
    """Judgements of these evaluations."""
    return _judging(session, judgements.on(evaluations))


def _judging(session: Session, found: Select[Judgement]) -> list[User]:
    """Which comparison is still blind is not said: whoever chooses in it would learn whose answers these are."""
    there = session.scalars(found).all()
    blind = [User("judgement", None, "an open blind comparison")] if any(one.hidden for one in there) else []
    return [*(User("judgement", one.id, one.kind) for one in there if not one.hidden), *blind]


def _checked(session: Session, evaluations: Collection[int]) -> list[User]:
    """Reliability checks of these evaluations."""
    found = session.scalars(select(Reliability).where(Reliability.evaluation_id.in_(evaluations)).order_by(Reliability.id))
    return [User("reliability check", one.id, f"of evaluation {one.evaluation_id}") for one in found]


def _run_of(session: Session, row: Evaluation) -> list[User]:
    """The reliability check that an evaluation is a run of."""
    found = select(Reliability).where(Reliability.job_id == row.job_id) if row.run else None
    return [] if found is None else [User("reliability check", one.id, f"of evaluation {one.evaluation_id}") for one in session.scalars(found)]


def _forget_evaluations(session: Session, keys: Collection[int]) -> None:
    session.execute(delete(Prediction).where(Prediction.evaluation_id.in_(keys)))
    session.execute(delete(Evaluation).where(Evaluation.id.in_(keys)))


def forget_files(*jobs: int) -> None:
    """The rows are gone first: a crash in between leaves files that nothing names, never rows without their files."""
    for key in jobs:
        for folder in (settings().storage_folder / "jobs" / str(key), *settings().storage_folder.glob(f"exports/model-*/job-{key}")):
            storage.discard(folder)
