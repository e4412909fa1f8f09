"""What is said under a verdict, on an experiment's page and in its report: with which rung the others are compared, and what many looks do."""

from app.domain.job import FINAL
from app.services.experiments import Ladder

MANY_LOOKS = 10
"""Scorings of one test split from which on its page says what that does to the intervals."""


def baseline(ladder: Ladder) -> str:
    """Where the rung that somebody wants the others compared with has no figures: why, and which one stands in for it. Empty where nothing stands in."""
    wanted = ladder.chosen_baseline
    instead = next((row for row in ladder.all_rows if row.rung.position == ladder.baseline), None)
    if wanted is None or instead is None or instead is wanted:
        return ""
    why = {"failed": "failed", "cancelled": "was cancelled"}.get(wanted.state, "is not scored yet")
    until = "" if wanted.state in FINAL else " until then"
    return f"The others were to be compared with {wanted.title}, which {why}: they are compared with {instead.title}{until}."


def untouched(ladder: Ladder) -> bool:
    """Whether there is a reserve that nobody has scored or opened."""
    return "reserve" in ladder.looks and not ladder.looks["reserve"].scored and not ladder.looks["reserve"].opened


def many_looks(ladder: Ladder) -> str:
    """What it does to the intervals that test rows were scored often, and what can be done; empty while they were not."""
    scored = ladder.looks["test"].scored
    if scored < MANY_LOOKS:
        return ""
    said = f"These test rows have been scored {scored:,} times. Intervals assume few looks: the more often one looks, the more often a lucky rung is among what is seen."
    rows = ladder.version.splits.get("reserve")
    if untouched(ladder):
        return f"{said} The reserve split has {rows:,} rows that nobody has scored: open it once, for the rung you have decided on."
    return said if rows else f"{said} Set a reserve split aside when you next freeze a dataset, to confirm the last choice on rows that nobody has scored."
