"""A judgement in words: its verdict, and what its figures warn of. Pure."""

from collections.abc import Mapping
from typing import Any

from app.domain.judging import Scale
from app.domain.outcomes import verdict
from app.pages.formatting import count, interval, number, percent
from app.services.judgements import WithPeople

MANY_FLIPS = 1 / 3
"""From so large a share of flips on, a judge is told apart from a coin by little."""

WINS = {"better": "A wins more often than B", "worse": "B wins more often than A", "cannot_tell": "Cannot tell which one wins more often"}


def headline(scores: Mapping[str, Any]) -> str:
    """Who wins, and how surely."""
    rate = scores["win_rate"]
    if verdict(scores) == "same":
        return f"All {count(scores['n'])} answers are the same: there is nothing to choose between."
    if rate["value"] is None:
        return "Nobody has chosen." if "rulings" in scores else "No row could be read from what the judge said."
    numbers = f"A’s win rate is {percent(rate['value'])} {interval(rate['interval'], 2)} over {count(scores['n'])} rows, a tie being half a win"
    return f"{WINS[verdict(scores)]}: {numbers}."


def graded(scores: Mapping[str, Any], scale: Scale) -> str:
    """The mean grade, or how many pass."""
    mean = scores["mean"]
    if mean["value"] is None:
        return "No row could be read from what the judge said."
    rows = f"over {count(scores['n'])} rows"
    if scale.kind == "pass_fail":
        return f"{percent(mean['value'])} {interval(mean['interval'], 2)} pass {rows}."
    return f"Mean grade {number(mean['value'], 2)} {interval(mean['interval'], 2)} of {scale.low} to {scale.high} {rows}."


def trust(found: WithPeople) -> str:
    """How far the judge can be believed, by what people said of the same rows."""
    one = found.agreement
    if not one.n:
        return f"Nobody has graded a row yet, so nothing says that people would grade like this judge: grade about {one.more} rows before you trust it."
    known = f"How far this judge grades like people is known from {count(one.n)} rows"
    return f"{known}: grade about {one.more} more before you trust it." if one.more else f"{known}, to about 10 points."


def among(found: WithPeople) -> str:
    """How far people agree with each other; "" where no row has two of them."""
    alpha = found.among
    if not alpha.rows:
        return ""
    value = "not defined: all say the same" if alpha.value is None else f"{number(alpha.value, 2)} {interval(alpha.interval, 2)}"
    return f"{found.people} people; Krippendorff’s alpha over the {count(alpha.rows)} rows that several of them graded: {value}."


def cautions(scores: Mapping[str, Any]) -> list[str]:
    """What keeps the figures from being taken at their word."""
    found = _of_pairs(scores) if "longer" in scores else []
    if scores["unread"] > scores["n"] / 10:
        found.append(f"{count(scores['unread'])} rows were not read: the judge said something else than was asked for, or could not read the question.")
    return found


def _of_pairs(scores: Mapping[str, Any]) -> list[str]:
    found = []
    flips, longer = scores.get("flips"), scores["longer"]
    if flips and flips["share"] is not None and flips["share"] > MANY_FLIPS:
        side = "the answer that stood first" if flips["first"] >= flips["second"] else "the answer that stood second"
        found.append(
            f"{percent(flips['share'])} of the rows flip when the order is turned, {count(max(flips['first'], flips['second']))} of them for {side}: "
            "this judge goes by the place more than by the answers. Try a larger one."
        )
    if longer["of"] and (longer["interval"][0] > 0.5 or longer["interval"][1] < 0.5):
        side = "longer" if longer["share"] > 0.5 else "shorter"
        share = longer["share"] if longer["share"] > 0.5 else 1 - longer["share"]
        found.append(
            f"The {side} answer won {percent(share)} of the rows that were decided. Being {side} may be what makes it better, or what is favoured for itself."
        )
    return found


def stack(scores: Mapping[str, Any]) -> list[tuple[str, int, float, float]]:
    """The bar of A's wins, ties and B's wins: (side, how many, where it begins, how wide), in per cent."""
    found, at = [], 0.0
    for side, name in (("a", "wins"), ("tie", "ties"), ("b", "losses")):
        width = 100 * scores[name] / max(1, scores["n"])
        found.append((side, scores[name], round(at, 2), round(width, 2)))
        at += width
    return found
