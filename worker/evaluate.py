"""An evaluate job of a model that runs here: predictions and scores out. It resumes where a broken attempt ended."""

import platform
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from app.domain.dataset import Case
from app.domain.figures import UNREAD
from app.domain.fitting import Fitting
from app.domain.job import Job
from app.domain.rendering import Rendered, answer_text, render
from app.domain.shape import PROCESS_BYTES
from app.errors import FettleError
from app.settings import settings
from worker import predictions
from worker.devices import own, wait_for_memory
from worker.engine import generate, score
from worker.engine.fit import fit_rows
from worker.engine.folders import refuse_changed
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load, needed_bytes
from worker.engine.memory import memory_told, release
from worker.engine.score import score_labels
from worker.predictions import Prediction, Work
from worker.reporter import JobReporter

CHUNK = 200
"""Rows between two saves: a broken attempt loses at most so many."""


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Score what is not scored yet, split by split over one loaded model. The end of the last split is the job's."""
    reporter.phase("load")
    works = predictions.load(job, token, reporter)
    loaded = loaded_for(job, reporter.patiently(lambda: predictions.weights(works[0].model)), reporter)
    try:
        with memory_told(loaded.device, lambda: "Scoring"):
            for work in works:
                _score(work, loaded)
    finally:
        release(loaded.device)  # all but the model: the process may go on with the next evaluation of it


def loaded_for(job: Job, folders: tuple[Path, Path | None], reporter: JobReporter) -> Loaded:
    """The model in these folders (base weights, adapter), once there is memory for it. Raises Invalid for weights that are not what was registered."""
    base, adapter = folders
    refuse_changed(base, adapter)
    kind = "cuda" if own().startswith("cuda") else "cpu"
    wait_for_memory(job, PROCESS_BYTES[kind] + needed_bytes(base, adapter=adapter, device=kind), reporter)
    return _loaded(base, adapter, settings().device)


@lru_cache(maxsize=1)
def _loaded(base: Path, adapter: Path | None, device: str) -> Loaded:
    """The one model of this process, read once for all evaluations that it does."""
    return load(base, adapter=adapter, device=device, answering=True)


def _score(work: Work, loaded: Loaded) -> None:
    """Chunk by chunk, then measure latency and write the scores."""
    labels = work.labels if work.evaluation.answer == "likelihood" else []
    fitting = fit_rows(loaded, work.template, labels, work.parameters.max_tokens, work.policy, {row.id: work.values(row) for row in work.rows})
    answerer = Answerer(loaded, work, fitting)
    work.reporter.phase("evaluate", len(work.rows))
    for start in range(0, len(work.waiting), CHUNK):
        work.keep(answerer.answer(work.waiting[start : start + CHUNK], work.done + start))
    if answerer.failed:
        raise predictions.rows_missing(len(answerer.failed), len(work.rows), answerer.failed[-1])
    work.reporter.phase("save")
    latency = answerer.latency(work.timed)
    measured = {
        "device": str(answerer.loaded.device),
        "dtype": str(answerer.loaded.dtype).removeprefix("torch."),
        "machine": platform.machine(),
        "latency": "one request at a time, warm, over the start that prompts share",
    }
    work.finish(latency, measured, fit=fitting.as_json())


class Answerer:
    """Answers rows with one loaded model, by label likelihood or by generation."""

    def __init__(self, loaded: Loaded, work: Work, fitting: Fitting) -> None:
        self.loaded, self._work, self._fitting, self._labels = loaded, work, fitting, list(work.labels)
        self._places = {label: at for at, label in enumerate(self._labels)}
        self.failed: list[FettleError] = []
        """What went wrong with single rows; the others go on."""
        self._way = self._by_likelihood if work.evaluation.answer == "likelihood" else self._by_generation

    @cached_property
    def _texts(self) -> list[str]:
        """Every label as it follows the prompt."""
        return [answer_text(self._work.template, label) for label in self._labels]

    @cached_property
    def _free(self) -> list[dict[str, float]]:
        """The labels' log-likelihoods after inputs without content, for calibration: read once for all rows."""
        prompts = [render(self._work.template, values) for values in self._work.content_free()]
        return [dict(zip(self._labels, map(float, sums), strict=True)) for sums in score_labels(self.loaded, prompts, self._texts).sums]

    def answer(self, rows: Sequence[Case], done: int) -> list[Prediction]:
        """Predictions of a chunk, without the rows that went wrong. Raises Stopped when the job shall end."""
        found = self._way(rows, lambda part: self._work.reporter.rows(done + part, len(self._work.rows)))
        answered = [(row, values) for row, values in zip(rows, found, strict=True) if not self._went_wrong(row, values)]
        return [self._work.predicted(row, {**values, "lost": self._fitting.lost(row.id)}) for row, values in answered]

    def _went_wrong(self, row: Case, values: dict[str, Any] | FettleError) -> bool:
        if not isinstance(values, FettleError):
            return False
        self._work.reporter.log(f"row {row.position + 1}: {values.message} A retry asks it again.")
        self.failed.append(values)
        return True

    def latency(self, rows: Sequence[Case]) -> list[float]:
        """Milliseconds of requests answered one at a time, warm, over the start that all prompts share: as they would be served."""
        prompts = self._prompts(rows)
        if self._work.evaluation.answer != "likelihood":
            return generate.alone(self.loaded, [prepare(self.loaded, prompt, self._work.parameters) for prompt in prompts])
        offered = [[answer_text(self._work.template, label) for label in self._work.offered(row)] for row in rows]
        return score.alone(self.loaded, prompts, offered)

    def _prompts(self, rows: Sequence[Case]) -> list[Rendered]:
        return [self._fitting.render(row.id, self._work.values(row)) for row in rows]

    def _by_likelihood(self, rows: Sequence[Case], progress: Any) -> Iterable[Any]:
        names = [self._work.offered(row) for row in rows]
        offered = [[self._places[name] for name in some] for some in names] if self._work.candidates else None
        stop = self._work.reporter.should_stop
        scores = score_labels(self.loaded, self._prompts(rows), self._texts, offered=offered, progress=lambda part, _: progress(part), should_stop=stop)
        lengths = dict(zip(self._labels, map(int, scores.lengths), strict=True))
        for at, (row, some) in enumerate(zip(rows, names, strict=True)):
            sums = {name: float(scores.sums[at][self._places[name]]) for name in some}
            yield self._work.weighed(row, sums, lengths, self._free) | {
                "latency_ms": 1000 * float(scores.seconds[at]),
                "input_tokens": scores.tokens[at],
                "output_tokens": 0,
            }

    def _by_generation(self, rows: Sequence[Case], progress: Any) -> Iterable[Any]:
        ready = [prepare(self.loaded, prompt, self._work.parameters) for prompt in self._prompts(rows)]
        failed: dict[int, FettleError] = {}
        done = complete(self.loaded, ready, progress=lambda part, _: progress(part), should_stop=self._work.reporter.should_stop, failed=failed)
        for at, one in enumerate(done):
            took = {name: getattr(one.finish, name) for name in ("latency_ms", "input_tokens", "output_tokens")}
            if (error := failed.get(at)) is None:
                yield self._work.read_out(one.text, one.finish.reason == "length") | took
            elif error.code in UNREAD:
                self._work.reporter.log(f"row {rows[at].position + 1}: {error.message} It counts as not read.")
                yield predictions.no_answer(error.code) | took
            else:
                yield error
