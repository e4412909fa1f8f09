"""The recommendation over an experiment's rungs, computed: the cheapest rung that is shown to hold, or why nothing can be said. Pure.

The best rung is the one with the highest validation score, so its test score is no lucky one. A cheaper rung holds when it is *shown* to be
less than `margin` below the best: the paired score test (Tango's) of "at least `margin` below", one-sided, with Holm's correction over all cheaper
rungs; of a figure that is no mean over rows the lower limit of its interval, at the same levels. "Not significantly different" never counts as "as good". What is cheap is one formula: twelve months of requests, and tuning and labels
once. Where requests a month or a price is not known, the order of the ladder stands for it, and the reasons say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal

from app.domain.ladder import Step, paired
from app.domain.stats import ALPHA, Difference, holds, holm, rows_for, rows_missing
from app.domain.targets import Terms

Z95 = 1.96

FEW_LABELS = 16
"""Train labels a class up to which published comparisons find no gain in plain fine-tuning over a prompt."""

MONTHS = 12

AS_USUAL = Terms()

Kind = Literal["holds", "best", "meets_targets", "cannot_tell", "label_more", "no_signal", "target_unmet"]


@dataclass(frozen=True)
class Recommendation:
    """What to do, in a sentence, with the reasons one by one. `position`: the rung to use; None where none is of use.

    `smallest_margin`: the margin from which on this rung is recommended. `more_rows`: about how many more of these rows would settle it.
    """

    position: int | None
    verdict: str
    kind: Kind
    reasons: tuple[str, ...]
    smallest_margin: float | None = None
    more_rows: int | None = None


def recommend(steps: Sequence[Step], terms: Terms = AS_USUAL, floor: Step | None = None, *, brief: bool = False) -> Recommendation | None:
    """The recommendation; None before two rungs are finished. `floor` always gives the most frequent label. The order of `steps` is of no matter.
    `brief`: without reasons and the smallest margin, for whoever asks under many terms which rung it is.
    """
    if len(steps) < 2:
        return None
    view = _View(sorted(steps, key=lambda step: (step.signal, step.position)), terms, brief)
    if floor is not None and not _signal(view.steps, floor):
        return _no_signal(view, floor)
    return _targeted(view) if terms.asked else _cheapest(view)


class _View:
    """The rungs from cheap to dear, the best one, and which of the cheaper ones hold against it."""

    def __init__(self, steps: Sequence[Step], terms: Terms, brief: bool = False) -> None:
        self.terms, self.brief = terms, brief
        yearly = {step.position: yearly_cost(step, terms) for step in steps}
        self.priced = all(value is not None for value in yearly.values())
        self.steps = sorted(steps, key=lambda step: (yearly[step.position] or 0.0, step.position)) if self.priced else list(steps)
        self.yearly = yearly
        # On validation where every rung has a score there: else on the test rows, and that is said. The cheaper of two equals is the best.
        self.validated = all(step.validation is not None for step in steps)
        self.chosen_by = "validation score" if self.validated else "score"
        self.best = max(self.steps, key=lambda step: (self.quality(step), -self.steps.index(step)))
        self.cheaper = self.steps[: self.steps.index(self.best)]
        self.against_best = {step.position: paired(step, self.best) for step in self.steps if step is not self.best}

    def quality(self, step: Step) -> float:
        return step.validation if self.validated and step.validation is not None else step.value

    def choice(self, margin: float) -> Step:
        """The cheapest rung that holds at this margin."""
        shown = holds([self.against_best[step.position] for step in self.cheaper], margin)
        return next((step for step, held in zip(self.cheaper, shown, strict=True) if held), self.best)

    def smallest_margin(self, choice: Step) -> float:
        """The margin from which on `choice`, which holds at the margin asked for, is the cheapest that does."""
        low, high = 0.0, self.terms.margin
        for _ in range(0 if self.brief else 12):
            middle = (low + high) / 2
            low, high = (low, middle) if self.choice(middle) is choice else (middle, high)
        return high

    def worse(self) -> set[int]:
        """Cheaper rungs that are shown to be worse than the best one."""
        differences = [self.against_best[step.position] for step in self.cheaper]
        p_values = holm([one.p_value for one in differences])
        return {step.position for step, one, p in zip(self.cheaper, differences, p_values, strict=True) if p <= ALPHA and one.high < 0}

    def above(self) -> Step | None:
        """A dearer rung that is shown to be better than the best by validation, which is not shown to be less than the margin below it: the highest."""
        dearer = self.steps[len(self.cheaper) + 1 :]
        differences = [self.against_best[step.position] for step in dearer]
        near = holds([one.turned for one in differences], self.terms.margin) if self.terms.margin > 0 else [False] * len(dearer)
        found = zip(dearer, differences, holm([one.p_value for one in differences]), near, strict=True)
        better = [step for step, one, p, within in found if p <= ALPHA and one.low > 0 and not within]
        return max(better, key=lambda step: step.value, default=None)


def yearly_cost(step: Step, terms: Terms) -> float | None:
    """Twelve months of requests, and tuning and labels once. None where something of it is not known."""
    labels = 0.0 if not step.cost.labels else None if terms.label_price is None else step.cost.labels * terms.label_price
    if terms.requests_a_month is None or step.cost.request is None or step.cost.tuning is None or labels is None:
        return None
    return MONTHS * terms.requests_a_month * step.cost.request + step.cost.tuning + labels


def break_even(dear_request: Step, tuned: Step, label_price: float | None) -> float | None:
    """Requests after which tuning has paid for itself against a prompt that costs more a request; inf: never; None: a price is not known."""
    if dear_request.cost.request is None or tuned.cost.request is None or tuned.cost.tuning is None:
        return None
    more_labels = max(0, tuned.cost.labels - dear_request.cost.labels)
    if more_labels and label_price is None:
        return None
    once = tuned.cost.tuning + more_labels * (label_price or 0.0)
    saved = dear_request.cost.request - tuned.cost.request
    return inf if saved <= 0 else once / saved


def _signal(steps: Sequence[Step], floor: Step) -> bool:
    """Whether any rung is shown to beat the most frequent label."""
    return any(holds([paired(step, floor) for step in steps], 0.0))


def _no_signal(view: _View, floor: Step) -> Recommendation:
    best = max(view.steps, key=lambda step: step.value)
    one = paired(best, floor)
    more = _rows_for(one, 0.0, len(view.steps))
    hope = f"; about {more:,} more {view.terms.rows} rows would tell, if it stays as it is" if more else ""
    sentence = (
        f"Do not tune: no rung is shown to beat {floor.title} ({_value(floor.value, view.terms)}); the highest, {best.title}, is {_signed_span(one)} "
        f"{view.terms.points} against it{hope}. Check the labels first: do two people agree on them, and does the input hold the answer?"
    )
    return Recommendation(None, sentence, "no_signal", _reasons(view), more_rows=more)


def _cheapest(view: _View) -> Recommendation:
    choice = view.choice(view.terms.margin)
    tuned = [step for step in view.steps if step.tunes]
    if _few_labels(view, tuned) and (found := _label_more(view, choice, tuned)):
        return found
    reasons = _reasons(view)
    if (above := view.above()) is not None:
        return _disagree(view, above, reasons)
    advice = f"Use {choice.title}" + (": do not tune." if tuned and not choice.tunes else ".")
    if choice is not view.best:
        one = view.against_best[choice.position]
        sentence = f"{advice} It is shown to be less than {_points(view.terms.margin)} {view.terms.points} below {view.best.title}: {_signed_span(one)}."
        margin = view.smallest_margin(choice)
        below = f"The verdict holds for any margin from {_points(margin)} points on; below that {view.choice(0.999 * margin).title} is recommended."
        return Recommendation(choice.position, sentence, "holds", (*reasons, below), margin)
    open_ = [step for step in view.cheaper if step.position not in view.worse()]
    if open_:
        return _cannot_tell(view, open_, reasons)
    rival = max(view.cheaper or view.steps[1:], key=lambda step: (step.value, -step.position))
    one = view.against_best[rival.position]
    if not view.cheaper:
        sentence = f"{advice} It is the cheapest and has the best {view.chosen_by}; {rival.title} is {_signed_span(one)} {view.terms.points} against it."
    else:
        sentence = f"{advice} Every cheaper rung is shown to be worse; {rival.title} by {_span(one, -1)} {view.terms.points}."
    return Recommendation(choice.position, sentence, "best", reasons)


def _disagree(view: _View, above: Step, reasons: tuple[str, ...]) -> Recommendation:
    """The best by validation is not the best on the rows that are judged by: what cheaper rungs were held against is in doubt."""
    one, rows = view.against_best[above.position], view.terms.rows
    sentence = (
        f"Cannot tell: validation and {rows} rows disagree. {view.best.title} has the best {view.chosen_by}, but {above.title} is shown to be better on "
        f"{one.n:,} {rows} rows: {_signed_span(one)} {view.terms.points}. More validation rows would choose more surely; until then use {above.title}."
    )
    return Recommendation(above.position, sentence, "cannot_tell", reasons)


def _cannot_tell(view: _View, open_: Sequence[Step], reasons: tuple[str, ...]) -> Recommendation:
    """A cheaper rung is neither shown to hold nor shown to be worse: the one that comes nearest is told."""
    near = max(open_, key=lambda step: view.against_best[step.position].difference)
    one = view.against_best[near.position]
    more = _rows_for(one, view.terms.margin, len(view.cheaper))
    rows = view.terms.rows
    hope = f"about {more:,} more {rows} rows would tell, if the difference stays as it is" if more else f"more {rows} rows alone are unlikely to tell"
    sentence = (
        f"Cannot tell whether {near.title} holds against {view.best.title}: {_signed_span(one)} {view.terms.points}, and {_points(view.terms.margin)} points "
        f"below is not ruled out by {one.n:,} {rows} rows; {hope}. Until then {view.best.title} has the best {view.chosen_by}."
    )
    return Recommendation(view.best.position, sentence, "cannot_tell", reasons, more_rows=more)


def _few_labels(view: _View, tuned: Sequence[Step]) -> bool:
    classes = view.terms.classes
    return bool(tuned and classes) and max(step.cost.labels for step in tuned) <= FEW_LABELS * (classes or 0)


def _label_more(view: _View, choice: Step, tuned: Sequence[Step]) -> Recommendation | None:
    """With few labels a class: unless a tuned rung is shown to beat the best of the others, a prompt or the linear baseline, more labels come first."""
    others = [step for step in view.steps if not step.tunes]
    if not others:
        return None
    rival = max(others, key=lambda step: (view.quality(step), -view.steps.index(step)))
    differences = [paired(step, rival) for step in tuned]
    if any(p <= ALPHA and one.low > 0 for one, p in zip(differences, holm([one.p_value for one in differences]), strict=True)):
        return None
    use = choice if not choice.tunes else rival
    nearest = max(zip(tuned, differences, strict=True), key=lambda pair: pair[1].difference)
    labels = max(step.cost.labels for step in tuned)
    sentence = (
        f"Label more before tuning: with {labels:,} labels ({labels / (view.terms.classes or 1):.0f} a class) no tuned rung is shown to beat "
        f"{rival.title}; {nearest[0].title} is {_signed_span(nearest[1])} {view.terms.points} against it. Use {use.title} meanwhile."
    )
    return Recommendation(use.position, sentence, "label_more", _reasons(view))


def _targeted(view: _View) -> Recommendation:
    """The cheapest rung that is shown to meet what the user asked for."""
    terms = view.terms
    quick = [step for step in view.steps if _within(step.latency_ms, terms.latency_ms) and _within(_thousand(step), terms.price)]
    limits = {} if terms.quality is None else _reaching(quick, terms.quality)
    met = quick if terms.quality is None else [step for step in quick if step.position in limits]
    tuned = any(step.tunes for step in view.steps)
    if met:
        choice = met[0]
        # A p95 of a dozen requests and a price are what was measured: only quality has an interval to show it by.
        meets = "that meets" if terms.quality is None else "shown to meet"
        advice = f"Use {choice.title}" + (": do not tune." if tuned and not choice.tunes else ".")
        figures = _measures(choice, terms, limits.get(choice.position))
        return Recommendation(choice.position, f"{advice} It is the cheapest rung {meets} the targets: {figures}.", "meets_targets", _reasons(view))
    near = max(quick or view.steps, key=lambda step: (step.value, -step.position))
    may = terms.quality is not None and bool(quick) and near.value > terms.quality
    if may and terms.quality is not None:
        gap, n, interval = near.value - terms.quality, len(near.results), near.results.interval()
        squared = n * ((interval.high - interval.low) / (2 * Z95)) ** 2  # of a row, from how far its mean is known
        more = rows_missing(gap, max(squared, gap * gap), n, 2 * ALPHA / len(quick))
        hope = f"; about {more:,} more {terms.rows} rows would tell" if more else ""
        sentence = f"Cannot tell whether a rung meets the targets: {near.title} comes nearest ({_measures(near, terms)}){hope}."
        return Recommendation(near.position, sentence, "cannot_tell", _reasons(view), more_rows=more)
    sentence = f"No rung meets the targets: {near.title} comes nearest ({_measures(near, terms)})."
    return Recommendation(near.position, sentence, "target_unmet", _reasons(view))


def _reaching(steps: Sequence[Step], quality: float) -> dict[int, float]:
    """Of the rungs that are shown to reach a quality, one-sided with Holm's steps over all of them, the limit that each is shown to lie above."""
    shown: dict[int, float] = {}
    while open_ := [step for step in steps if step.position not in shown]:
        limits = {step.position: step.results.interval(1 - 2 * ALPHA / len(open_)).low for step in open_}
        found = {position: low for position, low in limits.items() if low >= quality}
        if not found:
            break
        shown |= found
    return shown


