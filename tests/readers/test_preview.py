"""A preview says how a file is read, shows its first records as they stand, reports on the rest, and obeys what a person chooses."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from app.readers.frames import Chunk, Found
from app.readers.options import Options
from app.readers.parent import read_file
from app.readers.preview import LABELS, looking, preview
from tests.readers.conftest import reading_children


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def test_a_preview_shows_how_a_file_is_read_and_what_is_in_it(path: Path) -> None:
    path.write_text("text;label;split\n" + "".join(f"text {number};{'ab'[number % 3 == 0]};{'train' if number < 900 else 'test'}\n" for number in range(1_200)))
    found = preview(path)
    assert found.detected is not None and (found.detected.format, found.detected.delimiter) == ("csv", ";")
    assert found.columns == ["text", "label", "split"] and found.mapping is not None and found.mapping.input == "text"
    assert len(found.head) == 20 and found.head[0].line == 2 and found.head[0].cells == {"text": "text 0", "label": "b", "split": "train"}
    assert (found.rows, found.unlabelled, found.outputs, found.splits) == (1_200, 0, {"b": 400, "a": 800}, {"train": 900, "test": 300})
    assert (found.problems, found.problem_count, found.share, found.complete) == ([], 0, 1.0, True)
    assert [note.code for note in found.notes] == ["delimiter"]


def test_every_choice_changes_what_is_shown(path: Path) -> None:
    path.write_bytes('title\ntext|label\nä "quoted" word;x|y\n'.encode("cp1252") * 30)
    first = preview(path, Options(delimiter="|", first_line=2, quote="")).head[0].cells
    assert first == {"text": 'ä "quoted" word;x', "label": "y"}
    assert preview(path, Options(delimiter="|", encoding="cp1250", first_line=2, quote="", header=False)).head[0].cells == {
        "column 1": "text",
        "column 2": "label",
    }
    assert preview(path, Options(delimiter=";", header=False, quote="")).columns == ["column 1"]
    assert preview(path, Options(delimiter="|", encoding="cp1251", first_line=2, quote="")).head[0].cells["text"].startswith("д")


def test_records_are_shown_when_no_column_was_found_for_the_input(path: Path) -> None:
    path.write_text("one,two\nfirst text,1\nsecond text,2\n")
    found = preview(path)
    assert found.mapping is None and [row.cells for row in found.head] == [{"one": "first text", "two": "1"}, {"one": "second text", "two": "2"}]
    assert [problem.code for problem in found.problems] == ["no_input_column"] and found.complete
    chosen = preview(path, Options(mapping={"input": "one", "output": "two"}))
    assert chosen.rows == 2 and chosen.outputs == {"1": 1, "2": 1}


def test_how_a_file_is_read_is_told_when_its_header_cannot_be_used(path: Path) -> None:
    path.write_text("label;label\na;b\n")
    found = preview(path)
    assert found.detected is not None and found.detected.delimiter == ";"
    assert [problem.code for problem in found.problems] == ["duplicate_column"]
    assert preview(path, Options(header=False)).columns == ["column 1", "column 2"]


def test_a_beginning_is_enough_for_a_live_preview(path: Path) -> None:
    with path.open("w") as stream:
        stream.write("text,label\n")
        stream.writelines(f"a text to be read {number},{number % 7}\n" for number in range(200_000))
    found = preview(path, rows=1_000)
    assert found.rows == 1_000 and not found.complete and 0 < found.share < 0.9 and sum(found.outputs.values()) == 1_000
    assert not reading_children()


@pytest.mark.parametrize(
    ("heading", "row", "options", "codes"),
    [
        ("one,two", "a value,another", Options(), {"no_input_column"}),
        ("text,label", "a text;x", Options(delimiter=";"), {"wrong_number_of_values"}),
        ("text,label", "a text,x,y", Options(), {"wrong_number_of_values"}),
    ],
)
def test_a_file_without_an_example_is_not_read_to_its_end(path: Path, heading: str, row: str, options: Options, codes: set[str]) -> None:
    path.write_text(heading + "\n" + f"{row}\n" * 300_000)
    found = preview(path, options, rows=1)
    assert {problem.code for problem in found.problems} == codes and found.problem_count == len(found.problems) <= options.problems
    assert (found.rows, found.complete) == (0, False) and found.detected is not None
    assert not reading_children()


def test_progress_grows_to_the_end(path: Path) -> None:
    with path.open("w") as stream:
        stream.write("text,label\n")
        stream.writelines(f"a text to be read {number} {os.urandom(40).hex()},{number % 7}\n" for number in range(20_000))
    shares = [found.share for found in looking(path)]
    assert shares == sorted(shares) and len(set(shares)) > 5 and shares[-1] == 1.0
    packed = path.with_name("upload.zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "table.csv")
    shares = [frame.share for frame in read_file(packed) if isinstance(frame, Chunk)]
    assert len(set(shares)) > 2 and all(0 <= share <= 1 for share in shares)


def test_a_question_comes_with_its_choices(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", "text,label\na,x\nb,y\n")
        archive.writestr("test.csv", "text,label\nc,x\n")
    found = preview(path)
    assert found.detected is None and [(problem.asks, problem.choices) for problem in found.problems] == [("member", ("train.csv", "test.csv"))]
    assert preview(path, Options(member="test.csv")).rows == 1
    path.write_text('{"train": [{"text": "a"}], "dev": [{"text": "b"}, {"text": "c"}]}')
    assert [(problem.asks, problem.choices) for problem in preview(path).problems] == [("under", ("train", "dev"))]
    path.write_bytes("text,label\nabc,x\n".encode("utf-16-be"))
    assert [(problem.asks, problem.choices) for problem in preview(path).problems] == [("encoding", ("utf-16-be",))]
    assert preview(path, Options(encoding="utf-16-be")).rows == 1
    path.write_text('{"features": [{"name": "a"}], "rows": [{"row": 1}]}')
    assert [(problem.asks, problem.choices) for problem in preview(path).problems] == [("under", ("features", "rows"))]
    path.write_text('{"train": [{"text": "a"}], "dev": [{"text": "b"}, {"text": "c"}]}')
    assert preview(path, Options(under="dev")).rows == 2
    path.write_bytes(b"text,label\n\xc3\xa9t\xc3\xa9,x\ncaf\xe9,y\n")
    assert [(problem.asks, problem.choices) for problem in preview(path).problems] == [("encoding", ("cp1252",))]


def test_a_long_cell_is_shown_cut_and_read_whole(path: Path) -> None:
    path.write_text("text,label\n" + "a" * 10_000 + ",x\n")
    found, chunk, _ = read_file(path)
    assert isinstance(found, Found) and isinstance(chunk, Chunk)
    assert len(found.head[0].cells["text"]) == 501 and len(chunk.examples[0].input) == 10_000


def test_a_column_of_texts_is_not_counted_as_labels(path: Path) -> None:
    path.write_text("text,label\n" + "".join(f"text {number},answer {number}\n" for number in range(LABELS + 600)))
    found = preview(path)
    assert found.many_outputs and found.outputs == {} and found.rows == LABELS + 600


def test_rows_left_out_are_counted(path: Path) -> None:
    path.write_text("text,label\na,x\n,y\nb,y\n")
    found = preview(path, Options(leave_out=("empty_input",)))
    assert (found.rows, found.problem_count, found.left_out) == (2, 0, {"empty_input": 1})


@pytest.mark.parametrize(
    ("filename", "content", "sentence"),
    [
        ("table.csv", b"text\tlabel\na\tx\n", "Named .csv, read as tab-separated text."),
        ("TABLE.TSV", b"text,label\na,x\n", "Named .tsv, read as comma-separated text."),
        ("table.parquet", b"text,label\na,x\n", "Named .parquet, read as comma-separated text."),
        ("table.xlsx", b"text,label\na,x\n", "Named .xlsx, read as comma-separated text."),
        ("table.json", b'{"text": "a"}\n{"text": "b"}\n', "Named .json, read as JSON Lines."),
        ("table.jsonl", b'[{"text": "a"}]', "Named .jsonl, read as JSON."),
        ("table.csv", gzip.compress(b"text,label\na,x\n", mtime=0), "Named .csv, read as a gzip file."),
        ("../../x.csv.exe", b"text,label\na,x\n", ""),
        ("table", b"text,label\na,x\n", ""),
        ("table.csv", b"text;label\na;x\n", ""),
        ("table.csv.gz", gzip.compress(b"text\tlabel\na\tx\n", mtime=0), ""),
    ],
)
def test_a_name_that_says_something_else_is_told(path: Path, filename: str, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    assert [note.sentence for note in preview(path, filename=filename).notes if note.code == "misnamed"] == [sentence] * bool(sentence)
