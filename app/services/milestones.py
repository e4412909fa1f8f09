"""What the running work of experiments comes to, for whoever has another page open: one piece of news when an experiment's verdict is provisional, one
when it is final. Its jobs are then no news of their own, unless they fail."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.domain.base import by_id
from app.domain.climbing import Standing
from app.domain.evaluation import Evaluation
from app.domain.experiment import BELOW, Cell, Experiment, Rung
from app.domain.job import ACTIVE, Job


@dataclass(frozen=True)
class Milestone:
    """An experiment that has come to rest: `at` is when its last job ended."""

    experiment: Experiment
    at: int
    final: bool


def of(session: Session, ended: Sequence[Job]) -> tuple[list[Milestone], set[int]]:
    """What the experiments of these ended jobs have come to, newest first, and which of the jobs belong to one. None for an experiment that is still
    under way; nobody waits for the linear baseline."""
    keys = [job.id for job in ended if job.kind in ("tune", "evaluate")]
    if not keys:
        return [], set()
    scored = select(Evaluation.id, Evaluation.job_id).where(Evaluation.job_id.in_(keys))
    evaluations = dict(session.execute(scored).all())
    mine = or_(Cell.tune_job_id.in_(keys), Cell.validation_id.in_(evaluations), Cell.evaluation_id.in_(evaluations))
    found = session.execute(select(Cell, Rung).join(Rung, Rung.id == Cell.rung_id).where(mine)).all()
    jobs = {key for cell, _ in found for key in (cell.tune_job_id, *(evaluations.get(one or 0) for one in (cell.validation_id, cell.evaluation_id))) if key}
    climbing = {rung.experiment_id for _, rung in found if rung.position != BELOW}
    if not climbing:
        return [], jobs & set(keys)
    rungs = session.scalars(select(Rung).where(Rung.experiment_id.in_(climbing), Rung.position != BELOW)).all()
    now, named = Standing(session, rungs), by_id(session, Experiment, climbing)
    reached = [_reached(experiment, [rung for rung in rungs if rung.experiment_id == key], now) for key, experiment in named.items()]
    return sorted((one for one in reached if one), key=lambda one: -one.at), jobs & set(keys)


def _reached(experiment: Experiment, rungs: Sequence[Rung], now: Standing) -> Milestone | None:
    cells = [cell for rung in rungs for cell in now.cells[rung.id]]
    scorings = [now.evaluations[key] for cell in cells for key in (cell.validation_id, cell.evaluation_id) if key]
    work = [now.jobs[key] for key in (*(one.job_id for one in scorings), *(cell.tune_job_id for cell in cells)) if key]
    if any(job.state in ACTIVE for job in work) or not any(one.scores for one in scorings):
        return None
    last = max((job.finished_at or 0 for job in work), default=0)
    return Milestone(experiment, last, experiment.opened_at is not None)
