"""CSV: exact text, physical line numbers, one problem per broken record, and reading goes on behind it."""

import csv
import io
import random
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.readers import MAX_CELL, MAX_LINE, Detected, Note, Problem, Row
from app.readers.csv import read
from app.readers.detect import detect
from app.readers.options import Options


def items(tmp_path: Path, content: bytes | str, options: Options = Options()) -> list[Row | Problem | Note]:
    path = tmp_path / "upload"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    how = detect(path, options)
    if isinstance(how, Problem):
        return [how]
    detected, notes = how
    assert detected.format == "csv"
    return [*notes, *read(path, detected)]


def problems(tmp_path: Path, content: bytes | str, options: Options = Options()) -> list[tuple[str, int, str]]:
    return [(item.code, item.line, item.column) for item in items(tmp_path, content, options) if isinstance(item, Problem)]


def cells(tmp_path: Path, content: bytes | str, options: Options = Options()) -> list[list[str]]:
    found = items(tmp_path, content, options)
    assert not [item for item in found if isinstance(item, Problem)]
    return [list(item.cells.values()) for item in found if isinstance(item, Row)]


def notes(tmp_path: Path, content: bytes | str, options: Options = Options()) -> set[str]:
    return {item.code for item in items(tmp_path, content, options) if isinstance(item, Note)}


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10) | st.sampled_from(
    ["", " ", "007", "NA", "None", "true", "1.0", "a,b", '"', '""', 'say "hi"', "a\nb", "a\r\nb", "\r", "\n", "\t", ";", "|", "=1+1", "\ufeff", "\u2028", "#"]
)


TABLES = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=8))


# With another line end than CRLF the writer of Python 3.11 leaves a lone CR unquoted; it is told to quote everything then.
@settings(deadline=None)
@given(TABLES, st.sampled_from(",;\t|"), st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)]))
def test_any_table_written_by_the_standard_library_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], delimiter: str, style: tuple[str, Literal[0, 1]]
) -> None:
    names = [f"name {number}" for number in range(len(table[0]))]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator=style[0], quoting=style[1]).writerows([names, *table])
    path = tmp_path_factory.getbasetemp() / "table"
    path.write_bytes(written.getvalue().encode())
    found = [item for item in read(path, Detected("csv", "utf-8", delimiter)) if not isinstance(item, Note)]
    assert [item.cells if isinstance(item, Row) else item for item in found] == [dict(zip(names, row, strict=True)) for row in table]
    how = detect(path, Options())
    assert not isinstance(how, Problem)
    assert len(names) == 1 or (how[0].delimiter, how[0].header, how[0].quote) == (delimiter, True, '"')


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_seen_in_the_content(tmp_path: Path, encoding: str) -> None:
    content = "text,label\ncafé crème,gut\nnaïve,schön\n".encode(encoding)
    assert cells(tmp_path, content) == [["café crème", "gut"], ["naïve", "schön"]]
    how = detect(tmp_path / "upload", Options())
    assert not isinstance(how, Problem) and how[0].encoding == encoding


def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    note = items(tmp_path, b"text,label\ncaf\xe9,a\n")[0]
    assert isinstance(note, Note)
    assert note.sentence == "The file is not UTF-8 (first on line 2) and was read as Windows-1252: café,a. Choose another encoding if this looks wrong."


@pytest.mark.parametrize("encoding", ["shift_jis", "koi8-r", "gb18030"])
def test_other_encodings_are_not_guessed(tmp_path: Path, encoding: str) -> None:
    content = "text,label\nПривет мир,x\n" if encoding == "koi8-r" else "text,label\n日本語の文章,x\n"
    found = problems(tmp_path, content.encode(encoding))
    assert found == [("invalid_bytes", 2, "text")]
    assert cells(tmp_path, content.encode(encoding), Options(encoding=encoding))[0][1] == "x"


def test_everything_stays_text(tmp_path: Path) -> None:
    values = ["007", "NA", "None", "null", "N/A", "nan", "true", "FALSE", "1.0", "1e3", "+1", "2024-01-01", " padded ", "=1+1", "'", "\\N"]
    assert cells(tmp_path, "text,label\n" + "".join(f"t,{value}\n" for value in values)) == [["t", value] for value in values]


def test_lines_are_physical_lines(tmp_path: Path) -> None:
    content = 'text,label\r\n"a\nb\r\nc",x\r\n\r\nd,y,z\r\n'
    found = items(tmp_path, content)
    assert [(item.line, item.cells["text"]) for item in found if isinstance(item, Row)] == [(2, "a\nb\r\nc")]
    assert problems(tmp_path, content) == [("wrong_number_of_values", 6, "")]


