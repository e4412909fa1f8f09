"""An evaluate job: a model and a prompt on one split, predictions and scores out. It resumes where a broken attempt ended."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain import model as models
from app.domain.dataset import DatasetVersion, Example
from app.domain.evaluation import Evaluation
from app.domain.fitting import POLICIES, DoesNotFit, Fit, Fitted, Policy
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.prompt import PromptVersion
from app.domain.rendering import Rendered, Template, answer_text, render
from app.domain.scoring import answer_in, normalise
from app.errors import Invalid
from app.settings import settings
from worker.engine.fit import Ruler, answer_tokens
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load, window
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
        rows = list(datasets.rows(session, version, evaluation.split, evaluation.row_limit))
        scored = evaluations.done(session, evaluation.id)
    loaded = load(base, adapter=adapter, device=settings().device)
    parameters = Parameters.model_validate(prompt.parameters)
    fitting = Fitting.of(loaded, prompt.template(), version.label_texts(), parameters, evaluation.answer, job.settings.get("fit", "refuse"), rows)
    answerer = Answerer(loaded, fitting, version.label_texts(), parameters, evaluation.answer, reporter)
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
    finish(job, token, evaluation.id, latency, measured, fitting.as_json())


def finish(job: Job, token: str, evaluation_id: int, latency: Sequence[float], measured: dict[str, Any], fit: dict[str, Any]) -> None:
    """Write the scores and end the job, in one transaction."""
    with transaction() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        scores = evaluations.settle(session, evaluation, version.label_texts(), latency, measured, fit)
        jobs.succeed(session, job.id, token, {"evaluation": evaluation.id, "accuracy": scores.accuracy, "n": scores.n})


@dataclass(frozen=True)
class Fitting:
    """The rows' prompts as the model takes them: `touched` has, by example, those that did not fit and what the policy made of them."""

    template: Template
    policy: Policy
    look: Fit
    touched: Mapping[int, Fitted]

    @classmethod
    def of(
        cls, loaded: Loaded, template: Template, labels: Sequence[str], parameters: Parameters, how: str, policy: Policy, rows: Sequence[Example]
    ) -> "Fitting":
        """Look at every row before the first is answered. Raises Invalid `rows_do_not_fit` when there are rows that the policy cannot help."""
        answer = answer_tokens(loaded.tokenizer, loaded.encoder_decoder, template, labels if how == "likelihood" else (), parameters.max_tokens)
        measure = Ruler(loaded.tokenizer, window(loaded.model), answer)
        look = measure.look(template, (row.values() for row in rows))
        touched, refused = dict[int, Fitted](), 0
        for row in rows if look.too_long else ():
            try:
                fitted = measure.fit(template, row.values(), policy)
            except DoesNotFit:
                refused += 1
                continue
            if not fitted.whole:
                touched[row.id] = fitted
        if refused:
            still = "" if policy == "refuse" else f" {refused:,} of them still do not under the policy: {POLICIES[policy]}."
            raise Invalid(
                "rows_do_not_fit", f"{look.sentence}{still}", "Choose how rows are made to fit (fit), a shorter prompt, or a model with a larger window."
            )
        return cls(template, policy, look, touched)

    def render(self, row: Example) -> Rendered:
        fitted = self.touched.get(row.id)
        return render(fitted.template, fitted.values) if fitted else render(self.template, row.values())

    def as_json(self) -> dict[str, Any]:
        """What stands beside the scores."""
        return {"policy": self.policy, "rows": self.look.rows, "too_long": self.look.too_long, "window": self.look.window, "longest": self.look.longest}


class Answerer:
    """Answers rows with one loaded model, by label likelihood or by generation."""

    def __init__(self, loaded: Loaded, fitting: Fitting, labels: Sequence[str], parameters: Parameters, how: str, reporter: JobReporter) -> None:
        self._loaded, self._fitting, self._labels = loaded, fitting, list(labels)
        self._parameters, self._reporter = parameters, reporter
        self._way = self._by_likelihood if how == "likelihood" else self._by_generation

    def answer(self, rows: Sequence[Example], done: int, total: int) -> list[dict[str, Any]]:
        """Predictions of a chunk. Raises Stopped when the job shall end."""
        prompts = [self._fitting.render(row) for row in rows]
        found = self._way(prompts, lambda part: self._reporter.progress(done + part, total, None))
        return [
            {"example_id": row.id, "gold": row.output or "", "correct": normalise(values["answer"]) == normalise(row.output or ""), **values}
            for row, values in zip(rows, found, strict=True)
        ]

    def latency(self, rows: Sequence[Example]) -> list[float]:
        """Milliseconds of requests answered one at a time, as a user's would be: nothing shared between them."""
        return [next(iter(self._way([self._fitting.render(row)], lambda _: None)))["latency_ms"] for row in rows]

    def _by_likelihood(self, prompts: Sequence[Rendered], progress: Any) -> Iterable[dict[str, Any]]:
        texts = [answer_text(self._fitting.template, label) for label in self._labels]
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
                "answer": answer_in(one.text, self._labels),
                "likelihoods": None,
                "latency_ms": one.finish.latency_ms,
                "input_tokens": one.finish.input_tokens,
                "output_tokens": one.finish.output_tokens,
            }
