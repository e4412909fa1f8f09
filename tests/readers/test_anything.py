"""Whatever the bytes are, the child answers in time with rows or sentences, and a file's name changes nothing."""

import csv
import gzip
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.readers import Problem
from app.readers.detect import detect
from app.readers.frames import End
from app.readers.options import Options
from app.readers.pipeline import frames
from tests.readers.reading import Read

STARTS = [
    b"", b"PAR1", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x1f\x8b\x08\x00" + bytes(6), b"\xff\xfe", b"\xef\xbb\xbf", b"{", b'[{"a": ', b'{"data": [', b"text,label\n",
    b"sep=;\n", b'"', b"a\tb\n", b"1 a\n" * 12, b"\xd0\xcf\x11\xe0", b"\0",
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(STARTS), st.binary(max_size=300) | st.text(alphabet='{}[]",:;\t|\\ \r\n01ae.-\x00é', max_size=120).map(str.encode))
def test_no_bytes_make_the_reading_fail(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(start + rest)
    found = list(frames(path, Options()))
    assert isinstance(found[-1], End)
    assert all(problem.excerpt.isprintable() and problem.advice for problem in Read(path).problems)


@pytest.mark.parametrize("format_", ["csv", "label_lines", "json_lines", "json", "parquet", "xlsx"])
def test_no_choice_of_a_person_makes_it_fail(tmp_path: Path, format_: Literal["csv", "json"]) -> None:
    path = tmp_path / "upload"
    for data in (b"text,label\na,x\n", b'{"text": "a"}', b"\xff\xfe\x00", b"", b"PAR1", b"PK\x05\x06" + bytes(18), os.urandom(200)):
        path.write_bytes(data)
        for options in (
            Options(format=format_),
            Options(format=format_, encoding="utf-16", first_line=9),
            Options(format=format_, header=False, sheet="a", member="b", under="c"),
        ):
            assert isinstance(list(frames(path, options))[-1], End)


def test_random_bytes_never_take_the_child_down(tmp_path: Path, read_in_child: Callable[[Path], list[str]]) -> None:
    path = tmp_path / "upload"
    for start in (b"", b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08\x00"):
        path.write_bytes(start + os.urandom(20_000))
        began = time.monotonic()
        assert read_in_child(path) and time.monotonic() - began < 20


SAMPLES: dict[str, bytes] = {
    "csv": b"text,label\na,x\n",
    "tsv": b"text\tlabel\na\tx\n",
    "json": b'[{"text": "a", "label": "x"}]',
    "jsonl": b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    "gz": gzip.compress(b"text,label\na,x\n"),
}


def test_the_name_of_a_file_changes_nothing(tmp_path: Path) -> None:
    names = ["x", "x.csv", "x.CSV.exe", "x.parquet", "x.xlsx", "x.zip", "x.json", "x" * 250, "naïve 表.tsv", ".hidden", "a b;c.gz"]
    for data in SAMPLES.values():
        seen = set()
        for name in names:
            (tmp_path / name).write_bytes(data)
            seen.add(repr(Read(tmp_path / name).frames))
        assert len(seen) == 1


WORDS = st.text(st.sampled_from("abé ö,;\t|\"'\n\r"), max_size=8)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]),
    st.sampled_from(['"', "'"]),
    st.sampled_from(["\r\n", "\n"]),
)
def test_any_table_in_any_dialect_and_encoding_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, encoding: str, quote: str, end: str
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, quotechar=quote, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), ("first", "é"), *rows])
    path = tmp_path_factory.getbasetemp() / "dialect"
    path.write_bytes(written.getvalue().encode(encoding))
    read = Read(path, Options(encoding=encoding, delimiter=delimiter, quote=quote, header=True))
    kept = [(text, label if label.strip() else None) for text, label in rows if text.strip()]
    assert read.pairs == [("first", "é"), *kept]
    assert set(read.codes) <= {"empty_input"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.fixed_dictionaries({"text": WORDS.filter(str.strip), "label": JSON}), min_size=1, max_size=5),
    st.sampled_from(["lines", "list", "wrapped", "indented", "utf-16"]),
)
def test_any_records_that_json_can_say_come_back(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], style: str) -> None:
    path = tmp_path_factory.getbasetemp() / "records"
    text = {
        "lines": "\n".join(map(json.dumps, records)),
        "list": json.dumps(records),
        "wrapped": json.dumps({"version": {"a": [1, "]"]}, "data": records, "end": '"}'}),
        "indented": json.dumps({"data": records}, indent=1, ensure_ascii=False),
        "utf-16": json.dumps(records),
    }[style]
    path.write_bytes(text.encode("utf-16" if style == "utf-16" else "utf-8"))
    read = Read(path, Options(mapping={"input": "text", "output": None}))
    assert [example.input for example in read.examples] == [record["text"] for record in records]
    for example, record in zip(read.examples, records, strict=True):
        value = record["label"]
        told = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        assert example.cells["label"] == told


def test_nothing_is_found_out_from_the_rest_of_a_packed_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("table.json", "text,label\na,x\n")
    assert Read(tmp_path / "a.zip").detected.format == "csv"


def test_a_file_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(frames(tmp_path / "absent", Options()))
    (tmp_path / "empty").write_bytes(b"")
    how = detect(tmp_path / "empty", Options())
    assert isinstance(how, Problem) and how.code == "empty_file"