def _within(value: float | None, limit: float | None) -> bool:
    """A figure that is not known meets no limit."""
    return limit is None or (value is not None and value <= limit)


def _thousand(step: Step) -> float | None:
    return None if step.cost.request is None else 1000 * step.cost.request


def _measures(step: Step, terms: Terms, limit: float | None = None) -> str:
    """A rung's figures beside what was asked for: the quality with the limit that it is shown to lie above, or else with its interval."""
    words = []
    if terms.quality is not None:
        interval = step.results.interval()
        span = f"[{_points(interval.low)}, {_points(interval.high)}]" if not terms.figure else f"[{interval.low:.3f}, {interval.high:.3f}]"
        span = f" {span}" if limit is None else f", shown to be at least {_value(limit, terms, short=True)},"
        words.append(f"{_value(step.value, terms)}{span} against {_value(terms.quality, terms, short=True)}")
    if terms.latency_ms is not None:
        words.append(
            f"p95 {'not known' if step.latency_ms is None else f'{step.latency_ms:,.0f} ms of {step.timed:,} requests'} against {terms.latency_ms:,.0f} ms"
        )
    if terms.price is not None:
        price = _thousand(step)
        words.append(f"{'no price set' if price is None else f'{price:,.2f}'} against {terms.price:,.2f} for 1,000 requests")
    return ", ".join(words)


