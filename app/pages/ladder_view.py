"""An experiment's table as its page draws it: one row a rung, all intervals on one axis, the verdict in a sentence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.job import FINAL, Job
from app.domain.ladder import Comparison
from app.pages.formatting import Axis, axis, points
from app.services.experiments import Ladder, RungRow

VERDICTS = {"at_most_margin_below": "within_margin"}
"""Where the domain's name of a verdict differs from the mark's."""

WORDS = {"better": "better", "worse": "worse", "within_margin": "within margin", "cannot_tell": "cannot tell"}


@dataclass(frozen=True)
class Line:
    """One rung. What is not known yet is none, and the row is as high as it will be."""

    position: int
    title: str
    sub: str
    state: str
    job: Job | None
    scores: Mapping[str, Any] | None
    comparison: Comparison | None
    verdict: str
    verdict_text: str
    trainable: int | None
    training_seconds: float | None
    labels: int
    best: bool
    is_baseline: bool

    @property
    def fraction(self) -> float | None:
        """How much of the present phase is done."""
        job = self.job
        counted = job is not None and job.state == "running" and job.phase in ("train", "evaluate") and job.total_steps
        return job.step / job.total_steps if job is not None and counted and job.total_steps else None

    @property
    def phase(self) -> str:
        """What the rung is doing, in a word."""
        if self.job is None or self.job.state != "running":
            return ""
        words = {"train": "training", "evaluate": "validating" if self.job.kind == "tune" else "scoring", "load": "loading", "save": "saving"}
        return words.get(self.job.phase or "", "starting")


def lines(ladder: Ladder) -> list[Line]:
    return [_line(ladder, row) for row in ladder.rows]


def _line(ladder: Ladder, row: RungRow) -> Line:
    kind = row.comparison.verdict.kind if row.comparison else ""
    verdict = VERDICTS.get(kind, kind)
    is_baseline = row.scores is not None and row.rung.position == ladder.baseline
    return Line(
        row.rung.position,
        row.rung.title,
        _sub(ladder, row),
        row.state,
        row.job,
        row.scores,
        row.comparison,
        "baseline" if is_baseline else verdict,
        "" if row.comparison is None else f"{WORDS[verdict]} {points(row.comparison.difference.difference)}",
        row.model.trainable_parameters if row.rung.tunes else None,
        row.model.training_seconds if row.rung.tunes else None,
        row.labels_used,
        ladder.recommendation is not None and ladder.recommendation.position == row.rung.position,
        is_baseline,
    )


def _sub(ladder: Ladder, row: RungRow) -> str:
    """Under the title: the tuned model, or the seed of a draw of shots."""
    if row.scores and row.rung.model_id != ladder.experiment.model_id:
        return row.model.name
    if not row.rung.settings.get("shots"):
        return ""
    return f"drawn, seed {row.rung.settings['seed']}" if row.rung.settings.get("drawn", True) else "the prompt's own"


def shared_axis(rows: Sequence[Line]) -> Axis:
    """The one axis of all whiskers. The majority is no rung: where it lies below, an arrow points at it."""
    scored = [line.scores for line in rows if line.scores]
    baseline = next((line.scores["accuracy"] for line in rows if line.is_baseline and line.scores), None)
    return axis([end for scores in scored for end in scores["interval"]], baseline)


def verdict(ladder: Ladder) -> tuple[str, str]:
    """The sentence that stands first, and what to add to it in a lower voice."""
    over = sum(row.state in FINAL for row in ladder.rows)
    scored = sum(row.scores is not None for row in ladder.rows)
    total = len(ladder.rows)
    if ladder.recommendation is not None:
        sentence = typographic(ladder.recommendation.verdict)
        return (sentence, "") if over == total else (sentence, f"So far: {scored} of {total} rungs are scored.")
    if over < total:
        return "No verdict yet.", f"{scored} of {total} rungs {'is' if scored == 1 else 'are'} scored; it takes two."
    return "No verdict.", f"Only {scored} of {total} rungs could be scored; it takes two."


def typographic(sentence: str) -> str:
    """A minus in front of a number as a minus sign, as in the table."""
    return re.sub(r"-(?=\d)", "\u2212", sentence)


def measured(ladder: Ladder) -> dict[str, Any]:
    """How the figures came about, from the evaluations themselves."""
    found = [row.scores["measured"] for row in ladder.rows if row.scores and row.scores.get("measured")]
    versions = [row.tune_job.result["versions"] for row in ladder.rows if row.tune_job and row.tune_job.result and row.tune_job.result.get("versions")]
    return {"where": found[-1] if found else {}, "versions": versions[-1] if versions else {}}
