"""Deleting a prompt: refused while something is built on it, else it goes with its versions, evaluations and predictions."""

from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app import storage
from app.db import reading, transaction
from app.domain.access import Who, write
from app.domain.base import parse_reference
from app.domain.evaluation import Evaluation, Prediction
from app.domain.experiment import Cell, Experiment, Rung
from app.domain.job import ACTIVE, Job
from app.domain.model import Model
from app.domain.prompt import Prompt, PromptVersion
from app.services.discarding import forget_files, judged
from app.services.removal import User, refuse

REFERENCES = ("prompt_version", "opening")
"""Where a job's settings name a prompt version: the one it works with, and the one whose text a soft prompt was started from."""


def users(person: Who, key: int) -> list[User]:
    """What is built on a prompt: experiments, models tuned through it or started from its text, judgements of its evaluations, and jobs that still
    run or wait."""
    with reading() as session:
        return _users(session, write(session, person, Prompt, key, "prompt"))


def _users(session: Session, prompt: Prompt) -> list[User]:
    mine = _versions(prompt.id)
    asked = Cell.settings["prompt_version"].as_string().like(f"{prompt.id}@%")  # the shots of a rung stand in a version made of this one
    through = select(Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(Cell.prompt_version_id.in_(mine) | asked)
    experiments = select(Experiment.id, Experiment.name).where(Experiment.prompt_version_id.in_(mine) | Experiment.id.in_(through))
    jobs = _jobs(session, prompt)
    models = select(Model.id, Model.name).where(Model.prompt_version_id.in_(mine) | Model.job_id.in_([job.id for job in jobs]))
    found = [User("experiment", row.id, row.name) for row in session.execute(experiments.order_by(Experiment.id))]
    found += [User("model", row.id, row.name) for row in session.execute(models.order_by(Model.id))]
    found += judged(session, session.scalars(select(Evaluation.id).where(Evaluation.prompt_version_id.in_(mine))).all())
    return [*found, *(User("job", job.id, job.name) for job in jobs if job.state in ACTIVE)]


def _versions(key: int) -> Select[Any]:
    return select(PromptVersion.id).where(PromptVersion.prompt_id == key)


def _jobs(session: Session, prompt: Prompt) -> list[Job]:
    """The jobs that work, or worked, with one of a prompt's versions."""
    jobs = session.scalars(select(Job).where(Job.workspace_id == prompt.workspace_id).order_by(Job.id))
    return [job for job in jobs if prompt.id in {_prompt_of(job.settings.get(name)) for name in REFERENCES}]


def _prompt_of(reference: object) -> int | None:
    parsed = parse_reference(reference)
    return parsed[0] if parsed else None


def remove(person: Who, key: int) -> None:
    """Delete a prompt with all its versions. Raises Conflict with the names of what is built on it. While the object store with the files of its jobs does
    not answer, nothing is deleted (Unavailable)."""
    storage.answers()
    with transaction() as session:
        prompt = write(session, person, Prompt, key, "prompt")
        # Whoever begins to use a version points to its row, and has to wait for this lock.
        session.execute(_versions(key).with_for_update())
        refuse(prompt.name, "prompt", _users(session, prompt))
        evaluations = select(Evaluation.id).where(Evaluation.prompt_version_id.in_(_versions(key)))
        jobs = [job.id for job in _jobs(session, prompt)]
        session.execute(delete(Prediction).where(Prediction.evaluation_id.in_(evaluations)))
        session.execute(delete(Evaluation).where(Evaluation.prompt_version_id.in_(_versions(key))))
        session.execute(delete(Job).where(Job.id.in_(jobs)))
        session.execute(delete(PromptVersion).where(PromptVersion.prompt_id == key))
        session.execute(delete(Prompt).where(Prompt.id == key))
    forget_files(*jobs)