def _reasons(view: _View) -> tuple[str, ...]:
    """Every other rung against the best one, what is cheap, and when tuning pays."""
    if view.brief:
        return ()
    found = [f"{step.title}: {_against(view, step)}" for step in view.steps if step is not view.best]
    found.append(
        f"{view.best.title} is the best rung by its {view.chosen_by}"
        + ("." if view.validated else ": some rung has no validation score, so it may be a lucky one.")
    )
    if view.priced:
        found.append("Cheap is what costs least in twelve months: " + ", ".join(f"{step.title} {view.yearly[step.position]:,.2f}" for step in view.steps) + ".")
    else:
        found.append("The order of the ladder stands for cost: set requests a month, the price of a label and of a machine hour to count it.")
    found += [words for step in view.steps if step.tunes for other in view.steps if not other.tunes and (words := _pays(step, other, view.terms))]
    return tuple(found)


def _against(view: _View, step: Step) -> str:
    one = view.against_best[step.position]
    words = f"{_signed_span(one)} {view.terms.points} against {view.best.title} (p = {_p(one.p_value)})"
    if step not in view.cheaper:
        return words + ", and costs more"
    if one.draws is not None:
        return f"{words}; one-sided, 95 %, it is {_points(one.lower(ALPHA))} or above"
    return words + f"; that it is {_points(view.terms.margin)} or more below has p = {_p(one.p_below(view.terms.margin))}"


