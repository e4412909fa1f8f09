"""The trials of a search as a job's page shows them: a table, lines in its charts, words. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain import search as searches
from app.domain.job import Job
from app.domain.metric import Point
from app.domain.trial import Trial
from app.pages.formatting import number
from app.pages.job_form import plain
from app.services.jobs import Tuning

LABELLED = 12
"""With more lines than this their numbers would not fit beside a chart."""

BADGES = {"waiting": ("queued", "off"), "running": ("running", "on"), "stopped": ("slash", "off"), "failed": ("cross", "bad"), "won": ("star", "go")}
WIDTH, HEIGHT = 600, 160
"""The drawing of a learning-rate finder, in its own units."""


@dataclass(frozen=True)
class TrialRow:
    """One line of the table. `badge` is (word, shape, tone); `note` says where and why a trial ended."""

    number: int
    values: list[str]
    badge: tuple[str, str, str]
    note: str
    step: int
    value: str
    leading: bool


@dataclass(frozen=True)
class FinderDrawing:
    """The finder's curve as SVG points over the logarithm of the rate, ends in words, and where the chosen rate stands."""

    points: str
    low: str
    high: str
    chosen: str
    at: float | None


def count_of(tuning: Tuning) -> int:
    """How many trials the search has, also before its worker has begun."""
    if tuning.trials or not tuning.search.has_trials:
        return len(tuning.trials)
    return len(searches.combinations(tuning.search, tuning.parameters.name, tuning.parameters))


def trial_names(tuning: Tuning) -> list[str]:
    """The parameters that the trials set, in the order of the method's own form."""
    return [name for name in type(tuning.parameters).model_fields if tuning.trials and name in tuning.trials[0].parameters]


def trial_rows(job: Job, tuning: Tuning) -> list[TrialRow]:
    names = trial_names(tuning)
    return [_row(job, trial, names, trial.number == tuning.leading) for trial in tuning.trials]


def _row(job: Job, trial: Trial, names: Sequence[str], leading: bool) -> TrialRow:
    state = "waiting" if trial.state == "running" and job.state not in ("running", "stopping") else trial.state
    ended = {"stopped": f"at step {trial.step:,}: {trial.reason}", "failed": f"at step {trial.step:,}: {trial.reason}"}
    goes_on = f"for the next round, at step {trial.step:,}" if trial.step else ""
    note = ended.get(state, goes_on if state == "waiting" else "").replace("-", "\u2212" if state == "stopped" else "-")
    step = max(trial.step, job.step) if state == "running" and job.phase == "train" else trial.step
    values = ["" if trial.parameters[name] is None else plain(trial.parameters[name]) for name in names]
    return TrialRow(trial.number, values, (state, *BADGES[state]), note, step, number(trial.value), leading and trial.value is not None)


def running(tuning: Tuning | None) -> Trial | None:
    """The trial that runs now."""
    return next((trial for trial in tuning.trials if trial.state == "running"), None) if tuning else None


def fraction(job: Job, tuning: Tuning) -> float:
    """How much of a search is done, in steps of all its trials."""
    rungs = searches.schedule(len(tuning.trials), tuning.search.factor)
    done = sum(row.step for row in trial_rows(job, tuning))
    return min(1.0, done / searches.planned_steps(rungs, tuning.total_steps))


def lines(tuning: Tuning, metric: str, points: Sequence[Point]) -> list[dict[str, Any]]:
    """One line a trial, the one that leads first and in ink, the others behind it."""
    found: dict[str, list[list[float]]] = {}
    for point in points:
        found.setdefault(point.name, []).append([point.step, point.value])
    total = count_of(tuning)
    leading = tuning.leading or 1
    order = [leading, *(number for number in range(1, total + 1) if number != leading)]
    return [
        {
            "name": f"trial {number}" if number == leading or total > LABELLED else str(number),
            "metric": searches.point(number, metric),
            "points": sorted(found.get(searches.point(number, metric), [])),
            "quiet": number != leading,
            "labelled": number == leading or total <= LABELLED,
        }
        for number in order
    ]


def finder_drawing(job: Job, tuning: Tuning) -> FinderDrawing | None:
    """The range test as far as it is; none before two of its steps."""
    curve = tuning.finder
    if len(curve) < 2:
        return None
    left, right = math.log(curve[0][0]), math.log(curve[-1][0])
    low, high = min(loss for _, loss in curve), max(loss for _, loss in curve)

    def across(rate: float) -> float:
        return round((math.log(rate) - left) / (right - left) * WIDTH, 1)

    drawn = " ".join(f"{across(rate)},{round(HEIGHT - 8 - (loss - low) / ((high - low) or 1.0) * (HEIGHT - 16), 1)}" for rate, loss in curve)
    chosen = ((job.result or {}).get("search") or {}).get("learning_rate")
    ends = [plain(float(f"{rate:.2g}")) for rate, _ in (curve[0], curve[-1])]
    return FinderDrawing(drawn, ends[0], ends[1], plain(chosen) if chosen else "", across(chosen) if chosen else None)
