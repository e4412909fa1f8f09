"""Search for good parameters of one tuning job: what is tried, and which trials go on. Pure.

A grid or random search runs by successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all trials begin, and at every
rung only the best part of them goes on. The learning-rate finder (Smith 2017, arXiv 1506.01186) is one short test before a single run.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.domain.methods import METHODS
from app.domain.methods.base import SEARCHED_WIDTH, MethodParameters
from app.domain.methods.base import parse as parse_parameters
from app.domain.rendering import Template, without_opening
from app.errors import Invalid

MOST_TRIALS = 64
FIRST_SHARE = Fraction(1, 9)
"""The least of its run that a trial gets before it is judged: by then the usual warm-up, a tenth of the steps, is over."""

NEVER_SEARCHED = (
    "max_steps",
    "epochs",
    "evaluations",
    "early_stopping",
    "validate_by",
    "accumulation",
    "fit",
    "devices",
    "sharding",
    "checkpointing",
    "precision",
    "compile",
)
"""What says how long a run is, how it is judged and how it is laid out, rather than how well it learns."""

RATES = {"random": (Fraction(1, 6), Fraction(6)), "grid": (Fraction(1, 3), Fraction(1), Fraction(3))}
"""Around the usual learning rate when no space is given: the ends of a range, or the values."""

DRAWS = 10_000
"""Draws before it is clear that there are not enough different combinations."""

Values = Mapping[str, Any]


class Range(BaseModel):
    """Every number between two: drawn evenly, or with `log` evenly over the orders of magnitude."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float = Field(description="The least value.", allow_inf_nan=False)
    high: float = Field(description="The largest value.", allow_inf_nan=False)
    log: bool = Field(False, description="Draw the logarithm evenly: right for learning rates.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high.")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 when log is set.")
        return self

    def draw(self, chance: random.Random) -> float:
        """One value, to three digits, so that it can be read and typed again."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = chance.uniform(low, high)
        return min(max(float(f"{math.exp(drawn) if self.log else drawn:.3g}"), self.low), self.high)


Choices = list[int | float | bool | str | None]


class Search(BaseModel):
    """How a tuning job looks for its parameters. What it does not vary is taken from the job's own parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    how: Literal["none", "rate_finder", "grid", "random"] = Field(
        "none",
        description="One run with the given parameters; the same after a learning-rate test; every combination of values; or combinations drawn at random.",
    )
    trials: int = Field(8, ge=2, le=MOST_TRIALS, description="Combinations a random search draws. A grid has as many as its values make.")
    factor: int = Field(3, ge=2, le=3, description="At every rung the best 1 in this many trials goes on.")
    space: dict[str, Range | Choices] = Field(
        {},
        description="By parameter: a list of values, or for a random search {low, high, log}. Empty: around the method's usual learning rate, and its main setting.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The same seed draws the same combinations.")

    @classmethod
    def of(cls, settings: Values) -> Self:
        """The search that a job's settings ask for."""
        return cls.model_validate(settings.get("search") or {})

    @property
    def has_trials(self) -> bool:
        return self.how in ("grid", "random")


@dataclass(frozen=True)
class Rung:
    """One round of halving: so many trials run until so much of their run is done."""

    number: int
    trials: int
    share: Fraction

    def step(self, total: int) -> int:
        """The last step of this round in a run of `total` steps."""
        return max(1, math.ceil(total * self.share))


def point(number: int, name: str) -> str:
    """What a trial's metric points are called in its job."""
    return f"trial_{number}/{name}"


