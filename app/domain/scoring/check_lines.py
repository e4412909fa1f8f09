"""House-style checks and comparators of fields as the lines of text that a person types.

length: 20 to 120 words             headings: Summary, Next steps      reading grade: 8
length: at most 3 sentences         contains: kind regards             no invented numbers
lacks: sorry, "well, actually"      regex: ^- \\d+                      no invented names
tone = lacks: unfortunately         (a name of its own before an equals sign)

total: number 0.01                  paid_on: date                      items: list
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from app.domain.scoring.house_style import KINDS, Check
from app.domain.scoring.json_fields import Comparator
from app.errors import Invalid, first_problem

WORDS = {kind.replace("_", " "): kind for kind in KINDS}
"""How a line begins, and the kind of check that it is."""

_NAMED = re.compile(r"\s*([^:=\"]{1,80}?)\s+=\s+(.+)")
_SPAN = re.compile(r"(?:(?P<low>[\d.]+)\s+to\s+(?P<high>[\d.]+)|at least\s+(?P<least>[\d.]+)|at most\s+(?P<most>[\d.]+))\s*(?P<unit>\w+)?")


def read_checks(text: str) -> list[Check]:
    """A check for each line that is not blank. Raises Invalid naming the line."""
    return [_check(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _check(number: int, line: str) -> Check:
    named = _NAMED.fullmatch(line)
    name, rest = (named[1], named[2]) if named else ("", line.strip())
    word, _, detail = rest.partition(":")
    kind = WORDS.get(" ".join(word.lower().split()))
    if kind is None:
        raise _refused(number, line, "begins with no check", f"A line begins with one of: {', '.join(WORDS)}.")
    try:
        return Check.model_validate({"kind": kind, "name": name, **_READ[kind](detail.strip())})
    except (ValidationError, ValueError) as error:
        said = first_problem(error)[1] if isinstance(error, ValidationError) else str(error)
        raise _refused(number, line, f"cannot be used: {said}", "docs/evaluation.md shows a line of every kind.") from error


def _refused(number: int, line: str, what: str, advice: str) -> Invalid:
    return Invalid("bad_check", f"Line {number}, “{line.strip()[:60]}”, {what}.", advice, detail={"field": "checks", "line": number})


def _span(detail: str) -> dict[str, Any]:
    found = _SPAN.fullmatch(detail)
    if not found:
        raise ValueError("say at most 120 words, at least 2 sentences, or 20 to 120 words")
    ends = {"least": found["low"] or found["least"], "most": found["high"] or found["most"]}
    unit = found["unit"] or "words"
    return {**{name: float(value) for name, value in ends.items() if value}, "unit": unit if unit.endswith("s") else f"{unit}s"}


def _texts(detail: str) -> dict[str, Any]:
    return {"texts": [text.strip() for text in next(csv.reader([detail], skipinitialspace=True), []) if text.strip()]}


_READ: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "length": _span,
    "headings": _texts,
    "contains": _texts,
    "lacks": _texts,
    "regex": lambda detail: {"pattern": detail},
    "not_regex": lambda detail: {"pattern": detail},
    "reading_grade": lambda detail: {"most": float(detail)},
    "no_invented_numbers": lambda _: {},
    "no_invented_names": lambda _: {},
}


def write_checks(checks: Iterable[Check]) -> str:
    """Lines that `read_checks` makes the same checks of."""
    return "\n".join(f"{check.name} = {_line(check)}" if check.name else _line(check) for check in checks)


def _line(check: Check) -> str:
    word = next(word for word, kind in WORDS.items() if kind == check.kind)
    if check.kind == "length":
        low, high = (None if end is None else f"{end:.15g}" for end in (check.least, check.most))
        return f"{word}: {f'{low} to {high}' if low and high else f'at least {low}' if low else f'at most {high}'} {check.unit}"
    if check.kind == "reading_grade":
        return f"{word}: {check.most:.15g}"
    quoted = [f'"{escaped}"' if "," in text or '"' in text else text for text in check.texts for escaped in [text.replace('"', '""')]]
    detail = check.pattern or ", ".join(quoted)
    return f"{word}: {detail}" if detail else word


def write_fields(fields: Mapping[str, Comparator]) -> str:
    """Lines that `read_fields` makes the same comparators of."""
    return "\n".join(f"{path}: {one.by}" + (f" {one.tolerance:.15g}" if one.tolerance else "") for path, one in fields.items())


def read_fields(text: str) -> dict[str, Comparator]:
    """{dotted path: comparator} from lines such as "total: number 0.01". Raises Invalid naming the line."""
    found: dict[str, Comparator] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        path, _, detail = line.rpartition(":")
        by, _, tolerance = detail.strip().partition(" ")
        try:
            found[path.strip()] = Comparator.model_validate({"by": by, **({"tolerance": tolerance} if tolerance else {})})
        except ValidationError as error:
            advice = "Write a field, a colon and one of: exact, number (with a tolerance), date, set, list, text, ignore."
            raise Invalid(
                "bad_field", f"Line {number}, “{line.strip()[:60]}”, names no way of comparing.", advice, detail={"field": "fields", "line": number}
            ) from error
    return found
