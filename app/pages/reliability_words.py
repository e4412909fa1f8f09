"""A reliability check in words: what its figures amount to, and what they do not say. Pure."""

from collections.abc import Mapping
from typing import Any

from app.pages.formatting import count, interval, number, percent, times


def headline(found: Mapping[str, Any], kind: str, title: str) -> str:
    """How much of the answers stays, and how far the figure moves."""
    one, spread = found["same"], found["spread"]
    asked = f"In {found['runs']} forms of the same prompt" if kind == "forms" else f"Asked {found['runs']} times"
    if one["count"] == one["of"]:
        return f"{asked} all {count(one['of'])} rows get the same answer."
    share = f"{percent(one['share'])} {interval(one['interval'], 2)} of {count(one['of'])} rows get the same answer"
    low, middle, high = (number(spread[name]) for name in ("min", "median", "max"))
    return f"{asked} {share}; {title} goes from {low} to {high}, the median is {middle}."


def chance(found: Mapping[str, Any], kind: str) -> str:
    """Whether the spread is more than chance makes; "" for a figure that is no mean over rows."""
    p = found["spread"]["p_value"]
    if p is None or found["same"]["count"] == found["same"]["of"]:
        return ""
    runs = "the forms" if kind == "forms" else "the repeats"
    share = percent(p) if p > 0.05 else "less than 0.1 %" if p < 0.001 else percent(p, 1)
    meaning = {
        "forms": "which one is asked matters",
        "repeats": "something changed from one to the next, beyond the luck of each row",
    }
    return f"Were {runs} alike, they would lie as far apart in {share} of cases: {'this spread may be chance' if p > 0.05 else meaning[kind]}."


def outlook(forms: int) -> str:
    """What a further form may do. Of so many drawn the same way, and one more, each is as likely the lowest or the highest; the prompt itself, which was not
    drawn, can only make their range wider."""
    if forms < 3:
        return ""
    share = percent((forms - 1) / (forms + 1))
    return f"A further form drawn the same way lies in this range, that of the prompt and {forms} drawn forms, in at least {share} of cases."


def asked(forms: int, repeats: int) -> str:
    """How an evaluation is asked again: in 8 other forms, 4 times."""
    said = [f"in {forms} other {'form' if forms == 1 else 'forms'}" if forms else "", times(repeats) if repeats else ""]
    return ", ".join(part for part in said if part)


def robust(found: Mapping[str, Any], kind: str) -> str:
    """How many rows are right whichever run is taken."""
    runs = "form" if kind == "forms" else "repeat"
    return f"right in every {runs}; {count(found['sometimes'])} more in some"
