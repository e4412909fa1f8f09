"""RFC 4180: the standard library's parser in its strict mode, and the same grammar as patterns, to find the place that breaks it."""

import csv
import re
from collections.abc import Iterable, Iterator

from app.readers import MAX_CELL

csv.field_size_limit(MAX_CELL)


def parser(lines: Iterable[str], delimiter: str, quote: str) -> Iterator[list[str]]:
    """Records of lines that keep their ends. Raises csv.Error for a broken one, and goes on when asked again. No `quote`: no quoting."""
    if not quote:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)


class Grammar:
    """What the parser is too kind for: it takes a quote in the middle of a cell. All patterns are possessive, so they take linear time."""

    def __init__(self, delimiter: str, quote: str) -> None:
        d, q = re.escape(delimiter), re.escape(quote)
        open_cell = f"{q}(?:[^{q}]++|{q}{q})*+"
        cell = f"(?:{open_cell}{q}|[^{q}{d}\r\n]*+)" if quote else f"[^{d}\r\n]*+"
        self._one = re.compile(f"{cell}(?={d}|[\r\n]|$)")
        self._cell = re.compile(cell + d)
        self._record = re.compile(f"(?:{cell}{d})*+{cell}[\r\n]*+")
        self._text = re.compile(f"(?:{cell}(?:{d}|[\r\n]++))*+(?:{cell}|{open_cell})" if quote else ".*+", re.DOTALL)

    def accepts(self, raw: str) -> bool:
        """Whether this is one record."""
        return self._record.fullmatch(raw) is not None

    def accepts_beginning(self, text: str) -> bool:
        """Whether these are records, the last one perhaps cut off."""
        return self._text.fullmatch(text) is not None

    def next_cell(self, raw: str, at: int) -> str:
        """The cell that begins here, as it is written; the rest of the record where it has no end."""
        match = self._one.match(raw, at)
        return match[0] if match else raw[at:].rstrip("\r\n")

    def complete_cells(self, raw: str, before: int | None = None) -> tuple[int, int]:
        """How many complete cells a record begins with (those that end by `before`), and where the next one starts."""
        count = at = 0
        while (match := self._cell.match(raw, at)) and (before is None or match.end() <= before):
            count, at = count + 1, match.end()
        return count, at
