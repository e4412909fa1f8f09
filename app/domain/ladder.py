"""Comparing an experiment's rungs: paired, on the same rows. Pure. What follows from it for the user is `recommendation.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.results import Results
from app.domain.stats import Difference, Verdict, corrected, verdicts


@dataclass(frozen=True)
class Cost:
    """What a rung costs, in the user's currency; None: not known. `labels` are the distinct labelled rows it read outside the test split."""

    request: float | None = None
    tuning: float | None = 0.0
    labels: int = 0


@dataclass(frozen=True)
class Step:
    """A finished rung: its place in ladder order, title, and what it got row by row, under the same figure as every other rung.

    `validation` is its score on the validation split, on which the best rung is chosen; `latency_ms` is the p95 of `timed` requests. `signal`
    marks a large model behind an endpoint, which tells whether the task can be learnt: by ladder order it is the dearest. `prompt` is the wording it was
    asked with, ID@N, where its experiment has several.
    """

    position: int
    title: str
    results: Results
    tunes: bool = False
    validation: float | None = None
    latency_ms: float | None = None
    timed: int = 0
    cost: Cost = field(default_factory=Cost)
    signal: bool = False
    prompt: str = ""

    @property
    def value(self) -> float:
        return self.results.value


@dataclass(frozen=True)
class Comparison:
    """A rung against the baseline rung."""

    baseline: int
    difference: Difference
    verdict: Verdict


def compare(steps: Sequence[Step], baseline: int, margin: float = 0.0, rows: str = "test", figure: str = "") -> dict[int, Comparison]:
    """Every rung against the baseline rung, on the examples both were scored on, which are `rows` rows. Holm-corrected. `figure`: by what they are
    compared, where that is not the share of right rows."""
    against = next(step for step in steps if step.position == baseline)
    others = [step for step in steps if step.position != baseline]
    differences = [paired(step, against) for step in others]
    found = zip(others, corrected(differences), verdicts(differences, margin, rows, figure), strict=True)
    return {step.position: Comparison(baseline, one, said) for step, one, said in found}


def paired(step: Step, against: Step) -> Difference:
    """One rung minus another, on the examples both were scored on. Raises ValueError where there is none."""
    return step.results.minus(against.results)
