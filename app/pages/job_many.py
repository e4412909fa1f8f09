"""Several jobs from one form: the values of one or two fields, and one job for each of them or for every pair. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from app.domain.methods.base import MethodParameters
from app.errors import Invalid
from app.services.jobs import MOST

ROWS = ("many", "many_too")
"""The two fields that may vary; each has `_field` and `_values` in the form."""

FIELDS = tuple(f"{row}_values" for row in ROWS)
"""Where a value that one of several jobs cannot have is shown, whatever it is a value of."""


@dataclass(frozen=True)
class Varied:
    """A field of the form with the values that it takes in turn."""

    name: str
    values: tuple[str, ...]


def choices(method: type[MethodParameters]) -> list[tuple[str, str]]:
    """What may vary: nothing, the seed, and every parameter that the method can have."""
    names = ["seed", *(name for name in method.model_fields if name not in method.impossible)]
    return [("", "nothing"), *((name, name.replace("_", " ")) for name in names)]


def varied(values: Mapping[str, str], method: type[MethodParameters]) -> list[Varied]:
    """The fields that vary and their values, written with commas between them. Raises Invalid, with the field of the form in its detail."""
    found: list[Varied] = []
    known = {name for name, _ in choices(method)}
    for row in ROWS:
        name = values.get(f"{row}_field", "")
        if not name or name not in known:
            continue
        texts = tuple(dict.fromkeys(text.strip() for text in values.get(f"{row}_values", "").split(",") if text.strip()))
        if not texts:
            raise _refused(row, f"There are no values for {name.replace('_', ' ')}.", "Write them with commas between them: 1, 2, 3.")
        if any(one.name == name for one in found):
            raise _refused(row, f"{name.replace('_', ' ').capitalize()} is chosen twice.", "Write all of its values in one line.")
        found.append(Varied(name, texts))
    return found


def jobs_of(values: Mapping[str, str], method: type[MethodParameters]) -> list[dict[str, str]]:
    """What is different in each job, in the order in which they will wait; none when nothing varies. Raises Invalid."""
    fields = varied(values, method)
    if not fields:
        return []
    found = [dict(zip((one.name for one in fields), picked, strict=True)) for picked in product(*(one.values for one in fields))]
    if len(found) > MOST:
        raise _refused(ROWS[0], f"These are {len(found)} jobs.", f"Start at most {MOST} at once.")
    return found


def _refused(row: str, message: str, advice: str) -> Invalid:
    return Invalid("bad_values", message, advice, detail={"field": f"{row}_values"})
