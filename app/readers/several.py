"""Outputs that are several labels in one: `a;b`, `a|b`, or a list as JSON. Pure."""

import json
import re
from collections import Counter

from app.domain.label_book import MOST_LABELS

LONGEST = 60
"""Characters of a label among several; what is longer is text that happens to hold a semicolon."""

_BETWEEN = re.compile(r"[;|]")


def several(output: str) -> bool:
    """Whether labels stand in an output with ';' or '|' between them."""
    return _BETWEEN.search(output) is not None


def in_json(output: str) -> bool:
    """Whether an output is a JSON list of texts."""
    return bool(_listed(output))


def _listed(output: str) -> list[str]:
    if not (output.startswith("[") and output.endswith("]")):
        return []
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


class Parts:
    """The single labels of such outputs, counted while they come by: they repeat, however varied their combinations are. Free text does not."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._text = False

    def add(self, output: str) -> None:
        """One more output."""
        if self._text or not (output.startswith("[") or several(output)):
            return
        parts = _listed(output) or [part.strip() for part in _BETWEEN.split(output)]
        self._counts.update(parts)
        self._text = len(self._counts) > MOST_LABELS or any(len(part) > LONGEST for part in parts)
        if self._text:
            self._counts.clear()

    @property
    def repeat(self) -> bool:
        """Whether each stands there three times or more, on the average."""
        return bool(self._counts) and 3 * len(self._counts) <= self._counts.total()
