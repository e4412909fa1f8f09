"""XLSX: what a sheet shows is what is read; what it cannot show is a problem with its cell."""

import gzip
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet

from app.readers.options import Options
from tests.readers.reading import Read

EVENING = datetime(2024, 1, 31, 18, 5)  # noqa: DTZ001 -- a sheet knows no zones
SHEET = "xl/worksheets/sheet1.xml"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def workbook(path: Path, rows: list[list[object]], **more: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    book.active.title = "Data"
    for name, table in {"Data": rows, **more}.items():
        sheet = book["Data"] if name == "Data" else book.create_sheet(name)
        for row in table:
            sheet.append(row)
    book.save(path)
    return shared(path)


def shared(path: Path) -> Path:
    """The texts of the first sheet moved into the workbook's table of texts, where Excel keeps them; openpyxl writes them into their cells."""
    texts: list[str] = []

    def moved(found: re.Match[str]) -> str:
        texts.append(found[2])
        return f'<c r="{found[1]}" t="s"><v>{len(texts) - 1}</v></c>'

    changed(path, SHEET, lambda xml: re.sub(r'<c r="(\w+)" t="inlineStr"><is>(.*?)</is></c>', moved, xml, flags=re.DOTALL))
    link = f'<Relationship Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml" Id="texts"/></Relationships>'
    changed(path, "xl/_rels/workbook.xml.rels", lambda xml: xml.replace("</Relationships>", link))
    return changed(path, "xl/sharedStrings.xml", lambda _: f'<sst xmlns="{MAIN}">{"".join(f"<si>{text}</si>" for text in texts)}</sst>')


def made(path: Path, make: Callable[[Worksheet], None]) -> Path:
    book = openpyxl.Workbook()
    make(book.active)
    book.save(path)
    return path


def changed(path: Path, part: str, change: Callable[[str], str]) -> Path:
    """A workbook with one part written anew."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts.get(part, b"").decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


PLAIN: list[list[object]] = [["text", "label"], ["a", "x"], ["b", "y"]]


def test_a_sheet_is_a_table(path: Path) -> None:
    read = Read(workbook(path, [["text", "label", "split"], ["  a\nb ", "x", "train"], ["c", None, None], [], ["d", "NA", "test"]]))
    assert read.pairs == [("  a\nb ", "x"), ("c", None), ("d", "NA")]
    assert [example.line for example in read.examples] == [2, 3, 5]
    assert (read.detected.format, read.detected.sheet, read.detected.header) == ("xlsx", "Data", True)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff_"), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
def test_any_texts_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]) -> None:
    table = [row for row in table if row[0].strip() and row[1].strip() and not any(cell.startswith("=") for cell in row)]
    read = Read(workbook(tmp_path_factory.getbasetemp() / "texts", [["text", "label"], ["first", "one"], *(list[object](row) for row in table)]))
    assert read.pairs == [("first", "one"), *table]


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (7, "000", "007"),
        (7, "General", "7"),
        (7.5, "General", "7.5"),
        (0.1 + 0.2, "General", "0.3"),
        (12345678901234, "General", "12345678901234"),
        (1234.5, "#,##0.00", "1,234.50"),
        (0.125, "0.0%", "12.5%"),
        (5551234, "000-0000", "555-1234"),
        (EVENING, "yyyy-mm-dd hh:mm", "2024-01-31 18:05"),
        (date(2024, 1, 31), "d mmmm yyyy", "31 January 2024"),
        (date(2024, 1, 31), "mm-dd-yy", "2024-01-31"),
        (time(9, 30), "h:mm AM/PM", "9:30 AM"),
        (True, "General", "TRUE"),
        (False, "General", "FALSE"),
        ("007", "General", "007"),
        ("1.0", "@", "1.0"),
        ("None", "General", "None"),
    ],
)  # fmt: skip
def test_cells_are_read_as_the_sheet_shows_them(path: Path, value: object, code: str, shown: str) -> None:
    def make(sheet: Worksheet) -> None:
        sheet.append(["text", "label"])
        sheet.append(["a", value])
        sheet["B2"].number_format = code

    assert Read(made(path, make)).pairs == [("a", shown)]


def test_numbers_without_a_format_come_with_a_warning(path: Path) -> None:
    notes = Read(workbook(path, [["text", "id"], ["a", 7], ["b", 1234567890123456789]])).notes
    assert "Columns B hold numbers: leading zeros may have been lost" in notes["numbers_in_sheet"]
    assert notes["long_numbers"].startswith("1 numbers have more than 15 digits")


def test_a_formula_gives_its_saved_result_or_a_problem(path: Path) -> None:
    workbook(path, [["text", "label"], ["a", "=1+1"], ["b", "=T(1)"], ["c", "=9"]])
    read = Read(path)
    assert [(one.code, one.line, one.column) for one in read.problems] == [("no_result", line, "label") for line in (2, 3, 4)]
    assert read.problems[0].advice == "Cell B2 holds a formula without a saved result. Open the file in Excel, save it, and upload it again."
    changed(path, SHEET, lambda xml: re.sub(r'<c r="(B\d)"( t="\w+")?><f>([^<]*)</f><v ?/?>(</v>)?</c>', r'<c r="\1" t="str"><f>\3</f><v>\1</v></c>', xml))
    read = Read(path)
    assert read.pairs == [("a", "B2"), ("b", "B3"), ("c", "B4")] and read.notes["formulas"].startswith("3 cells hold formulas")


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!"])
def test_an_error_in_a_used_cell_is_a_problem_with_its_place(path: Path, error: str) -> None:
    workbook(path, [["text", "label", "note"], ["a", "x", error], ["b", error, "fine"]])
    read = Read(path)
    assert [one.advice for one in read.problems] == [f"Cell B3 holds the error {error}. Correct the formula, or clear the cell."]
    assert read.pairs == [("a", "x")]


def test_a_title_above_the_table_is_not_a_header(path: Path) -> None:
    workbook(path, [["Tickets of March"], [], ["text", "label", "who"], ["a", "x", "me"], ["b", "y", "you"]])
    problem = Read(path).problems[0]
    assert (problem.code, problem.line) == ("not_a_header", 1)
    assert "Row 1 is not a header (only 1 of 3 cells filled)." in problem.advice and "row 3" in problem.advice
    assert Read(path, Options(first_line=3)).pairs == [("a", "x"), ("b", "y")]


def test_empty_rows_and_columns_around_the_table(path: Path) -> None:
    def make(sheet: Worksheet) -> None:
        for row, cells in enumerate(PLAIN, 4):
            for column, cell in enumerate(cells, 3):
                sheet.cell(row, column, cell)

    read = Read(made(path, make))
    assert read.pairs == [("a", "x"), ("b", "y")] and read.detected.first_line == 4


def test_a_sheet_without_header(path: Path) -> None:
    rows: list[list[object]] = [[f"sentence {number}", "ab"[number % 2]] for number in range(30)]
    read = Read(workbook(path, rows))
    assert not read.detected.header and read.pairs[0] == ("sentence 0", "a") and "columns_by_content" in read.notes


@pytest.mark.parametrize(
    ("header", "code", "words"),
    [
        (["text", "label", "label"], "duplicate_column", "Column 'label' appears twice"),
        (["text", None, "label"], "value_without_column", "Cell B2 holds a value, but its column has no name."),
        (["text", " ", "label"], "unnamed_column", "Name every column in row 1"),
        ([f"c{number}" for number in range(201)], "sheet_too_large", "the limit is 1,000,000 rows x 200 columns"),
    ],
)  # fmt: skip
def test_headers_that_cannot_name_columns(path: Path, header: list[object], code: str, words: str) -> None:
    problem = Read(workbook(path, [header, ["a", "b", "c"]])).problems[0]
    assert problem.code == code and words in problem.advice


def test_several_sheets_are_a_choice(path: Path) -> None:
    workbook(path, PLAIN, Train=[*PLAIN, ["c", "z"]], Empty=[])
    assert Read(path).problems[0].advice == "The workbook has several sheets with cells. Choose: Data (3 rows), Train (4 rows)."
    assert len(Read(path, Options(sheet="Train")).pairs) == 3
    assert "Data, Train, Empty" in Read(path, Options(sheet="train")).problems[0].advice


def test_hidden_and_empty_sheets_are_left_out_and_told(path: Path) -> None:
    workbook(path, PLAIN, Secret=PLAIN, Empty=[])
    changed(path, "xl/workbook.xml", lambda xml: xml.replace('name="Secret" sheetId="2" state="visible"', 'name="Secret" sheetId="2" state="veryHidden"'))
    read = Read(path)
    assert len(read.pairs) == 2 and read.notes["other_sheets"] == "Read sheet 'Data'; hidden or empty: Secret, Empty."
    assert len(Read(path, Options(sheet="Secret")).pairs) == 2


def test_merged_cells_and_hidden_rows_are_told(path: Path) -> None:
    def make(sheet: Worksheet) -> None:
        for row in [*PLAIN, ["c", "z"]]:
            sheet.append(row)
        sheet.merge_cells("B3:B4")
        sheet.row_dimensions[2].hidden = True

    read = Read(made(path, make))
    assert {"merged_cells", "hidden_rows"} <= read.notes.keys() and read.pairs[-1] == ("c", None)


def test_one_cell_at_the_far_corner(path: Path) -> None:
    def make(sheet: Worksheet) -> None:
        sheet["XFD1048576"] = 1

    assert Read(made(path, make)).problems[0].advice.startswith("This sheet spans 17 billion cells (up to XFD1048576); the limit is")
    workbook(path, PLAIN)
    changed(path, SHEET, lambda xml: re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1:XFD1048576"', xml))
    assert Read(path).pairs == [("a", "x"), ("b", "y")]


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("declaration", [BOMB, OUTSIDE])
@pytest.mark.parametrize("part", [SHEET, "xl/sharedStrings.xml", "xl/workbook.xml", "xl/styles.xml", "xl/_rels/workbook.xml.rels"])
def test_declarations_of_entities_are_refused(path: Path, part: str, declaration: str) -> None:
    changed(workbook(path, PLAIN), part, lambda xml: declaration + xml.partition("?>")[2] if xml.startswith("<?xml") else declaration + xml)
    assert Read(path).codes == ["unsafe_workbook"]


@pytest.mark.parametrize("part", [SHEET, "xl/sharedStrings.xml", "xl/workbook.xml", "xl/styles.xml", "xl/_rels/workbook.xml.rels"])
def test_broken_parts_are_a_sentence(path: Path, part: str) -> None:
    for change in (lambda xml: xml[: len(xml) * 2 // 3], lambda _: "", lambda xml: xml.replace("<v>", "<v>nine"), lambda _: "<a/>"):
        changed(workbook(path, PLAIN), part, change)
        read = Read(path)
        assert read.codes or len(read.pairs) == 2


def test_escaped_characters_and_reading_aids(path: Path) -> None:
    workbook(path, [["text", "label"], ["a_x000D__x005F_x000D_", "x"]])
    assert Read(path).pairs == [("a\r_x000D_", "x")]
    changed(
        path,
        "xl/sharedStrings.xml",
        lambda xml: xml.replace("<t>x</t>", '<r><t>ri</t></r><r><t xml:space="preserve">ch </t></r><rPh sb="0" eb="1"><t>aid</t></rPh>'),
    )
    assert Read(path).pairs == [("a\r_x000D_", "rich ")]


def test_dates_of_the_1904_calendar(path: Path) -> None:
    workbook(path, [["text", "label"], ["a", date(2024, 1, 31)]])
    changed(path, "xl/workbook.xml", lambda xml: re.sub(r"<workbookPr ?/>", '<workbookPr date1904="1"/>', xml))
    assert Read(path).pairs == [("a", "2028-02-01")]


def test_other_office_files_are_named(path: Path) -> None:
    for part, words in {
        "xl/workbook.bin": "binary workbook (.xlsb)",
        "word/document.xml": "Word document",
        "ppt/presentation.xml": "presentation",
        "a.xml": "not a workbook",
    }.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr(part, "x")
        assert words in Read(path).problems[0].advice
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/manifest.xml", "x")
        archive.writestr("content.xml", "x")
    assert "OpenDocument" in Read(path).problems[0].advice


def test_macros_are_left_alone(path: Path) -> None:
    assert "macros_not_run" in Read(changed(workbook(path, PLAIN), "xl/vbaProject.bin", lambda _: "x")).notes


def test_a_packed_workbook_is_read(path: Path) -> None:
    data = workbook(path, PLAIN).read_bytes()
    path.write_bytes(gzip.compress(data))
    assert Read(path).detected.packing == "gzip" and len(Read(path).pairs) == 2
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deep/table.xlsx", data)
    assert Read(path).detected.member == "deep/table.xlsx" and len(Read(path).pairs) == 2


def test_empty_sheets(path: Path) -> None:
    assert Read(workbook(path, [])).codes == ["empty_file"]
    assert Read(workbook(path, [["text", "label"]])).codes == ["no_rows"]


def test_a_cell_longer_than_the_limit(path: Path) -> None:
    workbook(path, PLAIN)
    changed(path, "xl/sharedStrings.xml", lambda xml: xml.replace("<t>a</t>", f"<t>{'a' * 1_000_001}</t>"))
    assert [(one.code, one.line, one.column) for one in Read(path).problems] == [("cell_too_long", 2, "text")]
