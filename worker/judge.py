"""A judge job of a model that runs here: it rules by the likelihood of what it may say. It resumes where a broken attempt ended."""

import platform
from collections.abc import Sequence

from app.domain.job import Job
from app.domain.judging import said
from worker import predictions, sittings
from worker.engine.encode import encode_prompt
from worker.engine.load import Loaded, window
from worker.engine.memory import memory_told
from worker.engine.score import score_labels
from worker.evaluate import loaded_for
from worker.reporter import JobReporter
from worker.sittings import Kept, Reading, Sitting, unread

CHUNK = 100
"""Readings between two saves: a broken attempt loses at most so many."""

ROOM = 16
"""Tokens left for the longest thing a judge may say."""


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Rule on what is not ruled on yet, then write the scores."""
    reporter.phase("load")
    sitting = sittings.load(job, token, reporter)
    loaded = loaded_for(job, reporter.patiently(lambda: predictions.weights(sitting.model)), reporter)
    reporter.phase("evaluate", len(sitting.readings))
    with memory_told(loaded.device, lambda: "Judging"):
        for start in range(0, len(sitting.waiting), CHUNK):
            sitting.keep(_ruled(sitting, loaded, sitting.waiting[start : start + CHUNK], sitting.done + start))
    reporter.phase("save")
    sitting.finish({"device": str(loaded.device), "dtype": str(loaded.dtype).removeprefix("torch."), "machine": platform.machine(), "read": "likelihood"})


def _ruled(sitting: Sitting, loaded: Loaded, readings: Sequence[Reading], done: int) -> list[Kept]:
    """The rulings of a chunk. One whose question is longer than the model's window is not read. Raises Stopped when the job shall end."""
    chat = bool(loaded.tokenizer.chat_template)
    prompts = [sitting.question(one, chat=chat) for one in readings]
    lengths = [len(encode_prompt(loaded.tokenizer, prompt)) for prompt in prompts]
    fits = [at for at, length in enumerate(lengths) if length <= window(loaded.model) - ROOM]
    for at in set(range(len(readings))) - set(fits):
        sitting.reporter.log(f"row {readings[at].position + 1}: its {lengths[at]:,} tokens are more than the judge reads at once. It counts as not read.")
    scores = score_labels(
        loaded,
        [prompts[at] for at in fits],
        said(sitting.brief, chat=chat),
        progress=lambda part, _: sitting.reporter.rows(done + part, len(sitting.readings)),
        should_stop=sitting.reporter.should_stop,
    )
    found = [unread(one) for at, one in enumerate(readings) if at not in fits]
    for row, at in enumerate(fits):
        sums = dict(zip(sitting.brief.answers, map(float, scores.sums[row]), strict=True))
        took = {"latency_ms": 1000 * float(scores.seconds[row]), "input_tokens": scores.tokens[row]}
        found.append(readings[at].kept(max(sums, key=sums.__getitem__), likelihoods=sums, **took))
    return found
