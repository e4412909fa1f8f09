"""What every evaluate job reads and writes, whoever answers: its rows, the predictions kept so far, its scores at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain import model as models
from app.domain.dataset import Case, DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.fitting import Policy
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.label_book import LabelBook
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.rendering import Template
from app.domain.scoring import normalise
from app.settings import settings
from worker.reporter import JobReporter

Prediction = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """One evaluate job: everything in `rows` is to be scored, `waiting` is what no earlier attempt has scored yet."""

    job: Job
    token: str
    reporter: JobReporter
    evaluation: Evaluation
    model: Model
    template: Template
    parameters: Parameters
    book: LabelBook
    rows: Sequence[Case]
    waiting: Sequence[Case]

    @property
    def labels(self) -> list[str]:
        """The display texts that may be answered; none for free text."""
        return self.book.texts()

    @property
    def policy(self) -> Policy:
        """What happens to rows that are too long."""
        chosen: Policy = self.job.settings.get("fit", "refuse")
        return chosen

    @property
    def done(self) -> int:
        return len(self.rows) - len(self.waiting)

    def keep(self, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Write predictions, if the job is still ours. Raises Fenced."""
        if predictions:
            with transaction() as session:
                jobs.write(session, self.job.id, self.token)
                evaluations.store(session, self.evaluation.id, predictions)

    def finish(self, latency: Sequence[float], measured: Mapping[str, Any], **more: Any) -> None:
        """Write the scores, with `more` beside them, and end the job, in one transaction."""
        with transaction() as session:
            evaluation = session.get_one(Evaluation, self.evaluation.id)
            scores = evaluations.settle(session, evaluation, self.labels, latency, measured, **more)
            jobs.succeed(session, self.job.id, self.token, {"evaluation": evaluation.id, "accuracy": scores.accuracy, "n": scores.n})


def load(job: Job, token: str, reporter: JobReporter) -> Work:
    """A job's rows out of the database."""
    with reading() as session:
        evaluation = session.scalars(select(Evaluation).where(Evaluation.job_id == job.id)).one()
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        prompt = session.get_one(PromptVersion, evaluation.prompt_version_id)
        model = session.get_one(Model, evaluation.model_id)
        rows = list(datasets.cases(session, version, evaluation.split, evaluation.row_limit))
        scored = evaluations.done(session, evaluation.id)
        book, parameters = version.book, Parameters.model_validate(prompt.parameters)
    waiting = [row for row in rows if row.id not in scored]
    return Work(job, token, reporter, evaluation, model, prompt.template(), parameters, book, rows, waiting)


def weights(model: Model) -> tuple[Any, Any]:
    """(folder of the base weights, folder of the adapter or None) of a model that runs here."""
    with reading() as session:
        return models.folders(session, model, settings().models_folder, settings().storage_folder)


def predicted(row: Case, values: Mapping[str, Any]) -> Prediction:
    """A prediction as it is kept, from what was answered for a row."""
    # A model may write any character; PostgreSQL holds every one but this.
    answer = str(values["answer"]).replace("\0", "\ufffd")
    return {"example_id": row.id, "gold": row.answer, "correct": normalise(answer) == normalise(row.answer), **values, "answer": answer}