def _pays(tuned: Step, prompt: Step, terms: Terms) -> str:
    requests = break_even(prompt, tuned, terms.label_price)
    if requests is None:
        return ""
    if requests == inf:
        return f"{tuned.title} never pays for itself against {prompt.title}: a request costs as much or more."
    return f"{tuned.title} has paid for itself against {prompt.title} after about {int(float(f'{max(1, ceil(requests)):.2g}')):,} requests."


def _rows_for(one: Difference, margin: float, comparisons: int = 1) -> int | None:
    """More rows until the loss is shown to be less than `margin`, if the observed difference is the true one."""
    return rows_for(one, one.difference + margin, 2 * ALPHA / max(1, comparisons))


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:g}"


def _value(fraction: float, terms: Terms, short: bool = False) -> str:
    """A score as it is read: a share of rows as per cent, another figure as its number with its name, unless `short`."""
    if not terms.figure:
        return f"{100 * fraction:.1f} %"
    return f"{fraction:.3f}" if short else f"{terms.figure} {fraction:.3f}"


def _span(one: Difference, sign: int = 1) -> str:
    """A difference in points with its interval, seen from the other side when sign is -1."""
    low, high = sorted((sign * one.low, sign * one.high))
    return f"{100 * sign * one.difference:.1f} [{100 * low + 0.0:.1f}, {100 * high + 0.0:.1f}]"


def _signed_span(one: Difference) -> str:
    def signed(fraction: float) -> str:
        return f"{round(100 * fraction, 1) + 0.0:+.1f}"

    return f"{signed(one.difference)} [{signed(one.low)}, {signed(one.high)}]"


def _p(value: float) -> str:
    return "under 0.0001" if value < 0.0001 else f"{value:.4f}".rstrip("0").rstrip(".")