# Section by section what people upload, and the answer they get: (content, code, line, column, words of the advice).
REFUSED: dict[str, tuple[bytes, str, int, str, str]] = {
    "UTF-16 without a mark": (
        "text,label\nabc,x\n".encode("utf-16-le"),
        "encoding_not_read",
        1,
        "",
        "This file is not UTF-8. It looks like UTF-16. Save it as UTF-8",
    ),
    "UTF-32": ("text,label\nabc,x\n".encode("utf-32"), "encoding_not_read", 1, "", "It looks like UTF-32."),
    "UTF-32 without a mark": ("text,label\nabc,x\n".encode("utf-32-be"), "encoding_not_read", 1, "", "It looks like UTF-32."),
    "one Latin-1 line among UTF-8": (
        "text,label\nça,x\n".encode() + b"caf\xe9,x\n",
        "invalid_bytes",
        3,
        "text",
        "Line 3, column text: byte 0xE9 is not valid UTF-8.",
    ),
    "overlong": (b"text,label\na\xc0\xafb,x\xc3\xa9\n", "invalid_bytes", 2, "text", "byte 0xC0"),
    "lone continuation": (b"text,label\nx\xc3\xa9,a\x80\n", "invalid_bytes", 2, "label", "Line 2, column label: byte 0x80"),
    "truncated last character": ("text,label\né,x\na,é".encode()[:-1], "invalid_bytes", 3, "label", "byte 0xC3"),
    "NUL": (b"text,label\na\x00b,x\n", "nul_character", 2, "text", "Line 2, column text: contains a NUL character (U+0000)."),
    "empty": (b"", "empty_file", 1, "", "The file is empty."),
    "only a mark": (b"\xef\xbb\xbf", "empty_file", 1, "", "The file is empty."),
    "only blank lines": (b"\n\r\n  \n", "empty_file", 1, "", "The file is empty."),
    "header only": (b"text,label\n", "no_rows", 1, "", "The file has a header but no rows."),
    "duplicate header": (b"text,label,label\na,b,c\n", "duplicate_column", 1, "label", "Column 'label' appears twice (columns 2 and 3). Rename one."),
    "unnamed column": (b"text,,label\na,b,c\n", "unnamed_column", 1, "column 2", "Column 2 has no name."),
    "index column": (b",text,label\n0,a,b\n", "unnamed_column", 1, "column 1", "Column 1 has no name."),
    "row too long": (b"text,label\na,x\nb,y,EXTRA\n", "wrong_number_of_values", 3, "", "Line 3 has 3 values, the header has 2: b,y,EXTRA. Quote values"),
    "row too short": (b"text,label\na,x\nb\n", "wrong_number_of_values", 3, "", "Line 3 has 1 value, the header has 2: b. Add the missing"),
    "every row too long": (b"text,label\n1,a,x\n", "wrong_number_of_values", 2, "", "Line 2 has 3 values, the header has 2"),
    "unclosed quote": (b'text,label\n"a,x\nb,y\n', "unclosed_quote", 2, "text", "Line 2: a quote is opened and never closed."),
    "unclosed quote at the end": (b'text,label\na,"x', "unclosed_quote", 2, "label", "Line 2: a quote is opened and never closed."),
    "quote in the middle": (b'text,label\na"b,x\n', "unexpected_quote", 2, "text", "Line 2, column text: unexpected quote."),
    "text behind a quote": (b'text,label\n"a"b,x\n', "unexpected_quote", 2, "text", "Line 2, column text: unexpected quote."),
    "backslash-escaped quote": (b'text,label\nx,"a\\"b"\n', "unexpected_quote", 2, "label", "double the quotes"),
    "cell too long": (
        b"text,label\nx," + b"a" * (MAX_CELL + 1) + b"\n",
        "cell_too_long",
        2,
        "label",
        "Line 2, column label: a cell of 1,000,001 characters; the limit is 1,000,000.",
    ),
    "line too long": (b"text,label\n" + b"a," * (MAX_LINE // 2) + b"b\n", "line_too_long", 2, "", "Line 2 has 4,000,002 characters; the limit is 4,000,000."),
    "too many columns": (
        b",".join(b"c%d" % number for number in range(201)) + b"\n",
        "too_many_columns",
        1,
        "",
        "The header names 201 columns; the limit is 200.",
    ),
    "git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "git_lfs_pointer", 1, "", "This is a Git LFS pointer, not the data."),
    "login page": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web_page", 1, "", "This looks like a web page, not a table."),
    "XML": (b'<?xml version="1.0"?><data/>', "web_page", 1, "", "not a table"),
    "old xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old_office", 1, "", "This workbook is password-protected or in the old .xls format."),
    "pdf": (
        b"%PDF-1.7\n%\xe2\xe3",
        "not_a_table",
        1,
        "",
        "This is a PDF, not a table. Accepted: CSV, TSV, JSON, JSON Lines, Parquet, XLSX, and these in a ZIP or gzip.",
    ),
    "image": (b"\x89PNG\r\n\x1a\n\x00", "not_a_table", 1, "", "This is an image (PNG), not a table."),
    "program": (b"\x7fELF\x02\x01", "not_a_table", 1, "", "This is a program, not a table."),
    "pickle": (b"\x80\x04\x95\x00", "not_a_table", 1, "", "This is a Python pickle, not a table."),
    "program of Windows": (b"MZ" + bytes(58) + b"\x80\0\0\0", "not_a_table", 1, "", "This is a program, not a table."),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "not_a_table", 1, "", "This is an HDF5 file, not a table."),
    "RTF": (b"{\\rtf1\\ansi Hello, you}\n", "not_a_table", 1, "", "This is an RTF document, not a table."),
    "tar": (b"a.csv" + bytes(252) + b"ustar\x0000" + bytes(248), "archive_not_read", 1, "", "Tar files are not read."),
    "weights of a model": (b"\x3a\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"}}' + random.Random(1).randbytes(400), "not_a_table", 1, "", "This is binary data"),
    "mostly zeros": (b"ab\0\0\0c" * 50, "not_a_table", 1, "", "This is binary data, not a table."),
    "SQLite": (b"SQLite format 3\x00", "sqlite_not_read", 1, "", "SQLite files are not read."),
    "random bytes": (random.Random(0).randbytes(3000).replace(b"\x00", b""), "not_a_table", 1, "", "This is binary data, not a table."),
}


