"""How raw text reads on a page, and in which order: words between backticks are code, and characters that cannot be seen get a mark."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

_TICKS = re.compile(r"`([^`]+)`")
_SPACES = re.compile(r"^ +| +$| {2,}| +(?=\n)|(?<=\n) +")

MARKS = {"\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", " ": "·"}
HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Zs", "Co", "Cn", "Cs")
"""Unicode categories of characters that leave no ink."""


def natural(text: str) -> list[tuple[bool, int, str]]:
    """What texts are sorted by as a person sorts them: T-101 before T-1000."""
    parts = [part for part in re.split(r"(\d+)", text.casefold()) if part]
    return [*((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts), (True, 0, text)]


def ticks(sentence: str) -> Markup:
    """A sentence as HTML, with a code element for each `word` between backticks."""
    return Markup(_TICKS.sub(r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 everything but the tag is escaped


def visible(text: str) -> Markup:
    """A text with a mark before every character that nobody can see. Single spaces between words are left alone.

    CSS draws the marks, so what is copied from the page is the text itself.
    """
    odd = {at for match in _SPACES.finditer(text) for at in range(*match.span())}
    return Markup("".join(_shown(character, at in odd) for at, character in enumerate(text)))  # noqa: S704 every character is escaped


def _shown(character: str, odd: bool) -> str:
    if character == " " and not odd:
        return " "
    if character != " " and unicodedata.category(character) not in HIDDEN:
        return str(escape(character))
    mark = MARKS.get(character) or f"‹{ord(character):04X}›"
    kept = character if character in MARKS or unicodedata.category(character) not in ("Cc", "Cs") else ""
    return f'<i class="ws" data-ws="{mark}" title="{_name(character)}"></i>{kept}'


def _name(character: str) -> str:
    names = {"\n": "line end", "\r": "carriage return", "\t": "tab", " ": "space"}
    return names.get(character) or unicodedata.name(character, f"U+{ord(character):04X}").lower()


FILTERS: dict[str, Callable[..., Any]] = {"ticks": ticks, "visible": visible}
