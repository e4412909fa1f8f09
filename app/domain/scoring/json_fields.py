"""JSON answers field by field: each by its own comparator; missing, wrong and invented fields counted apart.

A field is a dotted path of objects ("customer.name"); a list is one field, and a path goes through it to the fields of its items ("items.total"). A null
says that a field is not there, so it may be left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.scoring.reading import close, found_json, normalise, number_in

Status = Literal["right", "wrong", "missing", "invented"]
Kind = Literal["exact", "number", "date", "set", "list", "text", "ignore"]

DAY_FIRST = ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%Y/%m/%d", "%Y%m%d")
"""Spellings of a date beside ISO 8601. Where day and month could change places, the day stands first."""

WHOLE = "(whole answer)"
"""The field that an answer is when it is no object."""


class Comparator(BaseModel):
    """How one field of a JSON answer is compared with the gold one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Kind = Field("exact", description="exact, number, date, set (order does not count), list (aligned, order counts), text (case and space do not), ignore")
    tolerance: float = Field(0.0, ge=0.0, description="How far a number may be from the gold one.")


EXACT = Comparator()
ALIGNED = Comparator(by="list")

Comparators = Mapping[str, Comparator]
NONE: Comparators = {}


@dataclass(frozen=True)
class Compared:
    """One answer against gold. `valid`: it is JSON. `earned` are between 0 and 1 for fields that both have."""

    valid: bool
    statuses: Mapping[str, Status]
    earned: Mapping[str, float]

    @property
    def right(self) -> bool:
        """Every field is there and right, and none is invented."""
        return self.valid and all(status == "right" for status in self.statuses.values())

    @property
    def f1(self) -> float:
        """What was earned over the fields of both sides: a set or list that is partly right counts in part."""
        both = sum(2 if status in ("right", "wrong") else 1 for status in self.statuses.values())
        return 2 * sum(self.earned.values()) / both if both else float(self.valid)


def compare(gold: str, answer: str, comparators: Comparators) -> Compared:
    """An answer against the gold JSON. What is no JSON misses every field."""
    wanted, given = found_json(gold), found_json(answer)
    mine, other = flat(wanted), flat(given)
    statuses: dict[str, Status] = {}
    earned: dict[str, float] = {}
    for path in dict.fromkeys((*mine, *other)):
        comparator = comparator_of(path, comparators)
        if comparator.by == "ignore":
            continue
        if path not in other:
            statuses[path] = "missing"
        elif path not in mine:
            statuses[path] = "invented"
        else:
            earned[path] = credit(mine[path], other[path], comparator, within(path, comparators))
            statuses[path] = "right" if earned[path] == 1.0 else "wrong"
    return Compared(given is not None, statuses, earned)


def comparator_of(path: str, comparators: Comparators) -> Comparator:
    """The comparator of a field: its own, or that of the nearest object above it. A list whose items' fields have comparators is aligned, whatever
    else was said of it but that it is a set or ignored: as a whole it would have no use for them."""
    above = path
    while above and above not in comparators:
        above = above.rpartition(".")[0]
    found = comparators.get(above, EXACT)
    return ALIGNED if within(path, comparators) and found.by not in ("set", "list", "ignore") else found


def within(path: str, comparators: Comparators) -> Comparators:
    """The comparators of the fields of a list's items, by their paths inside an item."""
    return {name.removeprefix(f"{path}."): one for name, one in comparators.items() if name.startswith(f"{path}.")}


def compared_by(path: str, comparators: Comparators) -> str:
    """How a field is compared, in words: "number ±0.01", "list (total: number ±0.01)"."""
    found = comparator_of(path, comparators)
    said = f"{found.by} \u00b1{found.tolerance:g}" if found.tolerance else found.by
    inside = within(path, comparators)
    return f"{said} ({', '.join(f'{name}: {compared_by(name, inside)}' for name in inside)})" if inside else said