@pytest.mark.parametrize("heading", ["PARENT_ID,text,label", "PAR1,text,label", "MZ_code,text,label", "BZh,text,label", "GGUF,text,label", "Rar!,text,label"])
def test_a_table_may_begin_with_the_letters_of_another_kind_of_file(tmp_path: Path, heading: str) -> None:
    assert cells(tmp_path, f"{heading}\n7,caf\u00e9 open?,yes\n8,too late,no\n") == [["7", "caf\u00e9 open?", "yes"], ["8", "too late", "no"]]


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_gets_its_clear_answer(tmp_path: Path, name: str) -> None:
    content, code, line, column, words = REFUSED[name]
    first = next(item for item in items(tmp_path, content) if isinstance(item, Problem))
    assert (first.code, first.line, first.column) == (code, line, column)
    assert words in first.advice
    assert first.excerpt.isprintable() and len(first.excerpt) <= 170


def test_reading_goes_on_behind_every_kind_of_damage(tmp_path: Path) -> None:
    content = 'text,label\n"open,x\nok 1,x\na"b,x\n"c"d,x\nok 2,x\ne,f,g\n"two\nlines"z,x\nok 3,x\n"still open\n'
    found = items(tmp_path, content)
    assert [item.cells["text"] for item in found if isinstance(item, Row)] == ["ok 1", "ok 2", "ok 3"]
    assert problems(tmp_path, content) == [
        ("unclosed_quote", 2, "text"),
        ("unexpected_quote", 4, "text"),
        ("unexpected_quote", 5, "text"),
        ("wrong_number_of_values", 7, ""),
        ("unclosed_quote", 8, "text"),
        ("unexpected_quote", 9, "text"),
        ("unclosed_quote", 11, "text"),
    ]


def test_an_open_quote_costs_no_more_than_its_line(tmp_path: Path) -> None:
    content = 'text,label\n"open,x\n' + "some text,x\n" * 50_000
    assert problems(tmp_path, content) == [("unclosed_quote", 2, "text")]
    assert sum(isinstance(item, Row) for item in items(tmp_path, content)) == 50_000


def test_excerpts_show_what_cannot_be_seen(tmp_path: Path) -> None:
    problem = items(tmp_path, "text,label\na\u200bb\u00a0c\td,x,y\n")[0]
    assert isinstance(problem, Problem) and problem.excerpt == "a\\u200bb\\u00a0c\\td,x,y"
    problem = items(tmp_path, b"text,label\n\xc3\xa9caf\xe9,x\n")[0]
    assert isinstance(problem, Problem) and problem.excerpt == "écaf\\xE9,x"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_seen_in_the_content(tmp_path: Path, delimiter: str) -> None:
    content = f"text{delimiter}label\nHello, you{delimiter}x\nBye, all, of you{delimiter}y\n"
    assert cells(tmp_path, content) == [["Hello, you", "x"], ["Bye, all, of you", "y"]]
    assert notes(tmp_path, content) == {"delimiter"}


