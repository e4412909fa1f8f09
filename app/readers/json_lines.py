"""JSON Lines: one record a line. Several records on one line are read too; a broken line costs only itself."""

import json
import re
from collections.abc import Iterator
from typing import Literal

from app.readers import Detected, Note, Problem, Row
from app.readers.content import Content
from app.readers.excerpts import excerpt
from app.readers.json_values import DECODER, WHITE, invalid, record
from app.readers.lines import Lines, bad_bytes, open_text, too_long

_WHITE = re.compile(f"[{WHITE}]*")


def read(content: Content, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every record of a file as a row or a problem, in order, then notes.

    Lines end at LF, or at CR where no other end is used: U+2028 and U+0085 may stand in JSON text and do not end a line.
    """
    blank = 0
    end: Literal["\n", "\r"] = "\r" if detected.line_ends == "CR" else "\n"
    with open_text(content, detected.encoding, newline=end) as stream:
        lines = Lines(stream, ends=(end,))
        number = lines.begin()
        while line := next(lines, ""):
            text = line.strip(WHITE)
            blank += not text
            if lines.cut:
                yield Problem("line_too_long", number, "", excerpt(text), too_long(number, lines.length))
            elif problem := bad_bytes(text, number, detected.encoding):
                yield problem
            else:
                yield from _records(text, number)
            number = lines.begin()
    if blank:
        yield Note("blank_lines", f"{blank:,} blank lines were skipped.")


def _records(text: str, line: int) -> Iterator[Row | Problem]:
    at = 0
    while at < len(text):
        try:
            value, end = DECODER.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield invalid(error, line, text)
            return
        yield record(value, line, text[at:end])
        at = end if end == len(text) else _WHITE.match(text, end).end()  # type: ignore[union-attr]
