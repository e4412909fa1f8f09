"""The recommendation over an experiment's rungs, computed: the cheapest rung that is shown to hold, or why nothing can be said. Pure.

The best rung is the one with the highest validation score, so its test score is no lucky one. A cheaper rung holds when it is *shown* to be
less than `margin` below the best: the paired score test (Tango's) of "at least `margin` below", one-sided, with Holm's correction over all rungs asked;
of a figure that is no mean over rows the lower limit of its interval, at the same levels. "Not significantly different" never counts as "as good", and
nothing is as good for having won on validation: the best rung, where others cost more, has to hold in the same way against the best of those. What is cheap
is one formula: twelve months of requests, and tuning and labels once. Where requests a month or a price is not known, the order of the ladder stands for it,
and the reasons say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import Literal

from app.domain.ladder import Step, paired
from app.domain.reasons import amount, points, reasons, signed, signed_span, span, value_of
from app.domain.stats import ALPHA, Difference, holds, holm, rows_for, rows_missing
from app.domain.targets import Terms
from app.domain.weighing import Weighed

Z95 = 1.96

FEW_LABELS = 16
"""Train labels a class up to which published comparisons find no gain in plain fine-tuning over a prompt."""

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
    view = Weighed(sorted(steps, key=lambda step: (step.signal, step.position)), terms, brief)
    if floor is not None and not _signal(view.steps, floor):
        return _no_signal(view, floor)
    return _targeted(view, floor) if terms.asked else _cheapest(view)


def _signal(steps: Sequence[Step], floor: Step) -> bool:
    """Whether any rung is shown to beat the most frequent label."""
    return any(holds([paired(step, floor) for step in steps], 0.0))


def _no_signal(view: Weighed, floor: Step) -> Recommendation:
    best = max(view.steps, key=lambda step: step.value)
    one = paired(best, floor)
    more = rows_for(one, one.difference, 2 * ALPHA / len(view.steps))
    hope = f"; about {more:,} more {view.terms.rows} rows would tell, if it stays as it is" if more else ""
    sentence = (
        f"Do not tune: no rung is shown to beat {floor.title} ({value_of(floor.value, view.terms)}); the highest, {best.title}, is {signed_span(one)} "
        f"{view.terms.points} against it{hope}. Check the labels first: do two people agree on them, and does the input hold the answer?"
    )
    return Recommendation(None, sentence, "no_signal", reasons(view), more_rows=more)


def _cheapest(view: Weighed) -> Recommendation:
    choice = view.choice(view.terms.margin)
    tuned = [step for step in view.steps if step.tunes]
    if _few_labels(view, tuned) and (found := _label_more(view, choice, tuned)):
        return found
    if (above := view.above(view.terms.margin)) is not None:
        return _disagree(view, above)
    if choice is not None and choice is not view.best:
        one = view.against_best[choice.position]
        margin = view.smallest_margin(choice)
        below = f"{amount(margin, view.terms)} is the smallest margin at which this is the verdict."
        return Recommendation(choice.position, f"{_advice(view, choice)} It is {_held(view, one, view.best)}.", "holds", (*reasons(view), below), margin)
    open_ = [step for step in view.cheaper if step.position not in view.worse()]
    if choice is None and not open_:
        return _cannot_tell(view, view.best)
    if open_:
        return _cannot_tell(view, max(open_, key=lambda step: view.against_best[step.position].difference))
    if view.rival is not None:
        rank = "the cheapest" if not view.cheaper else "shown to be better than every cheaper rung"
        sentence = f"It is {rank}, has the best {view.chosen_by}, and is {_held(view, view.asked[view.best.position], view.rival)}."
    else:
        worst = max(view.cheaper, key=lambda step: (step.value, -step.position))
        sentence = f"Every cheaper rung is shown to be worse; {worst.title} by {span(view.against_best[worst.position], -1)} {view.terms.points}."
    return Recommendation(view.best.position, f"{_advice(view, view.best)} {sentence}", "best", reasons(view))


def _advice(view: Weighed, choice: Step) -> str:
    """What to use. Not to tune is said where the best tuned rung is shown to be less than the margin better, and not for another rung's sake."""
    tuned = [step for step in view.steps if step.tunes]
    if not tuned or choice.tunes:
        return f"Use {choice.title}."
    rival = max(tuned, key=lambda step: (view.quality(step), -view.steps.index(step)))
    return f"Use {choice.title}: do not tune." if paired(choice, rival).clears(view.terms.margin, ALPHA) else f"Use {choice.title}."