def test_a_persons_choice_is_believed(tmp_path: Path) -> None:
    assert cells(tmp_path, "text;a,label;b\n1;2,3;4\n", Options(delimiter=",")) == [["1;2", "3;4"]]
    assert cells(tmp_path, "a|x\nb|y\n", Options(delimiter="|", header=False)) == [["a", "x"], ["b", "y"]]
    assert cells(tmp_path, 'text\tlabel\n"a\tx\n', Options(quote="")) == [['"a', "x"]]


def test_a_separator_line_of_excel_is_understood(tmp_path: Path) -> None:
    found = items(tmp_path, "sep=;\r\ntext;label\r\na;x\r\n")
    assert [(item.line, item.cells) for item in found if isinstance(item, Row)] == [(3, {"text": "a", "label": "x"})]


def test_tab_separated_text_with_stray_quotes_is_read_without_quoting(tmp_path: Path) -> None:
    content = 'output\tmessage\nham\t"Hello\nspam\tsay "hi" now\nham\t5" screen\n'
    assert cells(tmp_path, content) == [["ham", '"Hello'], ["spam", 'say "hi" now'], ["ham", '5" screen']]
    assert cells(tmp_path, 'a\tb\n"x\ty"\tz\n') == [["x\ty", "z"]]


def test_what_is_accepted_with_a_note(tmp_path: Path) -> None:
    assert notes(tmp_path, " text , label\na,x\n") == {"padded_header"}
    assert cells(tmp_path, " text , label\na, x\n") == [["a", " x"]]
    assert notes(tmp_path, "text,label,\na,x,\nb,y,\n") == {"trailing_delimiter"}
    assert cells(tmp_path, "text,label,\na,x,\nb,y,\n") == [["a", "x"], ["b", "y"]]
    assert notes(tmp_path, "text,label\n\na,x\n  \n") == {"blank_lines"}
    assert notes(tmp_path, "text,label\r\na,x\nb,y\r") == {"mixed_line_ends"}
    assert cells(tmp_path, "text,label\r\na,x\nb,y\r") == [["a", "x"], ["b", "y"]]


@pytest.mark.parametrize("name", ["x" * 300, "=cmd", "__proto__", "<script>", "{0.__class__}"])
def test_odd_names_are_plain_text(tmp_path: Path, name: str) -> None:
    found = items(tmp_path, f"{name},label\na,b\n")
    assert [item.cells for item in found if isinstance(item, Row)] == [{name: "a", "label": "b"}]


def test_odd_characters_in_cells_are_kept(tmp_path: Path) -> None:
    odd = ["\x1b[31mred", "form\x0cfeed", "v\x0bt", "\u202eright", "a\u2028b", "é vs e\u0301", "\ufeffmark", "<|im_end|>", "{label}", "%s%n", "😀👩‍👩‍👧"]
    assert cells(tmp_path, "text,label\n" + "".join(f"{text},x\n" for text in odd)) == [[text, "x"] for text in odd]


def test_a_long_cell_is_accepted_up_to_the_limit(tmp_path: Path) -> None:
    assert len(cells(tmp_path, "text,label\n" + "a" * MAX_CELL + ",x\n")[0][0]) == MAX_CELL


def test_a_first_line_of_data_is_not_taken_for_names(tmp_path: Path) -> None:
    content = "I lost my card,lost\nWhere is my card,arrival\nStolen!,lost\n"
    assert next(item.cells for item in items(tmp_path, content) if isinstance(item, Row)) == {"column 1": "I lost my card", "column 2": "lost"}
    assert len(cells(tmp_path, content)) == 3
    assert cells(tmp_path, "text,label\ntext,label\n") == [["text", "label"]]


@pytest.mark.parametrize(
    ("content", "line_ends", "expected"),
    [
        ("text,label\na\rb,x\nc,y\n", "LF", [["a\rb", "x"], ["c", "y"]]),
        ("text,label\r\na\nb,x\r\nc,\ry\r\n", "CRLF", [["a\nb", "x"], ["c", "\ry"]]),
        ("text,label\ra\nb,x\rc,y\r", "CR", [["a\nb", "x"], ["c", "y"]]),
        ('text,label\r\n"a\r\nb\n""c""",x\r\n', "CRLF", [['a\r\nb\n"c"', "x"]]),
    ],
)
def test_a_person_says_how_lines_end(tmp_path: Path, content: str, line_ends: Literal["LF", "CRLF", "CR"], expected: list[list[str]]) -> None:
    assert cells(tmp_path, content, Options(line_ends=line_ends)) == expected
    how = detect(tmp_path / "upload", Options(line_ends=line_ends))
    assert not isinstance(how, Problem) and (how[0].line_ends, how[0].header) == (line_ends, True)


