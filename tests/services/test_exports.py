"""What goes out comes back exactly, without what is sealed; and a spreadsheet runs nothing of it."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.lineage import Keep
from app.errors import Invalid
from app.readers import Example
from app.readers.frames import Broken, Chunk
from app.readers.options import Options
from app.readers.pipeline import frames
from app.services import datasets, exports, uploads, versions
from app.services.appending import append_file
from app.services.versions import New, derive
from app.writers import FORMULA, WRITERS, Record, as_csv
from tests.rows import add_dataset

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
INPUTS = TEXTS.filter(lambda text: bool(text.strip()))
ROWS = st.lists(
    st.tuples(
        INPUTS,
        st.one_of(st.none(), INPUTS),
        st.sampled_from(["train", "validation", "test", "reserve"]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    ),
    min_size=1,
    max_size=8,
)
COLUMNS = ["input", "note", "output", "split"]


def read(data: bytes, name: str) -> list[Example]:
    """A file as our reader takes it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        found = list(frames(path, Options()))
    broken = [frame.problem for frame in found if isinstance(frame, Broken)]
    assert not broken, broken
    return [row for frame in found if isinstance(frame, Chunk) for row in frame.examples]


def as_records(rows: list[tuple[str, str | None, str, str]]) -> list[Record]:
    return [{"input": text, "output": output, "split": None if output is None else split, "note": note} for text, output, split, note in rows]


def same(found: list[Example], rows: list[tuple[str, str | None, str, str]]) -> None:
    assert [(row.input, row.output, row.split, row.cells["note"]) for row in found] == [
        (text, output, None if output is None else split, note) for text, output, split, note in rows
    ]


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(ROWS)
def test_json_lines_come_back_exactly(rows: list[tuple[str, str | None, str, str]]) -> None:
    same(read(b"".join(WRITERS["jsonl"](COLUMNS, [as_records(rows)])), "x.jsonl"), rows)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(ROWS)
def test_csv_comes_back_exactly(rows: list[tuple[str, str | None, str, str]]) -> None:
    same(read(b"".join(WRITERS["csv"](COLUMNS, [as_records(rows)])), "x.csv"), rows)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(ROWS)
def test_parquet_comes_back_exactly(rows: list[tuple[str, str | None, str, str]]) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(b"".join(WRITERS["parquet"](COLUMNS, [as_records(rows), as_records(rows)]))))
    assert table.to_pylist() == [dict(record) for record in as_records(rows) * 2]


@pytest.mark.parametrize("first", FORMULA)
def test_a_spreadsheet_runs_no_formula(first: str) -> None:
    records: list[Record] = [{first + "head": f"{first}cmd|' /C calc'!A0", "plain": f"a{first}b"}]
    rows = list(csv.reader(io.StringIO(b"".join(as_csv([first + "head", "plain"], [records], spreadsheet=True)).decode(), newline="")))
    assert rows == [[f"'{first}head", "plain"], [f"'{first}cmd|' /C calc'!A0", f"a{first}b"]]
    exact = list(csv.reader(io.StringIO(b"".join(as_csv(["plain"], [[{"plain": f"{first}1"}]])).decode(), newline="")))
    assert exact[1] == [f"{first}1"]


def test_half_a_character_is_refused_where_it_cannot_be_held() -> None:
    records: list[Record] = [{"input": "half \ud83d"}]
    for form in ("csv", "parquet"):
        with pytest.raises(Invalid, match="half a character"):
            list(WRITERS[form](["input"], [records]))
    assert b"".join(WRITERS["jsonl"](["input"], [records])) == b'{"input": "half \\ud83d"}\n'