def placed(value: Any, path: str) -> bool:
    """Whether a path names a place in a list of this value, as "lines.0.total" does. A number may be the key of an object as well."""
    name, _, rest = path.partition(".")
    if isinstance(value, list):
        return name.isdecimal() or any(placed(item, path) for item in value)
    return bool(rest) and isinstance(value, dict) and placed(value.get(name), rest)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """{dotted path: value} of what is there: lists are whole, nulls are not there."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return {path or WHOLE: value}
    return {name: one for key, inner in value.items() for name, one in flat(inner, f"{path}.{key}" if path else str(key)).items()}


def credit(gold: Any, given: Any, comparator: Comparator, inside: Comparators = NONE) -> float:
    """How far a value is right, between 0 and 1; `inside` are the comparators of the fields of its items, where it is a list."""
    if comparator.by in ("set", "list"):
        return (_set if comparator.by == "set" else _list)(_items(gold), _items(given), inside)
    return _WAYS[comparator.by](gold, given, comparator)


def _exact(gold: Any, given: Any, comparator: Comparator = EXACT) -> float:
    del comparator
    if isinstance(gold, str) and isinstance(given, str):
        return float(normalise(gold) == normalise(given))
    return float(gold == given and isinstance(gold, bool) == isinstance(given, bool))


def _number(gold: Any, given: Any, comparator: Comparator) -> float:
    wanted, found = (_as_number(one) for one in (gold, given))
    return float(wanted is not None and found is not None and close(wanted, found, comparator.tolerance))


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    return float(value) if isinstance(value, int | float) else number_in(value) if isinstance(value, str) else None


def _date(gold: Any, given: Any, comparator: Comparator) -> float:
    wanted, found = as_date(gold), as_date(given)
    return float(wanted == found) if wanted and found else _text(gold, given, comparator)


def as_date(value: Any) -> date | None:
    """The day that a text names, in ISO 8601 (a time of day is left out) or one of DAY_FIRST."""
    text = str(value).strip()
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        pass
    for spelling in DAY_FIRST:
        try:
            return datetime.strptime(text, spelling).date()  # noqa: DTZ007 a day has no zone
        except ValueError:
            continue
    return None


def _text(gold: Any, given: Any, comparator: Comparator) -> float:
    del comparator
    return float(normalise(str(gold), casefold=True) == normalise(str(given), casefold=True))


def _set(wanted: Sequence[Any], given: Sequence[Any], inside: Comparators) -> float:
    """Items in common over those of both sides, whatever their order; each counts once."""
    left, common = list(given), 0
    total = len(wanted) + len(left)
    for item in wanted:
        at = next((at for at, other in enumerate(left) if (_item(item, other, inside) == 1.0 if inside else _exact(item, other))), None)
        if at is not None:
            del left[at]
            common += 1
    return 2 * common / total if total else 1.0


def _list(wanted: Sequence[Any], found: Sequence[Any], inside: Comparators) -> float:
    """The best alignment that keeps both orders (Needleman and Wunsch 1970), over the items of both sides; objects in it count by their fields."""
    best = [0.0] * (len(found) + 1)
    for item in wanted:
        before = 0.0
        for at, other in enumerate(found, 1):
            before, best[at] = best[at], max(best[at], best[at - 1], before + _item(item, other, inside))
    return 2 * best[-1] / (len(wanted) + len(found)) if wanted or found else 1.0


def _item(gold: Any, given: Any, inside: Comparators) -> float:
    """One item against another: objects by their fields, each by its own comparator."""
    if not (isinstance(gold, dict) and isinstance(given, dict)):
        return _exact(gold, given)
    mine, other = flat(gold), flat(given)
    ways = {name: way for name in (*mine, *other) if (way := comparator_of(name, inside)).by != "ignore"}
    total = sum((name in mine) + (name in other) for name in ways)
    earned = sum(credit(mine[name], other[name], way, within(name, inside)) for name, way in ways.items() if name in mine and name in other)
    return 2 * earned / total if total else 1.0


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


_WAYS: Mapping[str, Callable[[Any, Any, Comparator], float]] = {
    "exact": _exact,
    "number": _number,
    "date": _date,
    "text": _text,
}
