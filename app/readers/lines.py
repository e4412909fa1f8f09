"""A file as physical lines of text, whatever is in it: bad bytes are marked instead of raised or replaced, memory is bounded."""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, Literal

from app.readers import MAX_LINE, Problem
from app.readers.content import Content
from app.readers.excerpts import excerpt, visible

BAD_BYTE = re.compile("[\udc00-\udcff]")
"""Finds the mark of a byte that could not be decoded: U+DC00 plus the byte, which no valid text decodes to."""

_ERRORS = "fettle_mark_bytes"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _mark)


def open_text(content: Content, encoding: str, newline: Literal["", "\n"]) -> TextIOWrapper:
    """A text stream. newline "" ends lines at LF, CR or CRLF and keeps them; "\\n" ends lines at LF only."""
    # A mark at the start of a UTF-8 file is never text, whether it was noticed or not.
    return TextIOWrapper(content.open("rb"), encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=_ERRORS, newline=newline)


def place(line: int, column: str, unit: str = "Line") -> str:
    """Where something is, as a sentence begins."""
    return f"{unit} {line}, column {visible(column)}" if column else f"{unit} {line}"


def bad_bytes(text: str, line: int, encoding: str, column: str = "") -> Problem | None:
    """The problem of a text that holds a byte its encoding does not have."""
    bad = None if text.isascii() else BAD_BYTE.search(text)
    if bad is None:
        return None
    advice = (
        f"{place(line, column)}: byte 0x{ord(bad[0]) - 0xDC00:02X} is not valid {encoding.upper()}. Save the file as UTF-8, "
        "or choose the encoding it was written in (often Windows-1252)."
    )
    return Problem("invalid_bytes", line, column, excerpt(text, bad.start()), advice, "encoding", ("cp1252",))


class Lines(Iterator[str]):
    """Lines with their number; the lines of a record that went wrong can be given back and read again."""

    def __init__(self, stream: IO[str], ends: tuple[str, ...] = ("\n", "\r")) -> None:
        self._stream, self._ends = stream, ends
        self._again: deque[str] = deque()
        self.number = 0
        self.taken: list[str] = []

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._stream.readline(MAX_LINE)
        if not line:
            raise StopIteration
        if len(line) == MAX_LINE:
            self._skip_rest(line)
        self.number += 1
        self.taken.append(line)
        return line

    @property
    def cut(self) -> bool:
        """Whether the last line was longer than MAX_LINE; the rest of it is passed over."""
        return len(self.taken[-1]) == MAX_LINE and not self.taken[-1].endswith(self._ends)

    def _skip_rest(self, piece: str) -> None:
        while piece and not piece.endswith(self._ends):
            piece = self._stream.readline(MAX_LINE)

    def begin(self) -> int:
        """Start a record: forget the lines of the last one. Returns the number of the line it begins on."""
        self.taken.clear()
        return self.number + 1

    def give_back(self, keep: int = 1) -> None:
        """Read this record's lines again, but for the first `keep`."""
        self._again.extendleft(reversed(self.taken[keep:]))
        self.number -= len(self.taken) - keep
