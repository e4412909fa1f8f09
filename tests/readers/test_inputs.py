"""Every row of docs/inputs.md that a single file or table can show: what was uploaded, and the answer its sender gets. A test's id begins with the row's number."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from app.readers import Example, Split
from app.readers.names import misnamed
from tests.readers.reading import Read
from tests.readers.test_health import examine, rows, sentence


@dataclass(frozen=True)
class File:
    """A file, and what is said of it: a problem's `code`, on a `line`, with these `words` of advice; or, of one that is accepted, its first rows (`pairs`) and
    the code of a `note` with these words."""

    data: bytes
    code: str = ""
    line: int | None = None
    words: str = ""
    pairs: tuple[tuple[str, str | None], ...] | None = None
    note: str = ""


def table(text: str, encoding: str = "utf-8") -> bytes:
    return text.encode(encoding)


def parquet(**columns: Any) -> bytes:
    held = io.BytesIO()
    pq.write_table(pa.table(columns), held)
    return held.getvalue()


def workbook(*lines: list[Any], corner: str = "", number_format: str = "") -> bytes:
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    if corner:
        book.active[corner] = 1
    if number_format:
        book.active["B2"].number_format = number_format
    held = io.BytesIO()
    book.save(held)
    return held.getvalue()


def changed(data: bytes, part: str, old: str, new: str) -> bytes:
    """A workbook with something else in one of its parts."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old in parts[part].decode()
    return packed({**parts, part: parts[part].decode().replace(old, new).encode()})


