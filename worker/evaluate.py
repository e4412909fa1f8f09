"""An evaluate job: a model and a prompt on one split, predictions and scores out. It resumes where a broken attempt ended."""

import platform
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain import model as models
from app.domain.dataset import Case, DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.label_book import LabelBook
from app.domain.prompt import PromptVersion
from app.domain.rendering import Rendered, Template, answer_text, render
from app.domain.scoring import normalise
from app.settings import settings
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.score import score_labels
from worker.reporter import JobReporter

CHUNK = 200
"""Rows between two saves: a broken attempt loses at most so many."""

LATENCY_ROWS = 12


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Score what is not scored yet, chunk by chunk, then measure latency, write the scores and end the job."""
    reporter.phase("load")
    with reading() as session:
        evaluation = session.scalars(select(Evaluation).where(Evaluation.job_id == job.id)).one()
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        prompt = session.get_one(PromptVersion, evaluation.prompt_version_id)
        base, adapter = models.folders(session, session.get_one(models.Model, evaluation.model_id), settings().models_folder, settings().storage_folder)
        rows = list(datasets.cases(session, version, evaluation.split, evaluation.row_limit))
        scored = evaluations.done(session, evaluation.id)
    loaded = load(base, adapter=adapter, device=settings().device)
    answerer = Answerer(loaded, prompt.template(), version.book, Parameters.model_validate(prompt.parameters), evaluation.answer, reporter)
    reporter.phase("evaluate", len(rows))
    waiting = [row for row in rows if row.id not in scored]
    for start in range(0, len(waiting), CHUNK):
        chunk = answerer.answer(waiting[start : start + CHUNK], len(rows) - len(waiting) + start, len(rows))
        with transaction() as session:
            jobs.write(session, job.id, token)
            evaluations.store(session, evaluation.id, chunk)
    reporter.phase("save")
    latency = answerer.latency(rows[:LATENCY_ROWS])
    measured = {
        "device": str(loaded.device),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "machine": platform.machine(),
        "latency": "one request at a time, whole prompt",
    }
    finish(job, token, evaluation.id, latency, measured)


def finish(job: Job, token: str, evaluation_id: int, latency: Sequence[float], measured: dict[str, Any]) -> None:
    """Write the scores and end the job, in one transaction."""
    with transaction() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        scores = evaluations.settle(session, evaluation, version.label_texts(), latency, measured)
        jobs.succeed(session, job.id, token, {"evaluation": evaluation.id, "accuracy": scores.accuracy, "n": scores.n})


class Answerer:
    """Answers rows with one loaded model, by label likelihood or by generation."""

    def __init__(self, loaded: Loaded, template: Template, book: LabelBook, parameters: Parameters, how: str, reporter: JobReporter) -> None:
        self._loaded, self._template, self._book, self._labels = loaded, template, book, book.texts()
        self._parameters, self._reporter = parameters, reporter
        self._way = self._by_likelihood if how == "likelihood" else self._by_generation

    def answer(self, rows: Sequence[Case], done: int, total: int) -> list[dict[str, Any]]:
        """Predictions of a chunk. Raises Stopped when the job shall end."""
        prompts = [render(self._template, row.values) for row in rows]
        found = self._way(prompts, lambda part: self._reporter.progress(done + part, total, None))
        return [
            {"example_id": row.id, "gold": row.answer, "correct": normalise(values["answer"]) == normalise(row.answer), **values}
            for row, values in zip(rows, found, strict=True)
        ]

    def latency(self, rows: Sequence[Case]) -> list[float]:
        """Milliseconds of requests answered one at a time, as a user's would be: nothing shared between them."""
        return [next(iter(self._way([render(self._template, row.values)], lambda _: None)))["latency_ms"] for row in rows]

    def _by_likelihood(self, prompts: Sequence[Rendered], progress: Any) -> Iterable[dict[str, Any]]:
        texts = [answer_text(self._template, label) for label in self._labels]
        scores = score_labels(self._loaded, prompts, texts, progress=lambda part, _: progress(part), should_stop=self._reporter.should_stop)
        for at, sums in enumerate(scores.sums):
            yield {
                "answer": self._labels[int(sums.argmax())],
                "likelihoods": {label: float(value) for label, value in zip(self._labels, sums, strict=True)},
                "latency_ms": 1000 * float(scores.seconds[at]),
                "input_tokens": scores.tokens[at],
                "output_tokens": 0,
            }

    def _by_generation(self, prompts: Sequence[Rendered], progress: Any) -> Iterable[dict[str, Any]]:
        ready = [prepare(self._loaded, prompt, self._parameters) for prompt in prompts]
        for one in complete(self._loaded, ready, progress=lambda part, _: progress(part), should_stop=self._reporter.should_stop):
            yield {
                "answer": self._book.answer_in(one.text),
                "likelihoods": None,
                "latency_ms": one.finish.latency_ms,
                "input_tokens": one.finish.input_tokens,
                "output_tokens": one.finish.output_tokens,
            }