def test_an_export_leaves_out_what_is_sealed_and_says_so(person: Who) -> None:
    add_dataset(person, "tickets / 2026")
    derive(person, "1", Keep("append"), added=[[New("nobody knows", None, cells={"id": "007"}), New("=1+1", "billing", "train", cells={"id": "7"})]])
    found = exports.export(person, "1", "csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(found.content).decode(), newline="")))
    assert (found.filename, found.left_out) == ("tickets-2026-v2-without-test.csv", {"test": 30})
    assert found.headers["X-Fettle-Left-Out"] == "30 test rows (sealed)"
    assert len(rows) == 32 and {row["split"] for row in rows} == {"train", "validation", ""} and rows[-1]["input"] == "=1+1"
    assert datasets.find(person, "1").version.viewed == 0
    datasets.reveal(person, "1", "to look at them")
    opened = exports.export(person, "1", "csv", spreadsheet=True)
    text = b"".join(opened.content).decode()
    assert opened.filename == "tickets-2026-v2-for-spreadsheets.csv" and not opened.left_out and text.count("\r\n") == 63 and '"\'=1+1"' in text
    assert datasets.find(person, "1").version.viewed == 1
    for form, spreadsheet in (("xls", False), ("jsonl", True)):
        with pytest.raises(Invalid, match="does not export"):
            exports.export(person, "1", form, spreadsheet)


def content(version: DatasetVersion) -> list[dict[str, Any]]:
    return [{name: cell for name, cell in row.items() if name not in ("id", "line")} for row in versions.values(version)]


@pytest.mark.parametrize("form", list(WRITERS))
def test_a_dataset_goes_out_and_comes_in_as_it_was(person: Who, tmp_path: Path, form: str) -> None:
    head = "id,body,kind\n"
    path = tmp_path / "in.csv"
    path.write_text(head + "".join(f'{number:03},"text, number {number}"" ",{"NA" if number % 3 else "007"}\n' for number in range(60)) + "060,waits,\n")
    mapping: dict[str, str | None] = {"input": "body", "output": "kind"}
    first = uploads.import_file(person, path, name="odd", filename="in.csv", mapping=mapping).version
    datasets.reveal(person, "1", "all of it goes out")
    out = tmp_path / f"out.{form}"
    out.write_bytes(b"".join(exports.export(person, "1", form).content))
    second = uploads.import_file(person, out, name="again", filename=out.name, mapping={**mapping, "split": "split"}).version
    assert content(second) == content(first)
    assert second.content_hash == first.content_hash


def test_an_input_of_several_columns_goes_out_as_they_came_in(person: Who, tmp_path: Path) -> None:
    file = "question,context,verdict\n" + "".join(f"why {number},because {number},{'yes' if number % 2 else 'no'}\n" for number in range(40))
    (tmp_path / "two.csv").write_text(file)
    mapping = {"input": ["question", "context"], "output": "verdict"}
    uploads.import_file(person, tmp_path / "two.csv", name="two", filename="two.csv", mapping=mapping)
    datasets.reveal(person, "1", "to compare them")
    found = list(csv.DictReader(io.StringIO(b"".join(exports.export(person, "1").content).decode())))
    assert [(row["question"], row["context"], row["verdict"]) for row in found] == [tuple(line.split(",")) for line in file.splitlines()[1:]]
    assert found[0]["input"] == "question: why 0\ncontext: because 0"


TWO = "question,context,verdict\n" + "".join(f'why {number},"because, {number}",{"yes" if number % 2 else ""}\n' for number in range(40))
INSTRUCTIONS = "instruction,input,output\n" + "".join(f"Say it {number % 3},{'' if number % 5 == 0 else f'word {number}'},it\n" for number in range(1, 41))
BOTH = INSTRUCTIONS.replace(",it\n", ",that\n")


@pytest.mark.parametrize("form", list(WRITERS))
@pytest.mark.parametrize(
    ("file", "mapping"),
    [(TWO, {"input": ["question", "context"], "output": "verdict"}), (INSTRUCTIONS, None), (BOTH, {"input": ["instruction", "input"], "output": "output"})],
    ids=["two columns", "instruction and input", "a column called input among several"],
)
def test_a_joined_input_that_went_out_is_not_joined_again(person: Who, tmp_path: Path, form: str, file: str, mapping: Any) -> None:
    (tmp_path / "in.csv").write_text(file)
    first = uploads.import_file(person, tmp_path / "in.csv", name="first", filename="in.csv", mapping=mapping).version
    datasets.reveal(person, "1", "all of it goes out")
    out = tmp_path / f"out.{form}"
    out.write_bytes(b"".join(exports.export(person, "1", form).content))
    second = uploads.import_file(person, out, name="second", filename=out.name, mapping=mapping and {**mapping, "split": "split"}).version
    assert content(second) == content(first) and second.content_hash == first.content_hash
    assert set(second.columns) == {*first.columns, "split"}
    with pytest.raises(Invalid, match="All 40 rows of the file are in the dataset already"):
        append_file(person, "1", out, out.name)


def test_a_joined_input_that_was_changed_by_hand_is_no_riddle(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('question,context,input\nwhy,so,"question: why\ncontext: so"\n' * 1 + 'why,no,""\n')
    joined = Options(mapping={"input": ["question", "context"]})
    assert [frame.problem for frame in frames(path, joined) if isinstance(frame, Broken)] == []
    path.write_text("question,context,input\n" + 'why,so,"question: why\ncontext: so"\n' * 600 + "why,so,other\n")
    (problem,) = [frame.problem for frame in frames(path, joined) if isinstance(frame, Broken)]
    assert (problem.code, problem.line, problem.column) == ("joined_differently", 1202, "input")
    assert problem.advice == "Line 1202, column input is no longer the text of question, context. Choose 'input' alone as the input, or remove that column."