def schedule(trials: int, factor: int) -> tuple[Rung, ...]:
    """The rounds of successive halving. The last one goes to the runs' ends; more than one trial is in it when there are very many."""
    counts, share = [trials], Fraction(1)
    while counts[-1] > 1 and share / factor >= FIRST_SHARE:
        counts.append(max(1, counts[-1] // factor))
        share /= factor
    return tuple(Rung(number, count, share * factor**number) for number, count in enumerate(counts))


def planned_steps(rungs: Sequence[Rung], total: int) -> int:
    """Optimiser steps of a whole search whose runs have `total` steps: a trial that goes on never repeats a step."""
    done, steps = 0, 0
    for rung in rungs:
        steps += rung.trials * (rung.step(total) - done)
        done = rung.step(total)
    return steps


def survivors(standings: Mapping[int, tuple[float, float]], keep: int) -> list[int]:
    """The numbers of the best trials, best first, by the rank of their best validation (`Measure.rank`); ties go to the smaller number."""
    return sorted(standings, key=lambda number: (*(-part for part in standings[number]), number))[:keep]


def searched_names(method: type[MethodParameters]) -> list[str]:
    """The parameters of a method that a search may vary."""
    return [name for name in method.model_fields if name not in NEVER_SEARCHED]


def space_of(search: Search, method: str, parameters: MethodParameters, width: int) -> dict[str, Range | Choices]:
    """What is searched: the given space, or around the usual learning rate of a model of that width, times the method's main setting."""
    if search.space:
        return dict(search.space)
    rates = [min(1.0, float(f"{parameters.rate(width) * part:.2g}")) for part in RATES[search.how]]
    usual: Range | Choices = Range(low=rates[0], high=rates[-1], log=True) if search.how == "random" else [*dict.fromkeys(rates)]
    return {"learning_rate": usual, **{name: list(values) for name, values in METHODS[method].searched.items()}}


def combinations(search: Search, method: str, parameters: MethodParameters, width: int = SEARCHED_WIDTH) -> list[dict[str, Any]]:
    """What each trial sets differently, in the order of their numbers. Raises Invalid for what the method refuses, by name."""
    space = space_of(search, method, parameters, width)
    _refuse_names(space, method, search.how)
    found = list(_grid(space) if search.how == "grid" else _drawn(space, search, method))
    for combination in found:
        trial_parameters(method, parameters, combination)
    return found


def runs(search: Search, parameters: MethodParameters, width: int = SEARCHED_WIDTH) -> list[MethodParameters]:
    """The whole parameters of every trial; without trials those of the one run. Raises Invalid as `combinations` does."""
    if not search.has_trials:
        return [parameters]
    return [trial_parameters(parameters.name, parameters, one) for one in combinations(search, parameters.name, parameters, width)]


def trial_parameters(method: str, parameters: MethodParameters, combination: Values) -> MethodParameters:
    """The whole parameters of one trial. Raises Invalid with the name that is refused."""
    try:
        return parse_parameters(METHODS, method, {**parameters.model_dump(), **combination})
    except Invalid as error:
        name = str(error.detail.get("field", ""))
        where = name if name in combination else next(iter(combination))
        raise _refused(f"space.{where}", error.message.removeprefix(f"{name}: ").rstrip(".") + f": {combination[where]!r}.", error.advice) from error


def check(search: Search, method: str, parameters: MethodParameters, validation_rows: int) -> None:
    """Refuse at acceptance what could not run. Raises Invalid."""
    if search.space and not search.has_trials:
        raise _refused("space", f"{search.how} searches no space.", "Choose grid or random, or leave the space out.")
    if search.how == "rate_finder" and parameters.learning_rate is not None:
        raise _refused("how", "The finder chooses the learning rate, and one is given.", "Leave learning_rate empty, or do without the finder.")
    if search.how == "rate_finder" and parameters.devices > 1:
        told = f"The finder's test runs on one device, and this run is spread over {parameters.devices}."
        raise _refused("how", told, "Set devices to 1, or give the learning rate that the finder chose in a run on one device.")
    if search.has_trials:
        if not validation_rows:
            raise _refused("how", "A search compares its trials by a validation split, and this dataset has none.", "Choose a version with validation rows.")
        combinations(search, method, parameters)


def share_prompt(search: Search, parameters: MethodParameters, template: Template, encoder_decoder: bool) -> None:
    """Refuse trials before whose inputs another text would stand than in the job's own prompt: it has one. Raises Invalid."""
    if not search.has_trials or without_opening(template) == template:
        return
    for combination in combinations(search, parameters.name, parameters):
        made = trial_parameters(parameters.name, parameters, combination)
        if made.replaces_text(encoder_decoder) != parameters.replaces_text(encoder_decoder):
            where = next(name for name in ("keep_text", "init") if name in combination)
            told = f"With {combination[where]!r} another text stands before the inputs than with the job's own parameters, and one job has one prompt."
            raise _refused(f"space.{where}", told, "Leave it out, or search in a job for each.")


def parse(values: Values, seed: int = 0) -> Search:
    """A search as it came from outside; without a seed of its own it has the job's. Raises Invalid with the field."""
    space = values.get("space")
    for name, tried in space.items() if isinstance(space, Mapping) else ():
        if not isinstance(tried, list | Mapping):
            raise _refused(f"space.{name}", f"{tried!r} is neither a list of values nor a range.", "Write [1, 2, 3], or {low, high, log} for a random search.")
    try:
        return Search.model_validate({"seed": seed, **values})
    except ValidationError as error:
        # A value that is neither a list nor a range fails as both: the error that goes deepest names what is wrong.
        worst = max(error.errors(), key=lambda one: len(one["loc"]))
        parts = [str(part) for part in worst["loc"] if not str(part).startswith(("list[", "Range"))]
        raise _refused(".".join(parts[:2]), f"{worst['msg'].removeprefix('Value error, ').rstrip('.')}.", "See the ranges of a search.") from error


def _refused(field: str, sentence: str, advice: str) -> Invalid:
    return Invalid("bad_search", f"search.{field}: {sentence}", advice, detail={"field": f"search.{field}"})


def _refuse_names(space: Mapping[str, Range | Choices], method: str, how: str) -> None:
    known = searched_names(METHODS[method])
    for name, values in space.items():
        if name not in known:
            why = "says how long a run is, how it is judged or laid out, and is not searched" if name in NEVER_SEARCHED else f"is no parameter of {method}"
            raise _refused(f"space.{name}", f"{name} {why}.", f"Search among: {', '.join(known)}.")
        if isinstance(values, Range) and how == "grid":
            raise _refused(f"space.{name}", "A grid needs a list of values, not a range.", "List the values, or choose a random search.")
        if not isinstance(values, Range) and not values:
            raise _refused(f"space.{name}", "There is no value to try.", "List at least one, or leave the name out.")


def _grid(space: Mapping[str, Range | Choices]) -> Iterator[dict[str, Any]]:
    lists = [list(_different(values)) for values in space.values() if not isinstance(values, Range)]
    count = math.prod(map(len, lists))
    if not 2 <= count <= MOST_TRIALS:
        raise _refused("space", f"These values make {count:,} combinations.", f"A grid has 2 to {MOST_TRIALS}; a random search draws some of many.")
    return (dict(zip(space, values, strict=True)) for values in product(*lists))


def _drawn(space: Mapping[str, Range | Choices], search: Search, method: str) -> list[dict[str, Any]]:
    chance, found = random.Random(search.seed), []  # noqa: S311  # a sample that must come out the same again
    for _ in range(DRAWS):
        drawn = {name: _draw(values, chance, METHODS[method].model_fields[name].annotation) for name, values in space.items()}
        if drawn not in found:
            found.append(drawn)
        if len(found) == search.trials:
            return found
    raise _refused("trials", f"The space has only {len(found)} different combinations.", "Ask for fewer trials, or search a grid.")


def _draw(values: Range | Choices, chance: random.Random, kind: Any) -> Any:
    if not isinstance(values, Range):
        return values[int(chance.random() * len(values))]
    drawn = values.draw(chance)
    return round(drawn) if kind is int or kind == int | None else drawn


def _different(values: Choices) -> Iterator[Any]:
    """Each value once. `True` is not 1 here, though Python says so."""
    seen: list[tuple[type, Any]] = []
    for value in values:
        if (type(value), value) not in seen:
            seen.append((type(value), value))
            yield value
