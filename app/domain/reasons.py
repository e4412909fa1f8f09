"""The reasons of a recommendation, one by one: every other rung against the best one, what is cheap, and when tuning pays. Pure."""

from math import ceil, inf

from app.domain.ladder import Step
from app.domain.listing import listed
from app.domain.stats import ALPHA, Difference
from app.domain.targets import Terms
from app.domain.weighing import Weighed, break_even


def reasons(view: Weighed) -> tuple[str, ...]:
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
        found.append(_unpriced(view))
    found += [words for step in view.steps if step.tunes for other in view.steps if not other.tunes and (words := _pays(step, other, view.terms))]
    return tuple(found)


def _against(view: Weighed, step: Step) -> str:
    one, k = view.against_best[step.position], len(view.cheaper if step in view.cheaper else view.dearer)
    words = f"{signed_span(one)} {view.terms.points} against {view.best.title} (p = {_p(view.corrected[step.position])}{f', Holm over {k}' if k > 1 else ''})"
    if step not in view.cheaper:
        return words + ", and costs more"
    return f"{words}; at worst {signed(one.lower(ALPHA))} (one-sided, 95 %)"


def _unpriced(view: Weighed) -> str:
    """Why cost is not counted: what is not set, or which rung has no price although all is."""
    terms, costs = view.terms, [step.cost for step in view.steps]
    unset = {
        "requests a month": terms.requests_a_month is None,
        "the price of a label": terms.label_price is None and any(cost.labels for cost in costs),
        "the price of a machine hour": terms.machine_hour is None and any(None in (cost.request, cost.tuning) for cost in costs),
    }
    if missing := [name for name, is_unset in unset.items() if is_unset]:
        return f"The order of the ladder stands for cost: set {listed(missing)} to count it."
    without = listed([step.title for step in view.steps if view.yearly[step.position] is None])
    return f"The order of the ladder stands for cost: no price is known for {without}."


def _pays(tuned: Step, prompt: Step, terms: Terms) -> str:
    requests = break_even(prompt, tuned, terms.label_price)
    if requests is None:
        return ""
    if requests == inf:
        return f"{tuned.title} never pays for itself against {prompt.title}: a request costs as much or more."
    return f"{tuned.title} has paid for itself against {prompt.title} after about {int(float(f'{max(1, ceil(requests)):.2g}')):,} requests."


def points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:g}"


def amount(margin: float, terms: Terms) -> str:
    """A margin with its unit."""
    said = points(margin)
    return f"{said} {terms.points if said != '1' else terms.points.replace('points', 'point')}"


def value_of(fraction: float, terms: Terms, short: bool = False) -> str:
    """A score as it is read: a share of rows as per cent, another figure as its number with its name, unless `short`."""
    if not terms.figure:
        return f"{100 * fraction:.1f} %"
    return f"{fraction:.3f}" if short else f"{terms.figure} {fraction:.3f}"


def span(one: Difference, sign: int = 1) -> str:
    """A difference in points with its interval, seen from the other side when sign is -1."""
    low, high = sorted((sign * one.low, sign * one.high))
    return f"{100 * sign * one.difference:.1f} [{100 * low + 0.0:.1f}, {100 * high + 0.0:.1f}]"


def signed_span(one: Difference) -> str:
    return f"{signed(one.difference)} [{signed(one.low)}, {signed(one.high)}]"


def signed(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def _p(value: float) -> str:
    return "under 0.0001" if value < 0.0001 else f"{value:.4f}".rstrip("0").rstrip(".")