def _held(view: Weighed, one: Difference, other: Step) -> str:
    """What a rung that holds is shown, with the limit that it was held to: an interval of 95 % reaches further down, and would seem to say otherwise."""
    better = one.clears(0.0, ALPHA / 2 / len(view.asked))  # as sure as what the table calls better
    less = "better than" if better or not view.terms.margin else f"less than {amount(view.terms.margin, view.terms)} below"
    return f"shown to be {less} {other.title}: {signed(one.difference)}, at worst {signed(one.lower(ALPHA))} (one-sided, 95 %)"


def _disagree(view: Weighed, above: Step) -> Recommendation:
    """The best by validation is not the best on the rows that are judged by: what cheaper rungs were held against is in doubt."""
    one, rows = view.against_best[above.position], view.terms.rows
    sentence = (
        f"Cannot tell: validation and {rows} rows disagree. {view.best.title} has the best {view.chosen_by}, but {above.title} is shown to be better on "
        f"{one.n:,} {rows} rows: {signed_span(one)} {view.terms.points}. More validation rows would choose more surely; until then use {above.title}."
    )
    return Recommendation(above.position, sentence, "cannot_tell", reasons(view))


def _cannot_tell(view: Weighed, near: Step) -> Recommendation:
    """A rung is neither shown to hold nor shown to be worse than the best of those that cost more."""
    one, rows = view.asked[near.position], view.terms.rows
    other = view.rival if near is view.best and view.rival else view.best
    more = _rows_to_settle(one, view.terms.margin, len(view.asked))
    hope = f"about {more:,} more {rows} rows would tell, if the difference stays as it is" if more else f"more {rows} rows alone are unlikely to tell"
    below = f"{amount(view.terms.margin, view.terms)} below" if view.terms.margin else "that it is no better"
    until = f"use {near.title}, which costs less and" if near is view.best else view.best.title
    among, why = "", reasons(view)
    if one.clears(view.terms.margin, ALPHA):  # then the interval seems to say otherwise
        among = f" among {len(view.asked)} rungs"
        limit = f"at worst {signed(one.lower(ALPHA))}, one-sided, 95 %"
        why += (f"Were {near.title} alone asked, it would hold ({limit}); of {len(view.asked)} rungs that are held to the margin each is asked harder (Holm).",)
    sentence = (
        f"Cannot tell whether {near.title} holds against {other.title}: {signed_span(one)} {view.terms.points}, and{among} "
        f"{below} is not ruled out by {one.n:,} {rows} rows; {hope}. Until then {until} has the best {view.chosen_by}."
    )
    return Recommendation(view.best.position, sentence, "cannot_tell", why, more_rows=more)


def _few_labels(view: Weighed, tuned: Sequence[Step]) -> bool:
    classes = view.terms.classes
    return bool(tuned and classes) and max(step.cost.labels for step in tuned) <= FEW_LABELS * (classes or 0)


def _label_more(view: Weighed, choice: Step | None, tuned: Sequence[Step]) -> Recommendation | None:
    """With few labels a class: unless a tuned rung is shown to beat the best of the others, a prompt or the linear baseline, more labels come first."""
    others = [step for step in view.steps if not step.tunes]
    if not others:
        return None
    rival = max(others, key=lambda step: (view.quality(step), -view.steps.index(step)))
    differences = [paired(step, rival) for step in tuned]
    if any(p <= ALPHA and one.low > 0 for one, p in zip(differences, holm([one.p_value for one in differences]), strict=True)):
        return None
    use = choice if choice and not choice.tunes else rival
    nearest = max(zip(tuned, differences, strict=True), key=lambda pair: pair[1].difference)
    labels = max(step.cost.labels for step in tuned)
    sentence = (
        f"Label more before tuning: with {labels:,} labels ({labels / (view.terms.classes or 1):.0f} a class) no tuned rung is shown to beat "
        f"{rival.title}; {nearest[0].title} is {signed_span(nearest[1])} {view.terms.points} against it. Use {use.title} meanwhile."
    )
    return Recommendation(use.position, sentence, "label_more", reasons(view))


