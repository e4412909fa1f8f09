"""A job in words: the one sentence, what stands at each phase, what there is to do. Pure; times are milliseconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from app.domain.job import Job
from app.domain.metric import MetricPoint
from app.domain.stats import wilson
from app.domain.validation import LOSS
from app.pages.formatting import about, count, duration, percent
from app.pages.trial_view import fraction as search_fraction
from app.pages.trial_view import lines, running
from app.services.jobs import COMMANDS, JobView, Tuning

PHASES: Mapping[str, tuple[str, ...]] = {"tune": ("load", "preflight", "train", "save"), "evaluate": ("load", "evaluate")}
SILENT_MS = 15_000
"""From here on a missing heartbeat is worth a word."""

DOING = {
    "load": "Loading the model and the data",
    "preflight": "Trying one step at the longest examples",
    "train": "Training",
    "evaluate": "Evaluating",
    "save": "Saving the tuned model",
}


@dataclass(frozen=True)
class Sentence:
    """What a job does now: `strong` is the part to see first, `aside` what to know besides."""

    start: str
    strong: str = ""
    end: str = ""
    aside: str = ""


def phase_of(job: Job) -> str | None:
    """Where a job stands on its line. Validations interrupt training, and belong to it."""
    if job.state == "queued":
        return None
    return "train" if job.kind == "tune" and job.phase == "evaluate" else job.phase


def sentence(view: JobView, tuning: Tuning | None, now_ms: int) -> Sentence:
    job = view.job
    if job.state == "queued":
        return _waiting(view)
    if job.state in ("running", "stopping"):
        return _working(view, tuning, now_ms)
    took = duration(((job.finished_at or now_ms) - (job.started_at or job.created_at)) / 1000)
    if job.state == "succeeded":
        return Sentence("Done", end=f" in {took}.")
    if job.state == "failed":
        at = f", at step {tuning.reached:,} of {tuning.total_steps:,}" if tuning and tuning.reached else ""
        return Sentence("Failed", end=f" after {took}{at}.")
    return Sentence("Cancelled", end=f" after {took}." if job.started_at else " before it began.")


def _waiting(view: JobView) -> Sentence:
    place = view.position or 1
    lead = Sentence("Waiting, ", "next" if place == 1 else f"{_ordinal(place)}", " in the queue.")
    if not view.workers:
        return Sentence(lead.start, lead.strong, lead.end, f"No worker answers: run `{COMMANDS[view.job.queue]}`. The job is safe.")
    if view.ahead is None:
        return lead
    left = f", {about(view.ahead.eta_seconds)} left" if view.ahead.eta_seconds is not None else ""
    return Sentence(lead.start, lead.strong, lead.end, f"Job {view.ahead.id} has the device{left}.")


def _working(view: JobView, tuning: Tuning | None, now_ms: int) -> Sentence:
    job = view.job
    silence = now_ms - (job.heartbeat_at or now_ms)
    aside = _improvement(tuning) if tuning and not tuning.trials else ""
    if silence > SILENT_MS:
        aside = f"No heartbeat for {duration(silence / 1000)}; if the worker stays away, the job goes on by itself from its newest checkpoint."
    place = f", on {view.device}" if view.device else ""
    if job.state == "stopping":
        return Sentence("Stopping", end=f" after the present step{place}.", aside="What is done so far is kept for a retry.")
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
    return f"{since}; early stop after {patience}." if patience else f"{since}."


def best_of(tuning: Tuning) -> MetricPoint | None:
    """The best validation of the tuned model; step 0 is the untuned one."""
    measure = tuning.measure

    def rank(point: MetricPoint) -> tuple[object, ...]:
        return measure.rank({LOSS: tuning.losses.get(point.step, inf), measure.point: point.value}), -point.step

    return max((point for point in tuning.validations if point.step > 0), key=rank, default=None)


def untuned_of(tuning: Tuning) -> MetricPoint | None:
    return next((point for point in tuning.validations if point.step == 0), None)


def rows_of(job: Job, tuning: Tuning) -> int | None:
    """The validation rows that the measure is taken on. While a run that writes its answers is under way they are not known."""
    known = (job.result or {}).get("validated_rows")
    return known or (None if tuning.measure.written else tuning.version.splits.get("validation", 0))


def bounds_of(tuning: Tuning, point: MetricPoint, rows: int | None) -> tuple[float, float] | None:
    """95 % Wilson interval of a share of right rows; other measures have none."""
    if not tuning.measure.is_share or not rows:
        return None
    interval = wilson(min(rows, round(point.value * rows)), rows)
    return interval.low, interval.high


def notes(view: JobView, tuning: Tuning | None) -> dict[str, str]:
    """What stands beside each phase: how long it took, or how far it is."""
    job = view.job
    began = [(name, job.phases[name]) for name in PHASES[job.kind] if name in job.phases]
    found = {"queued": _ordinal(view.position) + " in the queue"} if view.position else {}
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


def _ordinal(place: int | None) -> str:
    value = place or 0
    ending = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{count(value)}{ending}"


def offset(line_ms: int, job: Job) -> str:
    """When a log line was written, from the job's start: 0:12, 1:02:45."""
    seconds = max(0, line_ms - (job.started_at or job.created_at)) // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def charts(job: Job, tuning: Tuning, points: list[MetricPoint]) -> dict[str, dict[str, Any]]:
    """The curves of a tune job as static/js/chart.js draws them: the measure's (`main`, unless it is the loss) and the loss, under one crosshair."""
    shared = {"x": "step", "job": job.id, "sync": f"job-{job.id}", "total": tuning.total_steps}

    def series(name: str, metric: str) -> dict[str, Any]:
        return {"name": name, "metric": metric, "points": [[point.step, point.value] for point in points if point.name == metric]}

    if tuning.search.has_trials:
        return _search_charts(tuning, points, shared)
    loss = {**shared, "digits": 2, "series": [series("train", "loss"), series("validation", LOSS)]}
    if tuning.measure.point == LOSS:
        return {"loss": loss}
    main = {**shared, "digits": 3, "series": [series("validation", tuning.measure.point)], "baseline": {"label": "untuned", "step": 0}}
    return {"main": main, "loss": loss}


def _search_charts(tuning: Tuning, points: list[MetricPoint], shared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One line a trial in each: the measure, and the training loss. Where the measure is the loss there is that chart alone."""
    judged = lines(tuning, tuning.measure.point, points)
    if tuning.measure.point == LOSS:
        return {"loss": {**shared, "digits": 2, "series": judged}}
    main = {**shared, "digits": 3, "series": judged, "baseline": {"label": "untuned", "step": 0}}
    return {"main": main, "loss": {**shared, "digits": 2, "series": lines(tuning, "loss", points)}}
