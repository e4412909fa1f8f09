"""How an answer is read out of what a model wrote, and when it is the gold one."""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

Extractor = Literal["exact", "first_line", "regex", "json_field"]

SECONDS = 1.0
"""How long a person's regular expression may look at one text; one that takes longer has found nothing."""

NUMBER = re.compile(r"(?:(?<!\w)[-+\u2212])?(?:\d{1,3}(?:[,\u00a0\u202f']\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")
"""A number as people write it: 1,204.50, \u22123, .5, 1e-3."""


def normalise(text: str, casefold: bool = False) -> str:
    """One spelling for texts that look the same: Unicode NFC, runs of white space as one space, no white space around.

    Letters keep their case unless `casefold` is asked for: two labels may differ in nothing else.
    """
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    return unicodedata.normalize("NFC", spaced.casefold()) if casefold else spaced


def extract(text: str, extractor: Extractor = "first_line", detail: str = "") -> str:
    """The answer in what a model wrote, without white space around; empty where there is none.

    exact: all of it; first_line: its first line that is not blank; regex: what the pattern `detail` finds first (its first group, where it
    has one); json_field: the value at the dotted path `detail` of the first JSON object in it.
    """
    stripped = text.strip()
    if extractor == "regex":
        return matched(detail, stripped).strip()
    if extractor == "json_field":
        return _written(at_path(found_json(stripped), detail))
    return stripped if extractor == "exact" else stripped.partition("\n")[0].rstrip()


def matched(pattern: str, text: str) -> str:
    """What a pattern finds first: its first group that took part, else all of it; empty without a match, or when it takes too long."""
    found = _searched(pattern, text)
    return next((group for group in found.groups() if group is not None), found.group()) if found else ""


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text, where ^ and $ are ends of lines; not when it takes too long."""
    return _searched(pattern, text, lines=True) is not None


def _searched(pattern: str, text: str, *, lines: bool = False) -> Any:
    import regex  # the standard library's own has no time-out

    try:
        return regex.search(pattern, text, regex.MULTILINE if lines else 0, timeout=SECONDS)
    except TimeoutError:
        return None


def pattern_problem(pattern: str) -> str:
    """What is wrong with a regular expression, in a few words; nothing where it can be used."""
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        return str(error)
    return ""


def found_json(text: str) -> Any:
    """The JSON that a text is, or the first object or list in it (a model may write words or a fence around it); None without any.

    What is nested deeper than Python reads (about a thousand times) is none, and nothing is looked for behind its start.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        pass
    decoder = json.JSONDecoder()
    for match in re.finditer(r"[{\[]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except RecursionError:
            return None
        except ValueError:
            continue
    return None


def at_path(value: Any, path: str) -> Any:
    """The value at a dotted path of objects and list places ("lines.0.total"); None where the path ends early."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _written(value: Any) -> str:
    return "" if value is None else value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def numbers_in(text: str) -> list[float]:
    """The numbers in a text, as they follow each other. Signs of currency and per cent are no part of them."""
    found = [match[0] for match in NUMBER.finditer(text) if match[0]]
    return [float(re.sub(r"[,\u00a0\u202f']", "", one).replace("\u2212", "-")) for one in found]


def number_in(text: str) -> float | None:
    """The last number in a text, which is where an answer stands after words; None without one."""
    return next(reversed(numbers_in(text)), None)


def close(gold: float, answer: float, tolerance: float = 0.0) -> bool:
    """Whether a number is the gold one, or at most `tolerance` away from it; rounding of the last bits never counts."""
    return abs(gold - answer) <= tolerance + 1e-9 * max(abs(gold), abs(answer))


def is_right(answer: str, gold: str) -> bool:
    """Whether an answer is the gold one. White space and Unicode's spelling do not count."""
    return normalise(answer) == normalise(gold)


def exact_match(gold: Sequence[str], answers: Sequence[str]) -> float:
    """The share of rows whose answer, as `LabelBook.answer_in` reads it, is the gold one."""
    return sum(is_right(answer, wanted) for wanted, answer in zip(gold, answers, strict=True)) / len(gold)
