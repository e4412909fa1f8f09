"""How raw text reads on a page: `code` between backticks in a sentence, and characters that cannot be seen, made visible."""

import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

_TICKS = re.compile(r"`([^`]+)`")

GLYPHS = {"\n": "↵", "\r": "␍", "\t": "→", "\u00a0": "⍽", "\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ", "\u2060": "WJ", "\ufeff": "BOM", "\u00ad": "SHY"}
_HIDDEN = re.compile("[" + "".join(GLYPHS) + r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|^ +| +(?=\n|$)| {2,}", re.MULTILINE)


def ticks(sentence: str) -> Markup:
    """A sentence whose `words` between backticks are code."""
    return Markup(_TICKS.sub(r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 everything but the tag is escaped




FILTERS: dict[str, Callable[..., Any]] = {"ticks": ticks, "visible": visible}