def test_line_ends_that_are_text_are_shown_in_excerpts_and_keep_the_line_numbers(tmp_path: Path) -> None:
    problem = items(tmp_path, "text,label\r\na\nb,x\r\nc\nd,y,z\r\n", Options(line_ends="CRLF"))[-1]
    assert isinstance(problem, Problem) and (problem.line, problem.excerpt) == (3, "c\\nd,y,z")


def test_only_line_ends_count_as_lines(tmp_path: Path) -> None:
    content = "Export\x0cof\u2028March\ntext;label\na;x\n"
    assert cells(tmp_path, content, Options(first_line=2)) == [["a", "x"]]


# The twelve kinds of file of csv-spectrum.
SPECTRUM: dict[str, tuple[str, list[list[str]]]] = {
    "delimiters in quotes": ('first,last,address,city\nJohn,Doe,120 any st.,"Anytown, WW"\n', [["John", "Doe", "120 any st.", "Anytown, WW"]]),
    "empty cells": ('a,b,c\n1,"",""\n2,3,4\n', [["1", "", ""], ["2", "3", "4"]]),
    "empty cells, CRLF": ('a,b,c\r\n1,"",""\r\n2,3,4\r\n', [["1", "", ""], ["2", "3", "4"]]),
    "doubled quotes": ('a,b\n1,"ha ""ha"" ha"\n3,4\n', [["1", 'ha "ha" ha'], ["3", "4"]]),
    "JSON in a cell": ('key,val\n1,"{""type"": ""Point"", ""at"": [102.0, 0.5]}"\n', [["1", '{"type": "Point", "at": [102.0, 0.5]}']]),
    "line ends in quotes": ('a,b,c\n1,2,3\n"Once upon \na time",5,6\n', [["1", "2", "3"], ["Once upon \na time", "5", "6"]]),
    "line ends in quotes, CRLF": ('a,b\r\n"Once upon \r\na time",5\r\n', [["Once upon \r\na time", "5"]]),
    "quotes and line ends": ('a,b\n1,"ha \n""ha"" \nha"\n', [["1", 'ha \n"ha" \nha']]),
    "simple": ("a,b,c\n1,2,3\n", [["1", "2", "3"]]),
    "simple, CRLF": ("a,b,c\r\n1,2,3\r\n", [["1", "2", "3"]]),
    "beyond ASCII": ("a,b,c\n1,2,3\n4,5,ʤ\n", [["1", "2", "3"], ["4", "5", "ʤ"]]),
    "a place": ('lat,long\n"51.5, north",0\n', [["51.5, north", "0"]]),
}


@pytest.mark.parametrize("name", SPECTRUM)
def test_every_kind_of_csv_is_read_exactly(tmp_path: Path, name: str) -> None:
    content, expected = SPECTRUM[name]
    assert cells(tmp_path, content) == expected


def test_a_quote_open_for_longer_than_a_cell_may_be(tmp_path: Path) -> None:
    problem = items(tmp_path, 'text,label\n"' + "some words\n" * 100_000 + '",x\n')[0]
    assert isinstance(problem, Problem) and problem.code == "unclosed_quote" and "not closed within 1,000,000 characters" in problem.advice


LINES = st.sampled_from(["a,b", "a,b", "a,b", '"a",b', '"a,a",b', '"a', 'b"', '"a""a",b', 'a"a,b', "a", "a,b,c", "", " ", "é,b", "\0,b", "a,b\r", '""', "a,"])


@settings(deadline=None, max_examples=200)
@given(st.lists(LINES, max_size=14), st.integers(1, 5), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(['"', ""]))
def test_lines_by_the_block_are_read_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, lines: list[str], block: int, end: str, quote: str) -> None:
    path = tmp_path_factory.getbasetemp() / "block.csv"
    path.write_bytes((end.join(["text,label", *lines]) + end).encode())
    detected = Detected("csv", "utf-8", quote=quote)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.readers.lines.BLOCK", block)
        by_the_block = [*read(path, detected)]
        patch.setattr("app.readers.csv._Records._plain", lambda self, lines: [])
        assert by_the_block == [*read(path, detected)]
