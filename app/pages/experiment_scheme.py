"""The part of a new experiment's form that says how answers are read and judged, and by which figure rungs are compared."""

from collections.abc import Mapping
from typing import Any

from app.domain.access import Who
from app.domain.scheme import METRICS, Shape
from app.domain.scoring.check_lines import read_checks, read_fields
from app.errors import FettleError
from app.pages.forms import number
from app.services import yardstick

NAMES = ("metric", "shape", "extractor", "pattern", "json_field")
EXTRACTORS = (("auto", "the usual"), ("exact", "all of it"), ("first_line", "the first line"), ("regex", "by a pattern"), ("json_field", "a JSON field"))
SHAPES = (("auto", "seen from the rows"), ("labels", "labels"), ("text", "text"), ("json", "JSON"), ("number", "a number"))
FIELDS = (*NAMES, "tolerance", "fields", "checks")


def scheme(values: Mapping[str, str]) -> dict[str, Any]:
    """A scheme from what was typed; an empty field is left out. Raises Invalid naming the field."""
    found: dict[str, Any] = {name: values[name] for name in NAMES if values.get(name)}
    if values.get("tolerance", "").strip():
        found["tolerance"] = number(values["tolerance"], "tolerance", 0, 1e12)
    if checks := read_checks(values.get("checks", "")):
        found["checks"] = [check.model_dump() for check in checks]
    if fields := read_fields(values.get("fields", "")):
        found["fields"] = {path: comparator.model_dump() for path, comparator in fields.items()}
    return found


def shown(person: Who, dataset: str, values: Mapping[str, str]) -> dict[str, Any]:
    """What the form offers for a dataset: the figures of its shape, and whether answers are labels weighed by likelihood. A scheme that cannot be is
    shown as the usual one; what is wrong with it is said when it is asked for."""
    try:
        found = yardstick.of(person, dataset, scheme({**values, "metric": ""}))
    except FettleError:
        found = yardstick.of(person, dataset, {})
    shape: Shape = found.shape
    known = METRICS[shape]
    chosen = values.get("metric", "")
    first = next(iter(known.values()))
    return {
        "shape": shape,
        "by_likelihood": found.answer == "likelihood",
        "figures": [("auto", first.title), *((one.name, one.title) for one in known.values() if one is not first)],
        "metric": chosen if chosen in known else "auto",
        "shapes": SHAPES,
        "extractors": EXTRACTORS,
    }