def packed(members: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def many_members(count: int) -> bytes:
    """The last records of an archive that claims to hold so many: more than two bytes can say, so a ZIP64 record has the number."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, 60, 4)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 64, 1)
    return b"PK\x03\x04" + bytes(60) + record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 60, 4, 0)


PLAIN = "text,label\na,x\nb,y\n"
TWO: tuple[tuple[str, str | None], ...] = (("a", "x"), ("b", "y"))
NOT_UTF_8 = b"text,label\n\xc3\xa7a,x\n"
CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
SHEET = "xl/worksheets/sheet1.xml"

FILES: dict[str, Callable[[], File]] = {
    "IU2 UTF-16 LE with a mark": lambda: File(b"\xff\xfe" + table(PLAIN, "utf-16-le"), pairs=TWO),
    "IU2 UTF-16 BE with a mark": lambda: File(b"\xfe\xff" + table(PLAIN, "utf-16-be"), pairs=TWO),
    "IU3 UTF-16 without a mark": lambda: File(table(PLAIN, "utf-16-le"), "encoding_not_read", words="This file is not UTF-8. It looks like UTF-16. Save it as UTF-8"),
    "IU3 UTF-32": lambda: File(table(PLAIN, "utf-32"), "encoding_not_read", words="It looks like UTF-32."),
    "IU4 Windows-1252": lambda: File(b"text,label\ncaf\xe9,a\n", pairs=(("café", "a"),), note="read_as_windows_1252", words="was read as Windows-1252"),
    "IU6 one Latin-1 line": lambda: File(NOT_UTF_8 + b"caf\xe9,x\n", "invalid_bytes", 3, "Line 3, column text: byte 0xE9 is not valid UTF-8."),
    "IU7 overlong": lambda: File(NOT_UTF_8 + b"a\xc0\xaf,x\n", "invalid_bytes", 3, "byte 0xC0"),
    "IU7 lone continuation": lambda: File(NOT_UTF_8 + b"a\x80,x\n", "invalid_bytes", 3, "byte 0x80"),
    "IU7 truncated last character": lambda: File(NOT_UTF_8 + "a,é".encode()[:-1], "invalid_bytes", 3, "byte 0xC3"),
    "IU8 NUL": lambda: File(b"text,label\na\x00b,x\n", "nul_character", 2, "Line 2, column text: contains a NUL character (U+0000)."),
    "IC1 0 bytes": lambda: File(b"", "empty_file", words="The file is empty."),
    "IC2 header only": lambda: File(b"text,label\n", "no_rows", words="The file has a header but no rows."),
    "IC4 duplicate header": lambda: File(b"text,label,label\na,b,c\n", "duplicate_column", 1, "Column 'label' appears twice (columns 2 and 3). Rename one."),
    "IC5 empty header": lambda: File(b"text,,label\na,b,c\n", "unnamed_column", 1, "Column 2 has no name."),
    "IC5 padded header": lambda: File(b"text, label \na,x\nb,y\n", pairs=TWO, note="padded_header"),
    "IC5 odd headers": lambda: File(f"text,label,=cmd,__proto__,<script>,{'h' * 300}\na,x,1,2,3,4\nb,y,1,2,3,4\n".encode(), pairs=TWO),
    "IC6 row too long": lambda: File(b"text,label\na,x\nb,y,EXTRA\n", "wrong_number_of_values", 3, "Line 3 has 3 values, the header has 2: b,y,EXTRA. Quote values"),
    "IC8 every row too long": lambda: File(b"text,label\n1,a,x\n2,b,y\n", "wrong_number_of_values", 2, "Line 2 has 3 values, the header has 2"),
    "IC9 unclosed quote": lambda: File(b'text,label\n"a,x\nb,y\n', "unclosed_quote", 2, "Line 2: a quote is opened and never closed."),
    "IC10 quote in the middle": lambda: File(b'text,label\na,x\nb,y\na"b,x\n', "unexpected_quote", 4, "Line 4, column text: unexpected quote."),
    "IC10 doubled quotes": lambda: File(b'text,label\n"say ""a""",x\n', pairs=(('say "a"', "x"),)),
    "IC10 backslash-escaped quote": lambda: File(b'text,label\nx,"a\\"b"\n', "unexpected_quote", 2, "double the quotes"),
    "IC12 mixed line ends": lambda: File(b"text,label\r\na,x\nb,y\r\n", pairs=TWO, note="mixed_line_ends"),
    "IC13 semicolon": lambda: File(b"text;label\na;x\nb;y\n", pairs=TWO, note="delimiter"),
    "IC13 tab": lambda: File(b"text\tlabel\na\tx\nb\ty\n", pairs=TWO, note="delimiter"),
    "IC13 pipe": lambda: File(b"text|label\na|x\nb|y\n", pairs=TWO, note="delimiter"),
    "IC14 sep= line": lambda: File(b"sep=;\ntext;label\na;x\nb;y\n", pairs=TWO),
    "IC16 200 KB field": lambda: File(b"text,label\n" + b"a" * 200_000 + b",x\n", pairs=(("a" * 200_000, "x"),)),
    "IC17 long field": lambda: File(b"text,label\n" + b"a" * 5_000_000 + b",x\nb,y\n", "cell_too_long", 2, "the limit is 1,000,000"),
    "IC18 50,000 columns": lambda: File(b",".join(b"c%d" % at for at in range(50_000)) + b"\n", "too_many_columns", words="the limit is 200"),
    "IC18 too many rows": lambda: File(b"text,label\n" + b"a,x\n" * 1_000_300, "too_many_rows", words="The file has 1,000,300 rows; the limit is 1,000,000."),
    "IC21 trailing delimiter": lambda: File(b"text,label,\na,x,\nb,y,\n", pairs=TWO, note="trailing_delimiter"),
    "IC21 blank lines": lambda: File(b"text,label\n\na,x\n\n\nb,y\n", pairs=TWO, note="blank_lines"),
    "IC21 lines of only commas": lambda: File(b"text,label,more\na,x,1\n,,\nb,y,1\n", pairs=TWO, note="empty_rows"),
    "IC22 git-LFS pointer": lambda: File(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "git_lfs_pointer", words="This is a Git LFS pointer, not the data."
    ),
    "IC22 login page": lambda: File(b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web_page", words="This looks like a web page, not a table."),
    "IC22 error answer": lambda: File(b'{"error": {"code": 401, "message": "sign in"}}', "error_answer"),
    "IJ2 JSON list named .jsonl": lambda: File(b'[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]', pairs=TWO),
    "IJ2 objects on one line": lambda: File(b'{"text": "a", "label": "x"}{"text": "b", "label": "y"}', pairs=TWO),
    "IJ3 list inside an object": lambda: File(b'{"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]}', pairs=TWO, words="Read the list under 'data'."),
    "IJ3 two lists": lambda: File(b'{"train": [{"a": 1}], "test": [{"a": 2}]}', "choose_list", words="Found lists under 'train' and 'test'. Use which?"),
    "IJ4 scalar": lambda: File(b"1.0", "not_a_record", words="ecord with named fields"),
    "IJ4 list of scalars": lambda: File(b'["a", "b"]', "not_a_record", words="named fields"),
    "IJ4 empty list": lambda: File(b"[]", "no_rows", words="Expected a list of records with named fields"),
    "IJ6 duplicate key": lambda: File(b'{"a": 1}\n{"a": 1}\n{"label": "x", "label": "y"}', "duplicate_key", 3, "'label' appears twice."),
    "IJ7 NaN": lambda: File(b'{"text": "a"}\n' * 4 + b'{"text": NaN}\n', "not_json", 5, "Line 5, column text: NaN is not valid JSON."),
    "IJ7 Infinity": lambda: File(b'{"text": Infinity}', "not_json", 1, "Infinity is not valid JSON."),
    "IJ7 1e400": lambda: File(b'{"text": "a", "label": 1e400}\n{"text": "b", "label": "y"}', pairs=(("a", "1e400"), ("b", "y"))),
    "IJ8 5,000 digits": lambda: File(b'{"text": "a"}\n{"text": ' + b"9" * 5_000 + b"}", "number_too_long", 2, "number too long"),
    "IJ10 01 and 1": lambda: File(b'{"text": "a", "label": "01"}\n{"text": "b", "label": "1"}', pairs=(("a", "01"), ("b", "1"))),
    "IJ11 key named date": lambda: File(b'{"text": "2024-01-31", "label": "x", "date": "1", "made_at": "2"}', pairs=(("2024-01-31", "x"),)),
    "IJ12 lists in the text column": lambda: File(b'{"text": ["a"], "label": "x"}\n{"text": "b", "label": "y"}', "nested_value", 1, "list"),
    "IJ12 last message of a chat": lambda: File((CHAT * 8 + '{"messages": [{"role": "user", "content": "a"}]}').encode(), "no_answer", 9, "the last message is not from the assistant"),
    "IJ12 unknown role": lambda: File(b'{"messages": [{"role": "robot", "content": "a"}]}', "unknown_role", 1, "message 1 has no known role."),
    "IJ12 empty content": lambda: File(b'{"messages": [{"role": "assistant", "content": ""}]}', "empty_content", 1, "has no text"),
    "IJ14 line separators inside": lambda: File('{"text": "a\u2028b\u0085c", "label": "x"}\n'.encode(), pairs=(("a\u2028b\u0085c", "x"),)),
    "IJ15 byte order mark": lambda: File(b"\xef\xbb\xbf" + b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}', pairs=TWO),
    "IP1 half a file": lambda: File(parquet(text=["a"] * 900, label=["x"] * 900)[:300], words="This Parquet file is incomplete or damaged."),
    "IP2 first bytes overwritten": lambda: File(bytes(4) + parquet(text=["a"] * 9, label=["x"] * 9)[4:], words="This Parquet file is incomplete or damaged."),
    "IP3 damaged pages": lambda: File(_damaged_pages(), words="Parquet file is incomplete or damaged"),
    "IP5 nested columns": lambda: File(parquet(text=[["a"]], label=["x"]), "nested_value", words="list"),
    "IP6 what types become": lambda: File(parquet(text=pa.array([b"a", b"b"]), label=pa.array(["x", "y"]).dictionary_encode()), pairs=TWO),
    "IP7 encrypted": lambda: File(b"PARE" + bytes(100) + b"PARE", "encrypted_parquet_not_read", words="Encrypted"),
    "IP7 10,000 columns": lambda: File(parquet(**{f"c{at}": ["a"] for at in range(10_000)}), "too_many_columns"),
    "IP7 zero row groups": lambda: File(parquet(text=pa.array([], pa.string())), "no_rows"),
    "IX1 formula without a result": lambda: File(
        workbook(["text", "label"], ["=1+1", "x"]), "no_result", 2, "Cell A2 holds a formula without a saved result. Open the file in Excel, save it, and upload it again."
    ),
    "IX2 formula with a result": lambda: File(_calculated(), pairs=(("a", "2"),), note="formulas"),
    "IX3 numbers as they are shown": lambda: File(workbook(["text", "label"], ["a", 7], number_format="000"), pairs=(("a", "007"),)),
    "IX3 numbers without a format": lambda: File(workbook(["text", "label"], ["a", 7]), pairs=(("a", "7"),), note="numbers_in_sheet", words="leading zeros may have been lost"),
    "IX5 title row": lambda: File(
        workbook(["Tickets"], [], ["text", "label", "who"], ["a", "x", "me"], ["b", "y", "you"]), "not_a_header", 1, "Row 1 is not a header (only 1 of 3 cells filled)."
    ),
    "IX6 error value": lambda: File(workbook(["text", "label"], ["a", "x"], ["b", "#REF!"]), "cell_error", words="Cell B3 holds the error #REF!."),
    "IX7 one cell at the far corner": lambda: File(workbook(corner="XFD1048576"), "sheet_too_large", words="This sheet spans 17 billion cells"),
    "IX9 entities": lambda: File(
        changed(workbook(["text", "label"], ["a", "x"]), SHEET, "<worksheet", '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><worksheet'), "unsafe_workbook"
    ),
    "IX9 outside entities": lambda: File(
        changed(workbook(["text", "label"], ["a", "x"]), SHEET, "<worksheet", '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]><worksheet'), "unsafe_workbook"
    ),
    "IX10 password or old .xls": lambda: File(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "old_office", words="This workbook is password-protected or in the old .xls format."),
    "IX11 macros": lambda: File(packed({**_parts(workbook(["text", "label"], ["a", "x"], ["b", "y"])), "xl/vbaProject.bin": b"x"}), pairs=TWO, note="macros_not_run"),
    "IX11 xlsb": lambda: File(packed({"[Content_Types].xml": b"<Types/>", "xl/workbook.bin": b"x"}), words="binary workbook (.xlsb)"),
    "IX11 ods": lambda: File(packed({"META-INF/manifest.xml": b"x", "content.xml": b"x"}), words="OpenDocument"),
    "IX11 csv": lambda: File(table(PLAIN), pairs=TWO),
    "IZ2 several tables": lambda: File(
        packed({"train.csv": b"text,label\n" + b"a,x\n" * 90, "test.csv": b"text,label\n" + b"a,x\n" * 10}), "choose_member", words="train.csv (90 rows), test.csv (10 rows)"
    ),
    "IZ3 bomb": lambda: File(_bomb(), "unpacks_too_large", words="The archive unpacks to more than allowed (stopped at 64 MB)."),
    "IZ3 nested": lambda: File(packed({"a.zip": packed({"t.csv": table(PLAIN)})}), "nested_archive"),
    "IZ3 1,000,000 members": lambda: File(many_members(1_000_000), "too_many_members", words="more than 1,000 files"),
    "IZ4 slip": lambda: File(packed({"../x.csv": table(PLAIN)}), "unsafe_member", words="'../x.csv'"),
    "IZ4 symlink": lambda: File(_linked(), "link_in_archive", words="'link.csv' is a link"),
    "IZ4 encrypted": lambda: File(_encrypted(), "encrypted_archive", words="is encrypted"),
    "IZ4 twice": lambda: File(packed({"a.csv": table(PLAIN), "A.csv": table(PLAIN)}), "duplicate_member", words="in the archive twice"),
    "IZ6 PDF": lambda: File(b"%PDF-1.7\n%\xe2\xe3", "not_a_table", words="This is a PDF, not a table. Accepted: CSV, TSV, JSON"),
    "IZ6 image": lambda: File(b"\x89PNG\r\n\x1a\n\x00", "not_a_table", words="This is an image (PNG)"),
    "IZ6 program": lambda: File(b"MZ" + bytes(58) + b"\x80\0\0\0", "not_a_table", words="This is a program"),
    "IZ6 pickle": lambda: File(b"\x80\x04\x95\x00", "not_a_table", words="This is a Python pickle"),
    "IZ6 SQLite": lambda: File(b"SQLite format 3\x00", "sqlite_not_read", words="SQLite files are not read."),
    "IZ6 DOCX": lambda: File(packed({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"x"}), words="Word document"),
    "IZ6 model file": lambda: File(b"\x3a\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"}}' + bytes(range(1, 256)) * 3, "not_a_table", words="binary data"),
    "IL1 markers are labels": lambda: File(
        b"text,label\na,None\nb,NA\nc,null\nd,N/A\ne,nan\nf,\n", pairs=(("a", "None"), ("b", "NA"), ("c", "null"), ("d", "N/A"), ("e", "nan"), ("f", None))
    ),
    "IL2 numbers stay text": lambda: File(
        b"text,label\na,007\nb,7\nc,1\nd,1.0\ne,1e3\nf,+1\n", pairs=(("a", "007"), ("b", "7"), ("c", "1"), ("d", "1.0"), ("e", "1e3"), ("f", "+1"))
    ),
    "IL3 truth stays text": lambda: File(b"text,label\na,True\nb,false\nc,TRUE\nd,yes\ne,0\n", pairs=(("a", "True"), ("b", "false"), ("c", "TRUE"), ("d", "yes"), ("e", "0"))),
    "IT1 empty texts": lambda: File(b"text,label\na,x\n   ,y\n", "empty_input", 3),
    "IT3 1 MB in a cell": lambda: File(b"text,label\n" + b"a" * 1_000_001 + b",x\n", "cell_too_long", 2),
    "IT7 formulas and format strings": lambda: File(b"text,label\n=1+1,%s%n\n{0.__class__},' OR 1=1 --\n", pairs=(("=1+1", "%s%n"), ("{0.__class__}", "' OR 1=1 --"))),
}  # fmt: skip


