"""The cells of a sheet as text, in a stream: what a cell shows, or why it shows nothing that can be used."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from app.readers import MAX_CELL, BrokenFile, Note
from app.readers.content import Member
from app.readers.workbook import UNSAFE, Attributes, Sheet, Workbook, parse, unescaped
from app.readers.xlsx_formats import shown

WIDEST = 16_384
"""Columns of the largest sheet there can be."""

KEPT_DIGITS = 15
"""Digits a spreadsheet keeps of a number."""

_REFERENCE = re.compile(r"([A-Z]{1,3})\d+")
_TEXT = "@"


class Cell(msgspec.Struct, frozen=True):
    """`trouble` is the code of a problem, should the cell be used; `words` go on after its name."""

    text: str
    trouble: str = ""
    words: str = ""


_NOTHING = Cell("")
_NO_RESULT = Cell("", "no_result", "holds a formula without a saved result. Open the file in Excel, save it, and upload it again.")


@dataclass(slots=True)
class _Open:
    """The cell being read."""

    kind: str = "n"
    style: int = 0
    value: str | None = None
    formula: bool = False


class Cells(Iterator[tuple[int, dict[int, Cell]]]):
    """Rows that have a cell with anything in it: the number of the row, and its cells by the number of their column."""

    def __init__(self, book: Workbook, sheet: Sheet) -> None:
        self._book = book
        self._texts = book.texts
        self._rows: list[tuple[int, dict[int, Cell]]] = []
        self._row: dict[int, Cell] = {}
        self._number = self._column = 0
        self._cell: _Open | None = None
        self._pieces: list[str] | None = None
        self._length = 0
        self._aid = False
        self._formulas = self._merged = self._hidden = 0
        self._plain: set[str] = set()
        self._long = 0
        self._stream = self._read(Member(book.archive, sheet.part))

    def __next__(self) -> tuple[int, dict[int, Cell]]:
        return next(self._stream)

    def _read(self, part: Member) -> Iterator[tuple[int, dict[int, Cell]]]:
        for _ in parse(part, self._start, self._end, self._data):
            yield from self._rows
            self._rows.clear()

    def notes(self) -> Iterator[Note]:
        """What a person should know, once all rows are read."""
        if self._formulas:
            yield Note("formulas", f"{self._formulas:,} cells hold formulas; the results saved with them were taken.")
        if self._long:
            yield Note(
                "long_numbers", f"{self._long:,} numbers have more than {KEPT_DIGITS} digits; a spreadsheet keeps only {KEPT_DIGITS}. Store them as text."
            )
        if self._plain:
            columns = ", ".join(sorted(self._plain, key=lambda name: (len(name), name))[:10])
            yield Note("numbers_in_sheet", f"Columns {columns} hold numbers: leading zeros may have been lost before the file was saved.")
        if self._merged:
            yield Note("merged_cells", f"{self._merged:,} groups of cells are merged; only the first cell of each has the value.")
        if self._hidden:
            yield Note("hidden_rows", f"{self._hidden:,} hidden rows were read like the others.")

    def _start(self, tag: str, attributes: Attributes) -> None:
        if tag == "c":
            self._begin_cell(attributes)
        elif tag == "row":
            self._number = int(attributes.get("r") or self._number + 1)
            self._column, self._row = 0, {}
            self._hidden += attributes.get("hidden") in ("1", "true")
        elif tag in ("v", "t"):
            self._pieces = [] if self._cell is not None and not self._aid else None
        elif tag == "f" and self._cell is not None:
            self._cell.formula = True
        elif tag == "rPh":
            self._aid = True
        elif tag == "mergeCell":
            self._merged += 1

    def _begin_cell(self, attributes: Attributes) -> None:
        place = _REFERENCE.fullmatch(attributes.get("r", ""))
        self._column = number(place[1]) if place else self._column + 1
        if self._column > WIDEST:
            raise BrokenFile("damaged_workbook", UNSAFE)
        style = attributes.get("s", "0")
        self._cell, self._length = _Open(attributes.get("t", "n"), int(style) if style.isdecimal() else 0), 0

    def _data(self, data: str) -> None:
        if self._pieces is not None and self._length <= MAX_CELL:
            self._pieces.append(data)
            self._length += len(data)

    def _end(self, tag: str) -> None:
        if tag in ("v", "t") and self._pieces is not None and self._cell is not None:
            self._cell.value = (self._cell.value or "") + "".join(self._pieces)
            self._pieces = None
        elif tag == "rPh":
            self._aid = False
        elif tag == "c" and self._cell is not None:
            cell = self._shown(self._cell)
            if cell.text or cell.trouble:
                self._row[self._column] = cell
            self._cell = None
        elif tag == "row" and self._row:
            self._rows.append((self._number, self._row))

    def _shown(self, cell: _Open) -> Cell:
        self._formulas += cell.formula
        if not cell.value:
            # A text without characters is a result; none at all is what programs leave that write formulas and cannot reckon.
            return _NO_RESULT if cell.formula and (cell.value is None or cell.kind != "str") else _NOTHING
        if cell.kind == "s":
            return Cell(self._text(cell.value))
        if cell.kind == "e":
            return Cell(cell.value, "cell_error", f"holds the error {cell.value}. Correct the formula, or clear the cell.")
        if cell.kind == "b":
            return Cell("TRUE" if cell.value in ("1", "true") else "FALSE")
        return Cell(self._counted(cell) if cell.kind == "n" else unescaped(cell.value) if cell.kind != "d" else cell.value)

    def _text(self, index: str) -> str:
        at = int(index)
        if not 0 <= at < len(self._texts):
            raise BrokenFile("damaged_workbook", UNSAFE)
        return self._texts[at]

    def _counted(self, cell: _Open) -> str:
        """A number's text; those whose format says nothing about their digits are remembered."""
        raw = cell.value or ""
        if not raw.strip():
            return ""
        code = self._book.formats[cell.style] if cell.style < len(self._book.formats) else ""
        if code in ("", "General", _TEXT):
            self._plain.add(letters(self._column))
            self._long += len(raw.partition("E")[0].replace(".", "").strip("-0")) > KEPT_DIGITS and abs(float(raw)) >= 10**KEPT_DIGITS
        return shown(raw, code, self._book.since_1904)


def number(column: str) -> int:
    """AA is 27."""
    value = 0
    for letter in column:
        value = value * 26 + ord(letter) - 64
    return value


def letters(column: int) -> str:
    """27 is AA."""
    text = ""
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text
