"""The verdict over an experiment's rungs: paired comparisons on the same rows, and the cheapest rung that holds. Pure.

Rungs come in ladder order, cheapest first. The best score is the measure; the first rung that is not shown to be worse
than it (after Holm's correction for how many rungs were asked) is recommended. So a tuned model must win beyond chance
before anybody is told to tune.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.stats import Difference, Verdict, corrected, paired_difference, verdict


@dataclass(frozen=True)
class Step:
    """A finished rung: its place in ladder order, title, and which examples it has right."""

    position: int
    title: str
    correct: Mapping[int, bool]
    tunes: bool = False

    @property
    def accuracy(self) -> float:
        return sum(self.correct.values()) / len(self.correct)


@dataclass(frozen=True)
class Comparison:
    """A rung against the baseline rung."""

    baseline: int
    difference: Difference
    verdict: Verdict


@dataclass(frozen=True)
class Recommendation:
    """The rung to use, in a sentence, with the reasons one by one."""

    position: int
    verdict: str
    kind: str
    reasons: tuple[str, ...]


def compare(steps: Sequence[Step], baseline: int, margin: float = 0.0) -> dict[int, Comparison]:
    """Every rung against the baseline rung, on the examples both were scored on. Holm-corrected."""
    against = next(step for step in steps if step.position == baseline)
    others = [step for step in steps if step.position != baseline]
    differences = corrected([_paired(step, against) for step in others])
    return {step.position: Comparison(baseline, one, verdict(one, margin)) for step, one in zip(others, differences, strict=True)}


def recommend(steps: Sequence[Step], margin: float = 0.0) -> Recommendation | None:
    """The cheapest rung that holds against the best one. None before two rungs are finished."""
    if len(steps) < 2:
        return None
    best = max(steps, key=lambda step: (step.accuracy, -step.position))
    against_best = compare(steps, best.position, margin)
    held = [step for step in steps if step is best or against_best[step.position].verdict.kind != "worse"]
    choice = held[0]
    reasons = tuple(f"{step.title}: {_reason(against_best[step.position], best)}" for step in steps if step is not best)
    rival = _rival(steps, choice, best)
    comparison = compare(steps, choice.position, margin)[rival.position]
    advice = f"Use {choice.title}" + (": do not tune." if rival.tunes and not choice.tunes else ".")
    if comparison.verdict.kind == "worse":
        return Recommendation(choice.position, f"{advice} It is better than {rival.title} by {_span(comparison.difference, -1)} points.", "better", reasons)
    kind = "cannot_tell" if choice is best else against_best[choice.position].verdict.kind
    return Recommendation(choice.position, f"{advice} {_gap(rival, comparison, len(steps) - 1, margin)}", kind, reasons)


def _rival(steps: Sequence[Step], choice: Step, best: Step) -> Step:
    """What the choice has to be told from: the best tuned rung when a prompt was chosen, else the best rung, or the next best."""
    others = [step for step in steps if step is not choice]
    tuned = [step for step in others if step.tunes]
    if tuned and not choice.tunes:
        return max(tuned, key=lambda step: step.accuracy)
    return best if choice is not best else max(others, key=lambda step: step.accuracy)


def _gap(rival: Step, comparison: Comparison, comparisons: int, margin: float) -> str:
    """How far the rival is from the choice, and why that does not count."""
    one, more = comparison.difference, comparison.verdict.more_rows
    gap = f"{rival.title} is {_span(one, 1, signed=True)}"
    if margin > 0 and one.high <= margin:
        return f"{gap}: within the margin of {100 * margin:g} points."
    counted = f" once the {comparisons} comparisons are counted (Holm)" if one.low > 0 or one.high < 0 else ""
    return f"{gap}: cannot be told apart{counted}" + (f"; about {more:,} more test rows would tell." if more else ".")


def _paired(step: Step, against: Step) -> Difference:
    common = sorted(step.correct.keys() & against.correct.keys())
    return paired_difference([step.correct[row] for row in common], [against.correct[row] for row in common])


def _reason(comparison: Comparison, best: Step) -> str:
    one = comparison.difference
    words = {"worse": "worse than", "better": "better than", "cannot_tell": "cannot be told from", "at_most_margin_below": "within the margin of"}
    return f"{words[comparison.verdict.kind]} {best.title}, {_signed(one.difference)} points [{_signed(one.low)}, {_signed(one.high)}], p = {_p(one.p_value)}"


def _span(one: Difference, sign: int, signed: bool = False) -> str:
    """A difference with its interval in points, seen from the other side when sign is -1."""
    form = _signed if signed else lambda fraction: f"{round(100 * fraction, 1) + 0.0:.1f}"
    low, high = sorted((sign * one.low, sign * one.high))
    return f"{form(sign * one.difference)} [{form(low)}, {form(high)}]"


def _signed(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def _p(value: float) -> str:
    return "under 0.0001" if value < 0.0001 else f"{value:.4f}".rstrip("0")
