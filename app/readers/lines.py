"""A file as physical lines of text, whatever is in it: bad bytes are marked instead of raised or replaced, memory is bounded."""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, Literal, cast

from app.readers import MAX_LINE, Detected, Problem
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


ENDS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}

# A line end that is text, where a person chose another one, goes through the parsers as a mark that no valid text decodes to.
_AS_TEXT = str.maketrans({"\r": "\ud80d", "\n": "\ud80a"})
_BACK = {0xD80D: "\r", 0xD80A: "\n"}

BLOCK, BLOCK_CHARACTERS = 500, 1_000_000
"""Most lines that are looked at together, and about how many characters."""

LineEnd = Literal["", "\n", "\r", "\r\n"]


def given_end(detected: Detected) -> LineEnd:
    """The one line end that a person chose; "" for any."""
    return cast("LineEnd", ENDS[detected.line_ends]) if detected.line_ends_given else ""


def restored(text: str) -> str:
    """Text whose line ends are line ends again."""
    return text if text.isascii() else text.translate(_BACK)


def physical(text: str) -> list[str]:
    """The lines of a text with their ends: LF, CR and CRLF, and no other character."""
    return [line for line in re.split("(?<=\n)|(?<=\r)(?!\n)", text) if line]


def open_text(content: Content, encoding: str, newline: LineEnd) -> TextIOWrapper:
    """A text stream. newline "" ends lines at LF, CR or CRLF and keeps them; another ends lines at that only."""
    # A mark at the start of a UTF-8 file is never text, whether it was noticed or not.
    return TextIOWrapper(content.open("rb"), encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=_ERRORS, newline=newline)


def place(line: int, column: str, unit: str = "Line") -> str:
    """Where something is, as a sentence begins."""
    return f"{unit} {line}, column {visible(column)}" if column else f"{unit} {line}"


def too_long(line: int, length: int) -> str:
    """The advice for a line beyond the limit."""
    return f"Line {line} has {length:,} characters; the limit is {MAX_LINE:,}. Shorten it or leave it out."


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

    def __init__(self, stream: IO[str], ends: tuple[str, ...] = ("\n", "\r"), only: str = "") -> None:
        """`only` is the one line end that a person chose: others come as marks (see `restored`)."""
        self._stream, self._ends, self._only = stream, (only,) if only else ends, only
        self._again: deque[str] = deque()
        self.number = 0
        self.length = 0
        """Characters of the last line that was cut."""
        self.taken: list[str] = []

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def _read(self) -> str:
        line = self._stream.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            self._skip_rest(line)
        if not self._only:
            return line
        body = line.removesuffix(self._only)
        return body.translate(_AS_TEXT) + line[len(body) :] if "\r" in body or "\n" in body else line

    @property
    def cut(self) -> bool:
        """Whether the last line was longer than MAX_LINE; the rest of it is passed over."""
        return len(self.taken[-1]) == MAX_LINE and not self.taken[-1].endswith(self._ends)

    def _skip_rest(self, piece: str) -> None:
        self.length = len(piece)
        while piece and not piece.endswith(self._ends):
            piece = self._stream.readline(MAX_LINE)
            self.length += len(piece)

    def block(self) -> list[str]:
        """The next lines, at most BLOCK of them and not many characters, which count as taken; [] where there are none, or one needs a closer look."""
        if self._again or self._only:
            return []
        read, lines, size = self._stream.readline, self.taken, 0
        lines.clear()
        while len(lines) < BLOCK and size < BLOCK_CHARACTERS and (line := read(MAX_LINE)):
            lines.append(line)
            size += len(line)
            if len(line) == MAX_LINE:
                self._skip_rest(line)
                break
        self.number += len(lines)
        return lines

    def begin(self) -> int:
        """Start a record: forget the lines of the last one. Returns the number of the line it begins on."""
        self.taken.clear()
        return self.number + 1

    def give_back(self, keep: int = 1) -> None:
        """Read this record's lines again, but for the first `keep`."""
        self._again.extendleft(reversed(self.taken[keep:]))
        self.number -= len(self.taken) - keep
