"""An export job: base and adapter written as one plain model, whose answers are compared with theirs before it is handed out.

Each attempt writes into a folder of its own, and the row that ends the job names the one that is handed out. So a worker that lost the job can change
nothing of what another has made, and there is no moment at which a finished export is half there, or not.
"""

import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app import storage
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import ending
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.dataset import Case
from app.domain.export import parity
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.label_book import LabelBook
from app.domain.rendering import Template, answer_text
from app.domain.shape import PROCESS_BYTES
from app.settings import settings
from worker import predictions
from worker.devices import own, wait_for_memory
from worker.engine.artefact import ask_for_merged, merge
from worker.engine.fit import fit_rows
from worker.engine.folders import fingerprint, refuse_changed
from worker.engine.generate import complete, prepare
from worker.engine.load import load, needed_bytes
from worker.engine.score import score_labels
from worker.reporter import JobReporter

ROWS = 300
"""Rows on which both forms answer: enough to see a drift of a few points, few enough not to take longer than the merge by much."""


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Merge, ask both forms, and hand the merged one out if it answers as the adapter does. Raises Invalid `export_drifted`."""
    with reading() as session:
        model = session.get_one(models.Model, job.settings["model"])
        prompt = prompts.find(session, job.person(), job.settings["prompt_version"])
        version = datasets.find(session, job.person(), job.settings["dataset"])
        asked = _Asked(prompt.template(), Parameters.model_validate(prompt.parameters), version.book, _rows(session, version), reporter)
    base, adapter = reporter.patiently(lambda: predictions.weights(model))
    target = _folder(model, job)
    reporter.phase("load")
    _drop_earlier(target, job.attempt)
    refuse_changed(base, adapter)
    ask_for_merged(base, target)  # before the rows are scored, which takes as long as the merge
    kind = "cuda" if own().startswith("cuda") else "cpu"
    wait_for_memory(job, PROCESS_BYTES[kind] + needed_bytes(base, adapter=adapter, device=kind), reporter)
    before = asked.answers(base, adapter, 0)
    reporter.phase("save")
    merge(base, adapter, target)
    after = asked.answers(target, None, len(asked.rows))
    found = parity(before, after, [row.answer for row in asked.rows])
    reporter.log(found.sentence)
    if found.drifted:
        shutil.rmtree(target, ignore_errors=True)
        raise found.drift()
    reporter.patiently(lambda: _shared(target))
    result = {
        "model": model.id,
        "format": job.settings["format"],
        "folder": storage.key_of(target),
        "content_hash": fingerprint(target),
        "bytes": _size(target),
        **found.as_json(),
    }
    reporter.flush()
    with transaction() as session:
        ending.succeed(session, job.id, token, result)


def _folder(model: models.Model, job: Job) -> Path:
    """Where this attempt puts the merged model: on the disk of exports, which may be another one than that of jobs."""
    return settings().storage_folder / models.merged_folder(model) / f"job-{job.id}" / f"attempt-{job.attempt}"


def _drop_earlier(target: Path, attempt: int) -> None:
    """What attempts before this one have left, whole or not, before room is asked for. Never a later one's: this one may have slept since it was given the job."""
    for number in range(1, attempt):
        for begun in target.parent.glob(f".tmp-attempt-{number}-*"):
            shutil.rmtree(begun, ignore_errors=True)
        storage.discard(target.with_name(f"attempt-{number}"))


def _shared(target: Path) -> None:
    """Put the merged model into the object store, if there is one. Raises Unavailable."""
    if (remote := storage.store()) is not None:
        remote.push(target, storage.key_of(target))


def _rows(session: Any, version: datasets.DatasetVersion) -> list[Case]:
    """Validation rows; the test split stays closed. Train rows where there is no validation."""
    split = "validation" if version.splits.get("validation") else "train"
    return list(datasets.cases(session, version, split, ROWS))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class _Asked:
    """The rows both forms answer, through the prompt the model was tuned through."""

    def __init__(self, template: Template, parameters: Parameters, book: LabelBook, rows: Sequence[Case], reporter: JobReporter) -> None:
        self.template, self.parameters, self.book, self.rows, self.reporter = template, parameters, book, rows, reporter

    def answers(self, folder: Path, adapter: Path | None, done: int) -> list[str]:
        """What a form answers to each row: the likeliest label, or what it writes with the likeliest token at each step. The form is gone from memory afterwards."""
        loaded = load(folder, adapter=adapter, device=settings().device)
        labels = self.book.texts()
        values: Mapping[int, Mapping[str, str]] = {row.id: row.values for row in self.rows}
        fitting = fit_rows(loaded, self.template, labels, self.parameters.max_tokens, "cut_tail", values)
        rendered = [fitting.render(row.id, row.values) for row in self.rows]
        self.reporter.phase("evaluate", 2 * len(self.rows))

        def tell(part: int, _: int) -> None:
            self.reporter.rows(done + part, 2 * len(self.rows))

        if len(labels) > 1:
            texts = [answer_text(self.template, label) for label in labels]
            sums = score_labels(loaded, rendered, texts, progress=tell, should_stop=self.reporter.should_stop).sums
            answers = [labels[int(row.argmax())] for row in sums]
        else:
            greedy = self.parameters.model_copy(update={"temperature": 0.0, "n": 1})
            ready = [prepare(loaded, one, greedy) for one in rendered]
            answers = [self.book.answer_in(one.text) for one in complete(loaded, ready, progress=tell, should_stop=self.reporter.should_stop)]
        del loaded
        gc.collect()
        return answers
