"""CSV and its relatives, read as RFC 4180 says: a quote opens a cell or does not occur in it, every record has the header's width.

The standard library's strict parser does the work; this file knows the lines, the limits and the words. After a broken
record reading goes on with the next physical line, so one open quote does not swallow the rows behind it.
"""

import csv
from collections.abc import Iterator

from app.readers import MAX_CELL, MAX_LINE, Detected, Note, Problem, Row
from app.readers.columns import name_problem
from app.readers.content import Content
from app.readers.excerpts import excerpt, visible
from app.readers.grammar import Grammar, parser
from app.readers.lines import BAD_BYTE, Lines, bad_bytes, given_end, open_text, place, restored, too_long

_UNEXPECTED = "unexpected quote. Put the whole cell in quotes and double the quotes inside it, or read the file without quoting."


def read(content: Content, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every record of a file as a row or a problem, in order, then notes. Stops at a header that cannot be used."""
    end = given_end(detected)
    with open_text(content, detected.encoding, newline=end) as stream:
        records = _Records(Lines(stream, only=end), detected)
        header = records.header()
        if isinstance(header, Problem):
            yield header
            return
        rows = 0
        for item in records.below():
            rows += 1
            yield item
        if not rows:
            yield Problem("no_rows", 1, "", excerpt(",".join(header)), "The file has a header but no rows. Add rows below the header.")
        yield from records.notes()
        if isinstance(stream.newlines, tuple):
            yield Note("mixed_line_ends", "The lines end in different ways (CR, LF, CRLF); cells keep theirs.")


class _Records:
    """The header and the records below it."""

    def __init__(self, lines: Lines, detected: Detected) -> None:
        self._lines, self._detected = lines, detected
        self._reader = parser(lines, detected.delimiter, detected.quote)
        self._grammar = Grammar(detected.delimiter, detected.quote)
        self._names: list[str] = []
        self._trailing = False
        self._blank_lines = 0
        self._padded: list[str] = []

    def header(self) -> list[str] | Problem:
        """The column names, or why there are none. Without a header the columns are `column 1`, `column 2` and so on."""
        while self._lines.number < self._detected.first_line - 1 and next(self._lines, ""):
            pass
        record = self._record()
        if record is None:
            return Problem("empty_file", 1, "", "", "The file is empty. Add a header such as input,output and rows below it.")
        if isinstance(record, Problem):
            return record
        line, cells = record
        if not self._detected.header:
            self._names = [f"column {number}" for number in range(1, len(cells) + 1)]
            # Taken back whole: without a header the first record is a row.
            self._lines.give_back(keep=0)
            return self._names
        names = [cell.strip() for cell in cells]
        self._padded = [name for name, cell in zip(names, cells, strict=True) if name != cell]
        if len(names) > 1 and not names[-1]:
            self._trailing = True
            names.pop()
        self._names = names
        return name_problem(names, line, "".join(self._lines.taken)) or names

    def notes(self) -> Iterator[Note]:
        if self._padded:
            yield Note("padded_header", f"White space around column names was removed: {', '.join(map(visible, self._padded))}.")
        if self._trailing:
            yield Note("trailing_delimiter", "Every line ends with a delimiter; the empty last column was left out.")
        if self._blank_lines:
            yield Note("blank_lines", f"{self._blank_lines:,} blank lines were skipped.")

    def below(self) -> Iterator[Row | Problem]:
        """The records below the header: a block of lines at once where each of them is a plain record, else one by one up to the block's end."""
        names = self._names
        while True:
            first = self._lines.number + 1
            lines = self._lines.block()
            plain = self._plain(lines)
            if plain:
                for line, cells in enumerate(plain, first):
                    yield Row(line, dict(zip(names, cells, strict=True)))
                continue
            upto = self._lines.number
            if lines:
                self._lines.give_back(keep=0)
            while (item := self._one()) is not None:
                yield item
                if self._lines.number >= upto:
                    break
            else:
                return

    def _plain(self, lines: list[str]) -> list[list[str]]:
        """The cells of lines that are a record each, in which nothing is to be noted or mended; [] when one of them is not."""
        text = "".join(lines)
        if self._trailing or "\0" in text or max(map(len, lines), default=MAX_LINE) == MAX_LINE or not (text.isascii() or BAD_BYTE.search(text) is None):
            return []
        try:
            rows = list(parser(lines, self._detected.delimiter, self._detected.quote))
        except csv.Error:
            return []
        quoted = self._detected.quote and self._detected.quote in text and self._detected.quote in "".join(map("".join, rows))
        return [] if quoted or len(rows) != len(lines) or {*map(len, rows)} != {len(self._names)} else rows

    def _one(self) -> Row | Problem | None:
        """The next record; None at the end of the file."""
        record = self._record()
        if record is None or isinstance(record, Problem):
            return record
        line, cells = record
        if self._trailing and len(cells) == len(self._names) + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != len(self._names):
            return self._ragged(line, len(cells))
        return Row(line, dict(zip(self._names, cells, strict=True)))

    def _record(self) -> tuple[int, list[str]] | Problem | None:
        """The next record that is not a blank line; None at the end of the file."""
        while True:
            line = self._lines.begin()
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                problem = self._broken(line, str(error))
                self._lines.give_back()
                return problem
            if cells is None:
                return None
            if cells and (len(self._names) == 1 or len(cells) > 1 or not cells[0].isspace()):
                damage = self._damaged(line, cells)
                return damage or (line, [*map(restored, cells)] if self._detected.line_ends_given else cells)
            self._blank_lines += 1

    def _damaged(self, line: int, cells: list[str]) -> Problem | None:
        """What is wrong inside a record whose quotes and delimiters the parser could follow."""
        raw = self._lines.taken[0] if len(self._lines.taken) == 1 else "".join(self._lines.taken)
        if self._lines.cut:
            return Problem("line_too_long", line, "", excerpt(raw), too_long(line, self._lines.length))
        if not raw.isascii() and (bad := BAD_BYTE.search(raw)):
            return bad_bytes(raw, line, self._detected.encoding, self._column(raw, bad.start()))
        if "\0" in raw:
            return self._problem("nul_character", line, raw, raw.index("\0"), "contains a NUL character (U+0000). Remove it.")
        if self._detected.quote and self._detected.quote in "".join(cells) and not self._grammar.accepts(raw):
            begins = self._grammar.complete_cells(raw)[1]
            return self._problem("unexpected_quote", line, raw, max(raw.find(self._detected.quote, begins), begins), _UNEXPECTED)
        return None

    def _broken(self, line: int, error: str) -> Problem:
        """Words for the parser's three complaints."""
        raw, several = "".join(self._lines.taken), len(self._lines.taken) > 1
        begins = self._grammar.complete_cells(raw)[1]
        if error.startswith("field larger") and not several:
            length = self._lines.length - begins if self._lines.cut else len(self._grammar.next_cell(raw, begins))
            advice = f"a cell of {length:,} characters; the limit is {MAX_CELL:,}. Shorten it or leave the row out."
            return self._problem("cell_too_long", line, raw, begins, advice)
        if error.startswith("field larger"):
            advice = f"Line {line}: a quote is opened and not closed within {MAX_CELL:,} characters, which is the limit of a cell."
            return Problem("unclosed_quote", line, self._column(raw, begins), excerpt(raw, begins), f"{advice} Close it, or shorten the cell.")
        if several or error.startswith("unexpected end"):
            advice = f"Line {line}: a quote is opened and never closed. Close it, and double every quote inside a quoted cell."
            return Problem("unclosed_quote", line, self._column(raw, begins), excerpt(raw, begins), advice)
        return self._problem("unexpected_quote", line, raw, begins, _UNEXPECTED)

    def _ragged(self, line: int, found: int) -> Problem:
        raw, wanted = "".join(self._lines.taken), len(self._names)
        hint = "Quote values that contain the delimiter." if found > wanted else "Add the missing values."
        advice = f"Line {line} has {found} {'value' if found == 1 else 'values'}, the header has {wanted}: {excerpt(raw)}. {hint}"
        return Problem("wrong_number_of_values", line, "", excerpt(raw), advice)

    def _problem(self, code: str, line: int, raw: str, at: int, advice: str) -> Problem:
        column = self._column(raw, at)
        return Problem(code, line, column, excerpt(raw, at), f"{place(line, column)}: {advice}")

    def _column(self, raw: str, at: int) -> str:
        """The name of the column a place in a record belongs to; "" beyond the header."""
        index = self._grammar.complete_cells(raw, at)[0]
        return self._names[index] if index < len(self._names) else ""
