"""JSON text in pieces: values one after the other, or passed over whatever their size, with the line they begin on."""

import json
import re
from typing import IO

from app.readers import MAX_LINE
from app.readers.json_values import DECODER, WHITE

PIECE = 1 << 16
"""Characters read at a time."""

_MORE = re.compile(f"[^{WHITE}]")
_MARK = re.compile(r'["{}\[\]]')
_TEXT = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR = re.compile(f"[^{WHITE},\\]}}]*+")


class Source:
    """The text not yet used up, and the number of the line it begins on."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._text, self._at = stream, "", 0
        self.line = 1

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

    def value(self, most: int = MAX_LINE) -> tuple[int, object, str]:
        """The next value with its line and its source. Raises JSONDecodeError (TooLong beyond `most` characters) or RecursionError."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                # A number may go on in the next piece; all other values show their end.
                if end < len(self._text) or not self._more():
                    break
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > most:
                    raise TooLong(f"one value of more than {most:,} characters", self.rest, 0) from error
                if not self._more():
                    raise self.error(error.msg, error.pos - self._at) from error
        line, raw = self.line, self._text[self._at : end]
        self._forward(end)
        return line, value, raw

    def pass_over(self, depth: int = 0) -> None:
        """Use up the next value, or the rest of a list or an object when `depth` is 1, whatever its size. Its inside is not checked."""
        if depth == 0 and self.peek() not in ('"', "{", "["):
            while (end := _SCALAR.match(self._text, self._at).end()) == len(self._text) and self._more():  # type: ignore[union-attr]
                pass
            self._forward(end)
            return
        while True:
            while not (mark := _MARK.search(self._text, self._at)):
                self._forward(len(self._text))
                if not self._more():
                    raise self.error("the file ends inside a value")
            self._forward(mark.end())
            if mark[0] == '"':
                self._pass_text()
            else:
                depth += 1 if mark[0] in "{[" else -1
            if depth <= 0:
                return

    def _pass_text(self) -> None:
        while True:
            self._forward(_TEXT.match(self._text, self._at).end())  # type: ignore[union-attr]
            if self._text.startswith('"', self._at):
                return self.skip()
            if not self._more():
                raise self.error("a text is opened and never closed")

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


class TooLong(json.JSONDecodeError):
    """A value longer than a record may be."""