def _parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _damaged_pages() -> bytes:
    data = parquet(text=[f"text {at}" for at in range(99)], label=["x"] * 99)
    return data[:40] + b"\xff" * 60 + data[100:]


def _calculated() -> bytes:
    """A formula with the result that Excel saved beside it."""
    data = workbook(["text", "label"], ["a", "=1+1"])
    return changed(data, SHEET, "<v></v>" if b"<v></v>" in _parts(data)[SHEET] else "<v />", "<v>2</v>")


def _bomb() -> bytes:
    return gzip.compress(b"text,label\n" + b"a,x\n" * 25_000_000, 1)


def _linked() -> bytes:
    link = zipfile.ZipInfo("link.csv")
    link.external_attr = 0o120777 << 16
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    return held.getvalue()


def _encrypted() -> bytes:
    data = bytearray(packed({"t.csv": table(PLAIN)}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_gets_its_clear_answer(tmp_path: Path, name: str) -> None:
    wanted = FILES[name]()
    path = tmp_path / "upload"
    path.write_bytes(wanted.data)
    read = Read(path)
    if wanted.pairs is not None:
        assert not read.problems, read.problems
        assert tuple(read.pairs) == wanted.pairs
        assert not wanted.note or wanted.note in read.notes, read.notes
        assert wanted.words in " ".join(read.notes.values())
        return
    found = next((problem for problem in read.problems if wanted.words in problem.advice and wanted.code in ("", problem.code)), None)
    assert found is not None, read.problems
    assert wanted.line in (None, found.line) and found.excerpt.isprintable()
    assert "Traceback" not in found.advice and found.advice.strip()


def labelled(*labels: str, split: Split | None = None) -> list[Example]:
    return [Example(at + 2, sentence(at), label, split) for at, label in enumerate(labels)]


TRAIN, TEST = rows(40, split="train"), rows(20, split="test", start=40)

TABLES: dict[str, tuple[Callable[[], list[Example]], str, str]] = {
    "IU10 control characters": (
        lambda: [*rows(40), Example(90, "ring\x07\x1b[31m\x0c\x0b", "praise")],
        "control_characters",
        "1 row contains control characters",
    ),
    "IU11 two ways to store an accent": (
        lambda: labelled(*["caf\u00e9"] * 12, *["cafe\u0301"] * 3, *["other"] * 20),
        "look_alike_labels",
        "2 labels look the same",
    ),
    "IU12 trailing space": (lambda: labelled(*["refund", "refund ", "other"] * 12), "look_alike_labels", "an invisible character or white space"),
    "IU12 Cyrillic letter": (lambda: labelled(*["color", "c\u043elor", "other"] * 12), "look_alike_labels", "a look-alike letter"),
    "IL3 variants of case": (lambda: labelled(*["True", "true", "TRUE"] * 12), "look_alike_labels", "case"),
    "IL1 a hint": (lambda: labelled(*["NA", "None", "x"] * 12), "missing_markers", "looks like a missing-value marker in 24 rows"),
    "IL5 one class": (lambda: labelled(*["positive"] * 30), "one_class", "All rows have the label 'positive'. A classifier needs at least two"),
    "IL6 a class of one row": (
        lambda: labelled(*["a", "b"] * 30, "sarcasm"),
        "tiny_classes",
        "'sarcasm' has 1 row; each class needs at least 3 (one per split).",
    ),
    "IL7 imbalance": (lambda: labelled(*["ham"] * 95, *["spam"] * 5), "imbalance", "95% of the rows have the label 'ham'"),
    "IL9 swapped columns": (lambda: [Example(one.line, one.output or "", one.input) for one in rows(40)], "swapped_columns", ""),
    "IL9 label equals text": (lambda: [Example(one.line, one.input, one.input) for one in rows(40)], "copied_outputs", "the output is the input itself"),
    "IL10 label in the text": (
        lambda: [Example(one.line, f"{one.input} label: {one.output}", one.output) for one in rows(40)],
        "label_in_text",
        "the text contains its label",
    ),
    "IL11 duplicates": (lambda: [*rows(40), Example(90, rows(40)[0].input, "praise")], "duplicates", "1 duplicate row"),
    "IL11 conflicting labels": (lambda: [*rows(40), Example(90, rows(40)[0].input, "blame")], "conflicting_labels", ""),
    "IL13 leakage": (lambda: [*TRAIN, *TEST, Example(90, f"{TRAIN[3].input} ", "blame", "test")], "leakage", ""),
    "IL14 unseen label": (
        lambda: [*TRAIN, *rows(10, ("praise", "neutral"), "test", start=40)],
        "unseen_labels",
        "Test has labels that train never shows: 'neutral'.",
    ),
    "IL15 3 rows": (lambda: rows(3), "few_rows", "3 rows: at least 10 are needed to train (and 2 per class to test)."),
    "IL17 several labels in one": (lambda: rows(40, ("a;b", "b;c", "c;a")), "several_labels", "Labels contain ';' or '|' in 100% of the rows."),
    "IL18 numbers": (lambda: labelled(*(f"{at / 7:.2f}" for at in range(100))), "numbers_as_labels", "The output holds 100 different numbers."),
    "IT4 special tokens": (lambda: [*rows(40), Example(90, "</s> [MASK] [PAD] <|im_end|> {label}", "praise")], "special_tokens", "They are treated as text."),
    "IT8 personal data": (lambda: [*rows(40), Example(90, "mail me at jo@example.org", "praise")], "personal_data", ""),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gets_its_warning(name: str) -> None:
    make, code, words = TABLES[name]
    found = {one.code: one for one in examine(make()).findings}
    assert code in found, list(found)
    assert words in found[code].sentence and found[code].sentence.isprintable()


@pytest.mark.parametrize("labels", [["İ", "i"], ["ß", "SS"], ["ﬁ", "FI"]], ids=["IU14 dotted I", "IU14 sharp s", "IU14 ligature"])
def test_letters_whose_case_is_no_simple_thing_stay_what_they_are(tmp_path: Path, labels: list[str]) -> None:
    path = tmp_path / "upload"
    path.write_text("text,label\n" + "".join(f"text {at},{label}\n" for at, label in enumerate(labels * 4)))
    assert [label for _, label in Read(path).pairs] == labels * 4


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("table.csv", "text\tlabel\na\tx\nb\ty\n", "tab"),
        ("table.tsv", "text,label\na,x\nb,y\n", "comma"),
        ("table.jsonl", json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]), "JSON"),
    ],
    ids=["IC20 tabs in .csv", "IC20 commas in .tsv", "IJ2 a list in .jsonl"],
)
def test_a_name_that_says_something_else_is_told(tmp_path: Path, name: str, data: str, words: str) -> None:
    path = tmp_path / "upload"
    path.write_text(data)
    read = Read(path)
    note = misnamed(name, read.detected)
    assert tuple(read.pairs) == TWO and note is not None and words in note.sentence
