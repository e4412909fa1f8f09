"""A job in words: the one sentence, what stands at each phase, what there is to do. Pure; times are milliseconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

from app.domain.job import Job
from app.domain.metric import Point
from app.domain.stats import wilson
from app.domain.turn import Turn
from app.domain.validation import LOSS
from app.pages.formatting import about, duration, percent, size
from app.pages.queue_words import gpus, lacks_room, ordinal, silence
from app.pages.trial_view import fraction as search_fraction
from app.pages.trial_view import running
from app.services.jobs import COMMANDS, JobView, Tuning

PHASES: Mapping[str, tuple[str, ...]] = {
    "tune": ("load", "preflight", "train", "save"),
    "evaluate": ("load", "evaluate"),
    "export": ("load", "evaluate", "save"),
}
SILENT_MS = 15_000
"""From here on a missing heartbeat is worth a word."""

DOING = {
    "load": "Loading the model and the data",
    "preflight": "Trying one step at the longest examples",
    "train": "Training",
    "evaluate": "Evaluating",
    "save": "Saving the tuned model",
}


class Clause(NamedTuple):
    """A part of a sentence, and the moment that stands behind it."""

    text: str
    moment: int | None = None


@dataclass(frozen=True)
class Sentence:
    """What a job does now: `strong` is the part to see first, `aside` what to know besides."""

    start: str
    strong: str = ""
    end: str = ""
    aside: str = ""
    clauses: tuple[Clause, ...] = ()
    """What is said behind all that by the clock, as one sentence."""


def phase_of(job: Job) -> str | None:
    """Where a job stands on its line. Validations interrupt training, and belong to it."""
    if job.state == "queued":
        return None
    return "train" if job.kind == "tune" and job.phase == "evaluate" else job.phase


def sentence(view: JobView, tuning: Tuning | None, now_ms: int) -> Sentence:
    job = view.job
    if job.state == "queued":
        return _waiting(view, now_ms)
    if job.state in ("running", "stopping"):
        return _working(view, tuning, now_ms)
    took = duration(((job.finished_at or now_ms) - (job.started_at or job.created_at)) / 1000)
    if job.state == "succeeded":
        return Sentence("Done", end=f" in {took}.", aside=_early(job))
    if job.state == "failed":
        at = f", at step {tuning.reached:,} of {tuning.total_steps:,}" if tuning and tuning.reached else ""
        return Sentence("Failed", end=f" after {took}{at}.")
    return Sentence("Cancelled", end=f" after {took}." if job.started_at else " before it began.")


LATE = "The queue service (Redis) does not answer: workers look for jobs every ten seconds meanwhile. The job is safe and starts by itself."


def _waiting(view: JobView, now_ms: int) -> Sentence:
    place = view.position or 1
    aside = _what_for(view, now_ms)
    clauses = _by_the_clock(view.turn) if view.turn and not aside else ()
    return Sentence("Waiting, ", "next" if place == 1 else f"{ordinal(place)}", " in the queue.", aside, clauses)


def _what_for(view: JobView, now_ms: int) -> str:
    """What a waiting job waits for besides its turn, most lasting first."""
    if view.paused_by is not None:
        return f"The queue is paused{f' by {view.paused_by}' if view.paused_by else ''}: nothing new is taken until it is resumed."
    if not view.workers:
        away = "" if view.broker else ", and the queue service (Redis) does not answer either"
        return f"{silence(view.heard_at, now_ms)}{away}: run `{COMMANDS[view.job.queue]}`. The job is safe."
    if lacking := view.job.lacks_gpus(view.gpus):
        asks = f"it is spread over {lacking} devices" if lacking > 1 else "four-bit tuning needs one"
        most = max(view.gpus)
        has = f"the one that has most may use {gpus(most)}" if most else "the workers that answer have none"
        return f"It waits for a worker with {gpus(lacking)}: {asks}, and {has}."
    if lacks_room(view.job, view.free_bytes):
        found = f"it needs {size(view.job.needs_bytes or 0)}, and {size(view.free_bytes or 0)} are free. It starts by itself when there is room"
        return f"It waits for room on the disk: {found}; `fettle doctor` says what takes the space."
    return "" if view.broker or (view.turn and view.turn.behind) else LATE


def _by_the_clock(turn: Turn) -> tuple[Clause, ...]:
    """Who has the device, until when, how many wait before this one, and when its turn comes; of all that only what is known."""
    said = []
    if turn.behind is not None:
        device = turn.device or "the worker"
        held = f"{device[0].upper()}{device[1:]} is with job {turn.behind}"
        said.append(Clause(f"{held} until about" if turn.until else held, turn.until))
    ahead = turn.place - 1
    if ahead and (said or turn.begins):
        said.append(Clause(f"{ahead} {'job is' if ahead == 1 else 'jobs are'} ahead of this one"))
    if ahead and turn.begins:
        said.append(Clause("it begins about", turn.begins))
    return tuple(said)


def _early(job: Job) -> str:
    """That somebody ended a run before its last step; "" where it had come to that by itself."""
    if job.ended_early is None:
        return ""
    steps, planned = job.ended_early
    return f"It was ended at step {steps:,} of {planned:,}, and its best moment is the result."


def _working(view: JobView, tuning: Tuning | None, now_ms: int) -> Sentence:
    job = view.job
    silence = now_ms - (job.heartbeat_at or now_ms)
    aside = _improvement(tuning) if tuning and not tuning.trials else ""
    if silence > SILENT_MS:
        aside = f"No heartbeat for {duration(silence / 1000)}; if the worker stays away, the job goes on by itself from its newest checkpoint."
    if view.waits and job.state == "running":
        return Sentence("Ready to begin", end=".", aside=view.waits)
    place = f", on {view.device}" if view.device else ""
    if job.state == "stopping":
        return Sentence(
            "Stopping", end=f" after the present step{place}.", aside="Its best moment is kept." if job.finish else "What is done so far is kept for a retry."
        )
    left = f", {about(job.eta_seconds)} left" if job.eta_seconds is not None else ""
    doing, strong = _doing(job, tuning)
    return Sentence(doing + (", " if strong else ""), strong, f"{left}{place}.", aside)


def _doing(job: Job, tuning: Tuning | None) -> tuple[str, str]:
    """What is done now, and how far it is."""
    finding = job.phase == "preflight" and tuning is not None and bool(tuning.finder)
    unit = "step" if job.phase == "train" or finding else "row" if job.phase == "evaluate" else ""
    far = f"{unit} {job.step:,} of {job.total_steps:,}" if unit and job.total_steps else ""
    if tuning and (trial := running(tuning)):
        doing = "validating" if job.phase == "evaluate" else ""
        return ", ".join(part for part in (f"Trial {trial.number} of {len(tuning.trials)}", doing) if part), far
    if finding:
        return "Finding the learning rate", far
    if "judgement" in job.settings and job.phase == "evaluate":
        return "Judging", far.replace("row", "reading")
    validating = job.kind == "tune" and job.phase == "evaluate"
    return "Validating" if validating else DOING.get(job.phase or "", "Running"), far


def _improvement(tuning: Tuning) -> str:
    """How long ago validation was best, when that is worth knowing."""
    best = best_of(tuning)
    stale = sum(point.step > best.step for point in tuning.validations) if best else 0
    patience = tuning.parameters.early_stopping
    if not stale:
        return ""
    since = f"Validation stopped improving {stale} {'evaluation' if stale == 1 else 'evaluations'} ago"
    if not patience:
        return f"{since}."
    left = patience - stale
    unless = f"without a better {tuning.measure.title}"
    return f"{since}; it stops early " + (f"after {left} more {unless}." if left > 0 else f"now: {patience} were {unless}.")


def best_of(tuning: Tuning) -> Point | None:
    """The best validation of the tuned model; step 0 is the untuned one."""
    measure = tuning.measure

    def rank(point: Point) -> tuple[object, ...]:
        return measure.rank({LOSS: tuning.losses.get(point.step, inf), measure.point: point.value}), -point.step

    return max((point for point in tuning.validations if point.step > 0), key=rank, default=None)


def untuned_of(tuning: Tuning) -> Point | None:
    return next((point for point in tuning.validations if point.step == 0), None)


def rows_of(job: Job, tuning: Tuning) -> int | None:
    """The validation rows that the measure is taken on. While a run that writes its answers is under way they are not known."""
    known = (job.result or {}).get("validated_rows")
    return known or (None if tuning.measure.written else tuning.version.splits.get("validation", 0))


def bounds_of(tuning: Tuning, point: Point, rows: int | None) -> tuple[float, float] | None:
    """95 % Wilson interval of a share of right rows; other measures have none."""
    if not tuning.measure.is_share or not rows:
        return None
    interval = wilson(min(rows, round(point.value * rows)), rows)
    return interval.low, interval.high


def notes(view: JobView, tuning: Tuning | None) -> dict[str, str]:
    """What stands beside each phase: how long it took, or how far it is."""
    job = view.job
    began = [(name, job.phases[name]) for name in PHASES[job.kind] if name in job.phases]
    found = {"queued": ordinal(view.position) + " in the queue"} if view.position else {}
    if job.started_at and not view.position:
        found["queued"] = duration(max(0, job.started_at - job.created_at) / 1000)
    for (name, start), (_, end) in pairwise([*began, ("", job.finished_at)]):
        if end is not None and not view.position:
            found[name] = duration(max(0, end - start) / 1000)
    share = fraction(job, tuning)
    if share is not None:
        found[phase_of(job) or ""] = percent(share)
    return found


def fraction(job: Job, tuning: Tuning | None) -> float | None:
    """How much of the phase under way is done, when that is known."""
    if job.state not in ("running", "stopping"):
        return None
    if tuning and tuning.trials:
        return search_fraction(job, tuning) if phase_of(job) == "train" else None
    if tuning:
        return min(1.0, max(tuning.reached, job.step if job.phase == "train" else 0) / tuning.total_steps) if phase_of(job) == "train" else None
    return job.step / job.total_steps if job.phase == "evaluate" and job.total_steps else None


def offset(line_ms: int, job: Job) -> str:
    """When a log line was written, from the job's start: 0:12, 1:02:45."""
    seconds = max(0, line_ms - (job.started_at or job.created_at)) // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
