"""A quick look at an experiment: few validation rows, shots drawn once and tuning cut short where that is needed for a provisional verdict in about
three minutes."""

from collections.abc import Sequence
from typing import Any

from app.domain.access import Who
from app.domain.experiment import QUICK_ROWS
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.services import datasets, forecast, models

SECONDS = 165.0
"""How long a quick look may take by its forecast: three minutes, less what a forecast is off by."""

FEWEST = 8
"""Optimiser steps under which tuning says nothing, so that many are made however long the rest takes."""

MANY = 201
"""The second of two numbers of steps that the forecast is asked for, to see what a step takes."""


def capped(person: Who, rungs: Sequence[dict[str, Any]], **where: Any) -> list[dict[str, Any]]:
    """The same rungs where they fit. Else those that are tuned make so many steps at most as the time that is left allows, each as many: `capped` says
    how many; and where prompts alone leave no time for FEWEST of them, shots are drawn once. Steps that somebody has asked for stay.

    `where` are dataset, model and prompt_version. Raises Invalid for lists that cannot be."""

    def takes(some: Sequence[dict[str, Any]]) -> float:
        return forecast.experiment(person, **where, rungs=some, validation_rows=QUICK_ROWS, tested=False).seconds

    if takes(rungs) <= SECONDS:
        return list(rungs)
    tuned = [_tuned(person, rung) for rung in rungs]
    free = [mine and "max_steps" not in (rung.get("parameters") or {}) for rung, mine in zip(rungs, tuned, strict=True)]
    some = list(rungs)
    if takes(_with(some, free, FEWEST)) > SECONDS:
        some = [rung if mine or "seeds" not in rung else {**rung, "seeds": rung["seeds"][:1]} for rung, mine in zip(rungs, tuned, strict=True)]
    one = takes(_with(some, free, 1))
    each = (takes(_with(some, free, MANY)) - one) / (MANY - 1)
    if each <= 0:
        return some
    steps, rows = max(FEWEST, int(1 + (SECONDS - one) / each)), datasets.find(person, where["dataset"]).version.splits.get("train", 0)
    longer = [open_ and steps_of(rung, rows) > steps for rung, open_ in zip(some, free, strict=True)]
    return [{**rung, "capped": steps} if cut else rung for rung, cut in zip(_with(some, longer, steps), longer, strict=True)]


def steps_of(rung: dict[str, Any], rows: int) -> int:
    """Optimiser steps of a rung that is tuned on so many train rows, by its first setting."""
    parameters = {name: value[0] if isinstance(value, list) else value for name, value in (rung.get("parameters") or {}).items()}
    return parse(METHODS, rung["technique"], parameters).total_steps(rows)


def _tuned(person: Who, rung: dict[str, Any]) -> bool:
    """Whether it is tuned here; one with a tuned model of its own is only scored."""
    return rung["technique"] in METHODS and (rung.get("model") is None or models.find(person, rung["model"]).model.kind == "foundation")


# So few steps are looked at once, at their end: five looks would take longer than they do.
def _with(rungs: Sequence[dict[str, Any]], which: Sequence[bool], steps: int) -> list[dict[str, Any]]:
    return [{**rung, "parameters": {**(rung.get("parameters") or {}), "max_steps": steps}} if mine else rung for rung, mine in zip(rungs, which, strict=True)]
