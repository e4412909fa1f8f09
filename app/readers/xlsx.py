"""XLSX: the cells of one sheet as the sheet shows them, row by row as the file comes in."""

from collections.abc import Iterator
from itertools import chain, islice

from app.readers import MAX_COLUMNS, MAX_ROWS, BrokenFile, Detected, Note, Problem, Row
from app.readers.columns import name_problem
from app.readers.content import Content
from app.readers.excerpts import excerpt, visible
from app.readers.json_values import Refused, check
from app.readers.lines import place
from app.readers.names import has_header
from app.readers.options import Options
from app.readers.sheet import Cell, Cells, letters
from app.readers.workbook import Sheet, Workbook, open_workbook

SAMPLE = 200
"""Rows looked at to find the header."""

COUNTED = 10_000
"""Rows counted of a sheet that a person may choose."""


def look(content: Content, wanted: Options) -> tuple[Detected, list[Note]] | Problem:
    """Which sheet of a workbook to read, and in which row its header stands. Raises BrokenFile."""
    book = open_workbook(content)
    notes = [Note("macros_not_run", "The workbook's macros were not run; only its cells were read.")] if book.macros else []
    sheet = _chosen(book, wanted, notes)
    if isinstance(sheet, Problem):
        return sheet
    rows = list(islice(Cells(book, sheet), SAMPLE))
    first = wanted.first_line or (rows[0][0] if rows else 1)
    texts = [[cell.text for cell in cells.values()] for number, cells in rows if number >= first]
    header = has_header([_in_columns(cells) for number, cells in rows if number >= first]) if wanted.header is None else wanted.header
    if header and wanted.first_line is None and (problem := _title(rows, texts)):
        return problem
    return Detected("xlsx", "", "", header, "", first, sheet=sheet.name), notes


def _in_columns(cells: dict[int, Cell]) -> list[str]:
    return [cells[at].text if at in cells else "" for at in range(1, max(cells, default=0) + 1)] if max(cells, default=0) <= MAX_COLUMNS else []


def _title(rows: list[tuple[int, dict[int, Cell]]], texts: list[list[str]]) -> Problem | None:
    """A first row with one cell above rows of several is a title, not a header."""
    width = max((len(row) for row in texts), default=0)
    if width < 2 or len(texts[0]) > 1:
        return None
    header = next(number for (number, _), row in zip(rows, texts, strict=True) if len(row) == width)
    advice = f"Row {rows[0][0]} is not a header (only 1 of {width} cells filled). Choose the row of the column names (row {header}?), or delete what is above."
    return Problem("not_a_header", rows[0][0], "", excerpt(texts[0][0]), advice, "first_line", (str(header),))


def _chosen(book: Workbook, wanted: Options, notes: list[Note]) -> Sheet | Problem:
    names = ", ".join(visible(sheet.name) for sheet in book.sheets)
    if wanted.sheet is not None:
        found = next((sheet for sheet in book.sheets if sheet.name == wanted.sheet), None)
        advice = f"There is no sheet '{visible(wanted.sheet)}'. The workbook has: {names}."
        return found or Problem("no_such_sheet", 0, "", "", advice, "sheet", tuple(sheet.name for sheet in book.sheets))
    shown = [sheet for sheet in book.sheets if not sheet.hidden] or list(book.sheets)
    counts = {sheet: sum(1 for _ in islice(Cells(book, sheet), COUNTED)) for sheet in shown} if len(shown) > 1 else {shown[0]: 1}
    filled = [sheet for sheet, count in counts.items() if count] or shown[:1]
    if len(filled) > 1:
        choices = ", ".join(f"{visible(sheet.name)} ({'at least ' * (counts[sheet] == COUNTED)}{counts[sheet]:,} rows)" for sheet in filled)
        advice = f"The workbook has several sheets with cells. Choose: {choices}."
        return Problem("choose_sheet", 0, "", "", advice, "sheet", tuple(sheet.name for sheet in filled))
    others = [sheet.name for sheet in book.sheets if sheet is not filled[0]]
    if others:
        notes.append(Note("other_sheets", f"Read sheet '{visible(filled[0].name)}'; hidden or empty: {', '.join(map(visible, others))}."))
    return filled[0]


def read(content: Content, detected: Detected) -> Iterator[Row | Problem | Note]:
    """Every row below the header as a row or a problem, in order, then notes."""
    book = open_workbook(content)
    sheet = next((sheet for sheet in book.sheets if sheet.name == detected.sheet), book.sheets[0])
    cells = Cells(book, sheet)
    rows = ((number, row) for number, row in cells if number >= detected.first_line)
    first = next(rows, None)
    if first is None:
        yield Problem("empty_file", 0, "", "", "The sheet is empty. Put a header such as input, output and rows below it on the sheet.")
        return
    names = _names(*first, detected.header)
    if isinstance(names, Problem):
        yield names
        return
    count = 0
    for number, row in rows if detected.header else chain([first], rows):
        count += 1
        yield _row(number, row, names)
    if not count:
        yield Problem("no_rows", 0, "", "", "The sheet has a header but no rows. Add rows below the header.")
    yield from cells.notes()


def _names(number: int, row: dict[int, Cell], header: bool) -> dict[int, str] | Problem:
    """The columns' names by their place in the sheet."""
    if max(row) > MAX_COLUMNS:
        raise _too_wide(number, row)
    if not header:
        return {at: f"column {at}" for at in range(1, max(row) + 1)}
    names = {at: cell.text.strip() for at, cell in sorted(row.items())}
    return name_problem(list(names.values()), number, ", ".join(names.values()), "Row") or names


def _row(number: int, row: dict[int, Cell], names: dict[int, str]) -> Row | Problem:
    if max(row) > MAX_COLUMNS:
        raise _too_wide(number, row)
    cells, unusable = dict.fromkeys(names.values(), ""), {}
    for at, cell in row.items():
        name = names.get(at)
        if name is None:
            advice = f"Cell {letters(at)}{number} holds a value, but its column has no name. Name the column, or clear the cell."
            return Problem("value_without_column", number, f"column {letters(at)}", excerpt(cell.text), advice)
        cells[name] = cell.text
        if cell.trouble:
            unusable[name] = (cell.trouble, f"Cell {letters(at)}{number} {cell.words}")
    try:
        check(cells)
    except Refused as refused:
        return Problem(refused.code, number, refused.column, "", f"{place(number, refused.column, 'Row')}: {refused.advice}")
    return Row(number, cells, unusable)


def _too_wide(number: int, row: dict[int, Cell]) -> BrokenFile:
    spanned = number * max(row)
    size = f"{spanned / 1e9:.0f} billion" if spanned >= 1e9 else f"{spanned / 1e6:.0f} million" if spanned >= 1e6 else f"{spanned:,}"
    advice = f"This sheet spans {size} cells (up to {letters(max(row))}{number}); the limit is {MAX_ROWS:,} rows x {MAX_COLUMNS} columns."
    return BrokenFile("sheet_too_large", f"{advice} Clear what lies outside of the table.")
