"""The ladder: an experiment's rungs on one frozen split, what follows when one of their jobs ends, and the verdict.

A rung is one technique with its settings. A prompt rung needs one evaluation; a tuning rung needs a tune job first, whose
end (in the same transaction) registers the tuned model and queues its evaluation: `advance`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import dataset as datasets
from app.domain import job as jobs
from app.domain import tuning
from app.domain.access import Who, owned
from app.domain.base import Base, Owned
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.errors import Conflict

PROMPT_RUNGS = {"zero_shot": 0, "one_shot": 1, "few_shot": 8}
TECHNIQUES = (*PROMPT_RUNGS, *METHODS)
TITLES = {"zero_shot": "zero-shot", "one_shot": "one-shot", "few_shot": "few-shot"}


class Experiment(Owned, Base):
    """Rungs compared on the test split of one dataset version."""

    __tablename__ = "experiment"

    name: Mapped[str]
    dataset_version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    margin: Mapped[float] = mapped_column(default=0.0)
    targets: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Rung(Base):
    """One technique of an experiment. Its state is that of its jobs; nothing is stored twice."""

    __tablename__ = "rung"
    __table_args__ = (UniqueConstraint("experiment_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"))
    position: Mapped[int]
    technique: Mapped[str]
    settings: Mapped[dict[str, Any]]
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    tune_job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), index=True)
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id"), index=True)

    @property
    def tunes(self) -> bool:
        return self.technique in METHODS

    @property
    def title(self) -> str:
        shots = self.settings.get("shots", 0)
        if self.technique == "few_shot":
            return f"{shots}-shot"
        if self.settings.get("model") and self.tunes:
            return f"{METHODS[self.technique].title}, model {self.settings['model']}"
        if self.settings.get("parameters", {}).get("keep_text"):
            return f"{METHODS[self.technique].title} beside its text"
        return TITLES.get(self.technique) or METHODS[self.technique].title


def rungs(session: Session, experiment_id: int) -> Sequence[Rung]:
    return session.scalars(select(Rung).where(Rung.experiment_id == experiment_id).order_by(Rung.position)).all()


def queue_evaluation(
    session: Session,
    person: Who,
    model: Model,
    prompt: PromptVersion,
    version: datasets.DatasetVersion,
    split: str,
    answer: str,
    limit: int | None,
    fit: str,
    name: str = "",
) -> Evaluation:
    """A new evaluation with the job that fills it. `fit` says what happens to rows that are too long for the model."""
    settings = {
        "model": model.id,
        "prompt_version": prompt.reference,
        "dataset": version.reference,
        "split": split,
        "answer": answer,
        "limit": limit,
        "fit": fit,
    }
    job = jobs.add(session, person, "evaluate", name or f"{model.name} on {split}", settings, light=model.remote)
    evaluation = Evaluation(
        **owned(person),
        job_id=job.id,
        model_id=model.id,
        prompt_version_id=prompt.id,
        dataset_version_id=version.id,
        split=split,
        answer=answer,
        row_limit=limit,
        scores=None,
    )
    session.add(evaluation)
    session.flush()
    return evaluation


def queue_rung(session: Session, person: Who, experiment: Experiment, rung: Rung) -> None:
    """Queue the first job of a rung. A rung with a model of its own (`settings["model"]`) is only scored."""
    own = rung.settings.get("model")
    if not rung.tunes or own:
        rung.model_id = own or experiment.model_id
        _score_rung(session, person, experiment, rung)
        return
    version, prompt = session.get_one(datasets.DatasetVersion, experiment.dataset_version_id), session.get_one(PromptVersion, rung.prompt_version_id)
    base, parameters = session.get_one(Model, experiment.model_id), parse(METHODS, rung.technique, rung.settings.get("parameters", {}))
    settings = tuning.settings_of(session, person, base, version, prompt, parameters, rung.settings.get("seed", 0))
    rung.tune_job_id = jobs.add(session, person, "tune", f"{rung.title}: {experiment.name}", settings).id


def _score_rung(session: Session, person: Who, experiment: Experiment, rung: Rung) -> None:
    """Queue the scoring of a rung's model on the test split."""
    version = session.get_one(datasets.DatasetVersion, experiment.dataset_version_id)
    prompt = session.get_one(PromptVersion, rung.prompt_version_id)
    model = session.get_one(Model, rung.model_id)
    name = f"{rung.title}: {experiment.name}, scoring"
    answer, fit = rung.settings.get("answer", "likelihood"), rung.settings.get("fit", "refuse")
    rung.evaluation_id = queue_evaluation(session, person, model, prompt, version, "test", answer, None, fit, name).id


def requeue_rung(session: Session, person: Who, experiment: Experiment, rung: Rung) -> None:
    """Queue again what failed or was cancelled in a rung: the scoring alone when its model is there. Raises Conflict for any other rung."""
    evaluation = session.get(Evaluation, rung.evaluation_id) if rung.evaluation_id else None
    job = session.get_one(Job, evaluation.job_id if evaluation else rung.tune_job_id)
    if job.state not in ("failed", "cancelled"):
        raise Conflict("rung_not_over", f"This rung's job {job.id} is {job.state}.", "Only a failed or cancelled rung can be run again.")
    (_score_rung if evaluation is not None else queue_rung)(session, person, experiment, rung)


def advance(session: Session, job: Job, model: Model | None) -> None:
    """What follows a finished tune job: the rung it belongs to gets its tuned model, and its scoring is queued."""
    rung = session.scalars(select(Rung).where(Rung.tune_job_id == job.id)).first()
    if rung is None or model is None:
        return
    rung.model_id = model.id
    # What it was tuned through is what it is scored through: under a soft prompt that is not the prompt it started from.
    rung.prompt_version_id = model.prompt_version_id or rung.prompt_version_id
    _score_rung(session, job.person(), session.get_one(Experiment, rung.experiment_id), rung)
