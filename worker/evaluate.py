"""An evaluate job: a model and a prompt on one split, predictions and scores out. It resumes where a broken attempt ended."""

from collections.abc import Sequence

from sqlalchemy import select

from app.db import reading
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.dataset import DatasetVersion, Example
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.rendering import Template
from app.settings import settings
from worker.engine.load import Loaded, load
from worker.reporter import JobReporter

CHUNK = 100
LATENCY_ROWS = 12


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Score what is not scored yet, chunk by chunk, then write the scores and end the job."""
    reporter.phase("load")
    with reading() as session:
        evaluation = session.scalars(select(Evaluation).where(Evaluation.job_id == job.id)).one()
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        template = session.get_one(prompts.PromptVersion, evaluation.prompt_version_id).template()
        base, adapter = models.folders(session, session.get_one(models.Model, evaluation.model_id), settings().models_folder, settings().storage_folder)
        rows = list(datasets.rows(session, version, evaluation.split, evaluation.row_limit))
        scored = evaluations.done(session, evaluation.id)
    loaded = load(base, adapter=adapter, device=settings().device, threads=settings().threads)
    reporter.phase("evaluate", len(rows))
    Answerer(loaded, template, version.label_texts(), evaluation, reporter).all([row for row in rows if row.id not in scored], len(rows))
    finish(job, token, evaluation.id)


class Answerer:
    """Answers rows with one loaded model, by label likelihood or by generation."""

    def __init__(self, loaded: Loaded, template: Template, labels: Sequence[str], evaluation: Evaluation, reporter: JobReporter) -> None:
        self._loaded, self._template, self._labels = loaded, template, list(labels)
        self._evaluation, self._reporter = evaluation, reporter

    def all(self, rows: Sequence[Example], total: int) -> None:
        """Predict rows in chunks; each chunk is stored before the next begins. Raises Stopped."""
        raise NotImplementedError
