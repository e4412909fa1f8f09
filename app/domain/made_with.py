"""What was made with a model. It keeps the model from being deleted, and its folder from being given other files."""

from dataclasses import dataclass

from sqlalchemy import Select, or_, select

from app.domain import judgement as judgements
from app.domain.evaluation import Evaluation
from app.domain.experiment import Cell, Experiment, Rung
from app.domain.job import Job
from app.domain.judgement import Judgement
from app.domain.model import Model


@dataclass(frozen=True)
class MadeWith:
    """The queries for it. Of evaluations, which may be very many, they are the ids."""

    tuned: Select[Model]
    evaluations: Select[int]
    experiments: Select[Experiment]
    judgements: Select[Judgement]
    jobs: Select[Job]


def made_with(model: Model) -> MadeWith:
    """Models tuned on it, evaluations of it, experiments that have it in a cell, judgements by it or of its evaluations, jobs that work or worked with it."""
    evaluations = select(Evaluation.id).where(Evaluation.model_id == model.id)
    through = select(Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(Cell.model_id == model.id)
    return MadeWith(
        tuned=select(Model).where(Model.base_model_id == model.id).order_by(Model.id),
        evaluations=evaluations.order_by(Evaluation.id),
        experiments=select(Experiment).where(or_(Experiment.model_id == model.id, Experiment.id.in_(through))).order_by(Experiment.id),
        judgements=judgements.on(evaluations, judge=model.id),
        jobs=select(Job).where(Job.settings["model"].as_integer() == model.id).order_by(Job.id),
    )