def _targeted(view: Weighed, floor: Step | None) -> Recommendation:
    """The cheapest rung that is shown to meet what the user asked for."""
    terms = view.terms
    quick = [step for step in view.steps if _within(step.latency_ms, terms.latency_ms) and _within(_thousand(step), terms.price)]
    if terms.quality is None and quick:
        return _within_limits(view, quick, floor)
    limits = {} if terms.quality is None else _reaching(quick, terms.quality)
    if met := [step for step in quick if step.position in limits]:
        choice = met[0]
        tuned = any(step.tunes for step in view.steps)
        advice = f"Use {choice.title}" + (": do not tune." if tuned and not choice.tunes else ".")
        return Recommendation(
            choice.position,
            f"{advice} It is the cheapest rung shown to meet the targets: {_measures(choice, terms, limits[choice.position])}.",
            "meets_targets",
            reasons(view),
        )
    near = max(quick or view.steps, key=lambda step: (step.value, -step.position))
    may = terms.quality is not None and bool(quick) and near.value > terms.quality
    if may and terms.quality is not None:
        gap, n, interval = near.value - terms.quality, len(near.results), near.results.interval()
        squared = n * ((interval.high - interval.low) / (2 * Z95)) ** 2  # of a row, from how far its mean is known
        more = rows_missing(gap, max(squared, gap * gap), n, 2 * ALPHA / len(quick))
        hope = f"; about {more:,} more {terms.rows} rows would tell" if more else ""
        sentence = f"Cannot tell whether a rung meets the targets: {near.title} comes nearest ({_measures(near, terms)}){hope}."
        return Recommendation(near.position, sentence, "cannot_tell", reasons(view), more_rows=more)
    sentence = f"No rung meets the targets: {near.title} comes nearest ({_measures(near, terms)})."
    return Recommendation(near.position, sentence, "target_unmet", reasons(view))


def _within_limits(view: Weighed, quick: Sequence[Step], floor: Step | None) -> Recommendation:
    """Of the rungs that are quick and cheap enough, which is all that was asked, the cheapest that holds among them: being cheap is not yet being of use."""
    terms = view.terms
    others = tuple(f"{step.title} does not meet the targets: {_measures(step, terms)}." for step in view.steps if step not in quick)
    if floor is not None and not _signal(quick, floor):
        best = max(quick, key=lambda step: step.value)
        sentence = (
            f"No rung that meets the targets is shown to beat {floor.title}: {best.title} comes nearest, {signed_span(paired(best, floor))} {terms.points}."
        )
        return Recommendation(None, sentence, "target_unmet", (*others, *reasons(view)))
    if len(quick) == 1:
        (only,) = quick
        sentence = f"Use {only.title}. It is the only rung that meets the targets: {_measures(only, terms)}."
        return Recommendation(only.position, sentence, "meets_targets", (*others, *reasons(view)))
    found = _cheapest(Weighed(quick, terms, view.brief, among=" of those that meet the targets" if others else ""))
    kind: Kind = "meets_targets" if found.kind in ("holds", "best") else found.kind
    choice = next(step for step in quick if step.position == found.position)
    # A p95 of a dozen requests and a price are what was measured: only quality has an interval to show it by.
    sentence = f"{found.verdict} {len(quick)} of {len(view.steps)} rungs meet the targets; {choice.title}: {_measures(choice, terms)}."
    return Recommendation(found.position, sentence, kind, (*others, *found.reasons), found.smallest_margin, found.more_rows)


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
        span = f"[{points(interval.low)}, {points(interval.high)}]" if not terms.figure else f"[{interval.low:.3f}, {interval.high:.3f}]"
        span = f" {span}" if limit is None else f", shown to be at least {value_of(limit, terms, short=True)},"
        words.append(f"{value_of(step.value, terms)}{span} against {value_of(terms.quality, terms, short=True)}")
    if terms.latency_ms is not None:
        words.append(
            f"p95 {'not known' if step.latency_ms is None else f'{step.latency_ms:,.0f} ms of {step.timed:,} requests'} against {terms.latency_ms:,.0f} ms"
        )
    if terms.price is not None:
        price = _thousand(step)
        words.append(f"{'no price set' if price is None else f'{price:,.2f}'} against {terms.price:,.2f} for 1,000 requests")
    return ", ".join(words)


def _rows_to_settle(one: Difference, margin: float, comparisons: int) -> int | None:
    """More rows until a difference is shown to be less than `margin` below or to be a loss, whichever comes first, if the observed one is the true one."""
    if not one.squared and margin > 0:  # no row differs: the score then goes by the margin alone
        z = NormalDist().inv_cdf(1 - ALPHA / comparisons)
        return max(10, ceil(z * z * (1 - margin) / margin) - one.n)
    holding = rows_for(one, one.difference + margin, 2 * ALPHA / comparisons)
    losing = rows_for(one, -one.difference, ALPHA / comparisons)
    return min((rows for rows in (holding, losing) if rows), default=None)
