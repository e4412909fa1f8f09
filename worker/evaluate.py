"""An evaluate job of a model that runs here: predictions and scores out. It resumes where a broken attempt ended."""

import platform
from collections.abc import Iterable, Sequence
from typing import Any

from app.domain.dataset import Case
from app.domain.job import Job
from app.domain.rendering import Rendered, answer_text
from app.settings import settings
from worker import predictions
from worker.engine.fit import Fitting, fit_rows
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.score import score_labels
from worker.predictions import Prediction, Work
from worker.reporter import JobReporter

CHUNK = 200
"""Rows between two saves: a broken attempt loses at most so many."""

LATENCY_ROWS = 12


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Score what is not scored yet, chunk by chunk, then measure latency, write the scores and end the job."""
    reporter.phase("load")
    work = predictions.load(job, token, reporter)
    base, adapter = predictions.weights(work.model)
    loaded = load(base, adapter=adapter, device=settings().device)
    labels = work.labels if work.evaluation.answer == "likelihood" else []
    fitting = fit_rows(loaded, work.template, labels, work.parameters.max_tokens, work.policy, {row.id: row.values for row in work.rows})
    answerer = Answerer(loaded, work, fitting)
    reporter.phase("evaluate", len(work.rows))
    for start in range(0, len(work.waiting), CHUNK):
        work.keep(answerer.answer(work.waiting[start : start + CHUNK], work.done + start))
    reporter.phase("save")
    latency = answerer.latency(work.rows[:LATENCY_ROWS])
    measured = {
        "device": str(answerer.loaded.device),
        "dtype": str(answerer.loaded.dtype).removeprefix("torch."),
        "machine": platform.machine(),
        "latency": "one request at a time, whole prompt",
    }
    work.finish(latency, measured, fit=fitting.as_json())


class Answerer:
    """Answers rows with one loaded model, by label likelihood or by generation."""

    def __init__(self, loaded: Loaded, work: Work, fitting: Fitting) -> None:
        self.loaded, self._work, self._fitting, self._labels = loaded, work, fitting, list(work.labels)
        self._way = self._by_likelihood if work.evaluation.answer == "likelihood" else self._by_generation

    def answer(self, rows: Sequence[Case], done: int) -> list[Prediction]:
        """Predictions of a chunk. Raises Stopped when the job shall end."""
        prompts = [self._fitting.render(row.id, row.values) for row in rows]
        found = self._way(prompts, lambda part: self._work.reporter.progress(done + part, len(self._work.rows), None))
        return [predictions.predicted(row, values) for row, values in zip(rows, found, strict=True)]

    def latency(self, rows: Sequence[Case]) -> list[float]:
        """Milliseconds of requests answered one at a time, as a user's would be: nothing shared between them."""
        return [next(iter(self._way([self._fitting.render(row.id, row.values)], lambda _: None)))["latency_ms"] for row in rows]

    def _by_likelihood(self, prompts: Sequence[Rendered], progress: Any) -> Iterable[dict[str, Any]]:
        texts = [answer_text(self._work.template, label) for label in self._labels]
        scores = score_labels(self.loaded, prompts, texts, progress=lambda part, _: progress(part), should_stop=self._work.reporter.should_stop)
        for at, sums in enumerate(scores.sums):
            yield {
                "answer": self._labels[int(sums.argmax())],
                "likelihoods": {label: float(value) for label, value in zip(self._labels, sums, strict=True)},
                "latency_ms": 1000 * float(scores.seconds[at]),
                "input_tokens": scores.tokens[at],
                "output_tokens": 0,
            }

    def _by_generation(self, prompts: Sequence[Rendered], progress: Any) -> Iterable[dict[str, Any]]:
        ready = [prepare(self.loaded, prompt, self._work.parameters) for prompt in prompts]
        for one in complete(self.loaded, ready, progress=lambda part, _: progress(part), should_stop=self._work.reporter.should_stop):
            yield {
                "answer": self._work.book.answer_in(one.text),
                "likelihoods": None,
                "latency_ms": one.finish.latency_ms,
                "input_tokens": one.finish.input_tokens,
                "output_tokens": one.finish.output_tokens,
            }
