"""JSON over several lines: a list of records, or indented records one after the other. Read in pieces, never as a whole."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.readers import MAX_LINE, Detected, Note, Problem, Row
from app.readers.excerpts import excerpt
from app.readers.json_values import DECODER, WHITE, Fields, invalid, record
from app.readers.lines import bad_bytes, open_text

PIECE = 1 << 16
"""Characters read at a time."""

_MORE = re.compile(f"[^{WHITE}]")


def read(path: Path, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every record of a file as a row or a problem, in order. Text that is not JSON ends the reading: what follows has no known beginning."""
    with open_text(path, detected.encoding, newline="\n") as stream:
        source = _Source(stream)
        records = 0
        try:
            for line, value, raw in _values(source):
                records += 1
                lists = _lists(value) if records == 1 and not source.listed and not source.peek() else []
                if lists:
                    yield _wrapped(lists, line, raw)
                else:
                    yield bad_bytes(raw, line, detected.encoding) or record(value, line, raw)
        except (json.JSONDecodeError, RecursionError) as error:
            yield invalid(error, source.line, source.rest)
            return
        if not records and source.listed:
            yield Problem("no_rows", 1, "", "[]", "Expected a list of records with named fields; this one has none.")


class _Source:
    """The text not yet used up, and the number of the line it begins on."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._text, self._at, self._ended = stream, "", 0, False
        self.line = 1
        self.listed = False

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    def peek(self) -> str:
        """The next character that is not white space, without using it up; "" at the end."""
        while not (found := _MORE.search(self._text, self._at)):
            self._forward(len(self._text))
            if not self._more():
                return ""
        self._forward(found.start())
        return found[0]

    def skip(self) -> None:
        """Use up one character."""
        self._forward(self._at + 1)

    def value(self) -> tuple[int, object, str]:
        """The next value with its line and its source. Raises JSONDecodeError or RecursionError."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                # A number may go on in the next piece; all other values show their end.
                if end < len(self._text) or not self._more():
                    break
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > MAX_LINE:
                    raise self.error(f"one value of more than {MAX_LINE:,} characters") from error
                if not self._more():
                    raise self.error(error.msg, error.pos - self._at) from error
        line, raw = self.line, self._text[self._at : end]
        self._forward(end)
        return line, value, raw

    def error(self, message: str, offset: int = 0) -> json.JSONDecodeError:
        """An error whose place counts from the beginning of `rest`."""
        return json.JSONDecodeError(message, self.rest, offset)

    def _forward(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Read on, twice as much as is waiting, so that a long value is tried again only a few times."""
        piece = self._stream.read(max(PIECE, len(self._text) - self._at))
        if piece:
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)


def _values(source: _Source) -> Iterator[tuple[int, object, str]]:
    source.listed = source.peek() == "["
    if not source.listed:
        while source.peek():
            yield source.value()
        return
    source.skip()
    mark = source.peek()
    while mark != "]":
        source.peek()
        yield source.value()
        mark = source.peek()
        if mark not in (",", "]"):
            raise source.error("expected ',' or ']' after a record" if mark else "the file ends before the list is closed")
        if mark == ",":
            source.skip()
    source.skip()
    if source.peek():
        raise source.error("something follows the end of the list")


def _lists(value: object) -> list[str]:
    """The names under which an object holds lists of records."""
    if not isinstance(value, Fields):
        return []
    return [name for name, item in value if name != "messages" and type(item) is list and item and isinstance(item[0], Fields)]


def _wrapped(names: list[str], line: int, raw: str) -> Problem:
    found = " and ".join(f"'{name}'" for name in names)
    advice = (
        f"Found {'lists' if len(names) > 1 else 'a list'} under {found}. Upload the list itself; for several splits, one list whose records have a field split."
    )
    return Problem("wrapped_lists", line, names[0], excerpt(raw), advice)
