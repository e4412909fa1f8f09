"""The fold "Search settings" of a tuning job: what is typed there, as a search, and a search as it is typed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain import search as searches
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters
from app.domain.search import RATES, Range, Search
from app.pages.formatting import count

HOWS = {"none": "One run", "rate_finder": "Find the learning rate, then one run", "grid": "Grid: every combination", "random": "Random combinations"}
SPACE = "search_space_"
SHARED = ("learning_rate", "batch_size")
"""What is offered besides the method's own parameters."""

_RANGE = re.compile(r"(\S+)\s+to\s+(\S+)(\s+evenly)?")

Values = Mapping[str, str]


@dataclass(frozen=True)
class SpaceField:
    """The values of one parameter, as typed. `usual` is what is tried when nothing is typed anywhere."""

    name: str
    label: str
    value: str
    usual: str


def how(values: Values) -> str:
    return values["search_how"] if values.get("search_how") in HOWS else "none"


def given(values: Values, method: str) -> dict[str, Any]:
    """The search a person asked for, as the API would have it. Fields that the chosen way does not draw do not count."""
    chosen = how(values)
    found: dict[str, Any] = {"how": chosen}
    if chosen == "random":
        found |= {"trials": values["search_trials"]} if values.get("search_trials", "").strip() else {}
    if chosen in ("grid", "random"):
        found |= {"factor": values["search_factor"]} if values.get("search_factor") else {}
        typed = {name: values.get(SPACE + name, "").strip() for name in searches.searched_names(METHODS[method])}
        found["space"] = {name: _read(text) for name, text in typed.items() if text}
    return found


def typed(search: Mapping[str, Any]) -> dict[str, str]:
    """The form's fields of a search that a job was started with."""
    chosen = Search.model_validate(search)
    fields = {"search_how": chosen.how, "search_trials": str(chosen.trials), "search_factor": str(chosen.factor)}
    return fields | {SPACE + name: _write(values) for name, values in chosen.space.items()}


def fields(values: Values, method: str) -> list[SpaceField]:
    """A field for the learning rate and everything that makes the method what it is; others only where something is typed."""
    own = [
        name
        for name in searches.searched_names(METHODS[method])
        if name in METHODS[method].__annotations__ or (METHODS[method].soft and name == "virtual_tokens")
    ]
    also = [name for name in searches.searched_names(METHODS[method]) if values.get(SPACE + name) and name not in (*own, *SHARED)]
    usual = {name: ", ".join(map(str, tried)) for name, tried in METHODS[method].searched.items()} | {"learning_rate": _usual_rates(how(values))}
    return [SpaceField(SPACE + name, name.replace("_", " ").capitalize(), values.get(SPACE + name, ""), usual.get(name, "")) for name in (*SHARED, *own, *also)]


def estimate(search: Search, parameters: MethodParameters, rows: int) -> str:
    """How many steps the search takes, and how they are shared out."""
    if search.how == "rate_finder":
        return "Before it, at most 60 steps find the learning rate."
    if not search.has_trials:
        return ""
    rungs = searches.schedule(len(searches.combinations(search, parameters.name, parameters)), search.factor)
    total = parameters.total_steps(rows)
    parts = [f"{'the best' if rung.trials == 1 else rung.trials} to step {count(rung.step(total))}" for rung in rungs]
    return f"The search takes about {count(searches.planned_steps(rungs, total))} steps: {', '.join(parts)}."


def _usual_rates(chosen: str) -> str:
    if chosen not in RATES:
        return ""
    words = ["usual" if part == 1 else f"usual × {part}" if part > 1 else f"usual ÷ {1 / part}" for part in RATES[chosen]]
    return (" to " if chosen == "random" else ", ").join(words)


def _read(text: str) -> Any:
    """`1e-4, 3e-4` is a list, `1e-5 to 1e-3` a range over the orders of magnitude, `0 to 0.3 evenly` one over the numbers."""
    if match := _RANGE.fullmatch(text):
        low, high = _value(match[1]), _value(match[2])
        return {"low": low, "high": high, "log": not match[3]}
    return [_value(part.strip()) for part in text.split(",") if part.strip()]


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        read = json.loads(text)
    except ValueError:
        return text
    return read if isinstance(read, int | float) else text


def _write(values: Range | list[Any]) -> str:
    if isinstance(values, Range):
        return f"{values.low:g} to {values.high:g}" + ("" if values.log else " evenly")
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
