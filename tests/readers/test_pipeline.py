"""From a file to examples: which columns are taken, what is told, and what is only counted."""

import json
import re
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from app.errors import Invalid
from app.readers import Example, Mapping, Note, Problem
from app.readers import pipeline as pipeline_module
from app.readers.frames import CHARACTERS, ROWS, Broken, Chunk, End, Found, Frame
from app.readers.options import KEPT, Options, check
from app.readers.pipeline import frames


def read(tmp_path: Path, content: bytes | str, **mapping: str | None) -> list[Frame]:
    path = tmp_path / "upload"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(frames(path, Options(mapping=mapping)))


def examples(found: list[Frame]) -> list[Example]:
    return [example for frame in found if isinstance(frame, Chunk) for example in frame.examples]


def problems(found: list[Frame]) -> list[Problem]:
    return [frame.problem for frame in found if isinstance(frame, Broken)]


def end(found: list[Frame]) -> End:
    assert isinstance(found[-1], End)
    return found[-1]


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        ("input,output,split", Mapping("input", "output", "split")),
        ("Output,INPUT", Mapping("INPUT", "Output")),
        ("label,text", Mapping("text", "label")),
        ("sentence,label,idx", Mapping("sentence", "label")),
        ("question,answer", Mapping("question", "answer")),
        ("prompt,completion", Mapping("prompt", "completion")),
        ("instruction,output", Mapping("instruction", "output")),
        ("instruction,input,output", Mapping("input", "output", None, "instruction")),
        ("text,topic", Mapping("text")),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path: Path, header: str, mapping: Mapping) -> None:
    found = read(tmp_path, header + "\n" + ",".join("train" if name == "split" else f"value {name}" for name in header.split(",")) + "\n")
    assert isinstance(found[0], Found) and found[0].mapping == mapping
    assert end(found).rows == 1


def test_instruction_input_output_records_make_one_text_of_the_first_two(tmp_path: Path) -> None:
    content = json.dumps([{"instruction": "Sum up.", "input": "a b", "output": "ab"}, {"instruction": "Say hi.", "input": "", "output": "hi"}])
    found = read(tmp_path, content)
    assert [(one.input, one.output) for one in examples(found)] == [("Sum up.\n\na b", "ab"), ("Say hi.", "hi")]
    assert [note.code for note in end(found).notes] == ["instruction_joined"]
    assert examples(read(tmp_path, content, input="instruction"))[0] == Example(1, "Sum up.", "ab", None, {"input": "a b"})
    assert [one.code for one in problems(read(tmp_path, content, input="input"))] == ["empty_input"]


@pytest.mark.parametrize("first", [True, False])
def test_two_columns_without_names_are_told_apart_by_their_content(tmp_path: Path, first: bool) -> None:
    pairs = [(f"sentence number {number}", f"label {number % 3}") for number in range(30)]
    found = read(tmp_path, "".join("\t".join(pair if first else pair[::-1]) + "\n" for pair in pairs))
    assert [(one.input, one.output) for one in examples(found)] == pairs
    assert "columns_by_content" in {note.code for note in end(found).notes}


def test_label_text_lines(tmp_path: Path) -> None:
    lines = [f"{('DESC:manner', 'NUM:count')[number % 2]} How, when and where is number {number} ?" for number in range(12)]
    found = read(tmp_path, "\n".join([*lines, "", "DESC:manner", "NUM:count caf\0"]))
    assert [(one.input, one.output) for one in examples(found)][:1] == [("How, when and where is number 0 ?", "DESC:manner")]
    assert [(one.code, one.line, one.column) for one in problems(found)] == [("no_text", 14, "text"), ("nul_character", 15, "text")]
    table = "input,output\n" + "".join(f'text {number},"a","one too many"\n' for number in range(30))
    assert end(read(tmp_path, table)).problems == 30
    prose = "".join(f"{word} is a word, and number {number} too.\n" for number, word in enumerate(("The", "A", "This", "That", "One") * 4))
    assert next(one.detected.format for one in read(tmp_path, prose) if isinstance(one, Found)) == "csv"


def test_the_whole_list_of_problems_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("input,output\n" + "a,b,c\n" * 1204)
    found = list(frames(path, Options(problems=10_000)))
    assert len(problems(found)) == end(found).problems == 1204
    assert problems(found)[-1].line == 1205


def test_how_a_file_is_read_is_told_even_when_it_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, "title;topic\r\na;b\r\n")
    assert isinstance(found[0], Found) and found[0].mapping is None and found[0].columns == ["title", "topic"]
    assert (found[0].detected.delimiter, found[0].detected.line_ends, found[0].detected.encoding) == (";", "CRLF", "utf-8")


def test_what_stands_above_the_header_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("Export of March\n\ntext;label\na;x\n")
    found = list(frames(path, Options(first_line=3)))
    assert examples(found) == [Example(4, "a", "x")] and isinstance(found[0], Found) and found[0].detected.delimiter == ";"


def test_a_person_decides(tmp_path: Path) -> None:
    content = "text,label,topic\na,b,c\n"
    assert examples(read(tmp_path, content, input="topic", output="text")) == [Example(2, "c", "a", None, {"label": "b"})]
    assert examples(read(tmp_path, content, output=None)) == [Example(2, "a", None, None, {"label": "b", "topic": "c"})]
    assert [one.code for one in problems(read(tmp_path, content, input="title"))] == ["missing_column"]
    assert problems(read(tmp_path, content, input="title"))[0].advice == "There is no column 'title'. The columns are: text, label, topic."
    assert [one.code for one in problems(read(tmp_path, content, input="text", output="text"))] == ["same_column_twice"]


def test_no_usual_name(tmp_path: Path) -> None:
    found = read(tmp_path, "title,topic\na,b\nc,d,e\n")
    assert [one.code for one in problems(found)] == ["no_input_column", "wrong_number_of_values"]
    assert problems(found)[0].advice.startswith("No column is named input. The columns are: title, topic. Choose")
    assert end(found) == End(0, 0, 2, [], {}, {"no_input_column": 1, "wrong_number_of_values": 1})


def test_no_header(tmp_path: Path) -> None:
    content = "I lost my card,lost\nWhere is it,arrival\nStolen!,lost\n"
    assert "Line 1 looks like data" in problems(read(tmp_path, content))[0].advice
    assert examples(read(tmp_path, content, input="column 1", output="column 2"))[0] == Example(1, "I lost my card", "lost")


def test_texts_are_not_touched_and_blank_outputs_are_unlabelled(tmp_path: Path) -> None:
    found = read(tmp_path, "input,output\n a , x \nb,\nc,  \nd,NA\n")
    assert [(one.input, one.output) for one in examples(found)] == [(" a ", " x "), ("b", None), ("c", None), ("d", "NA")]
    assert (end(found).rows, end(found).unlabelled) == (4, 2)


def test_json_records_may_leave_the_output_out_but_not_the_input(tmp_path: Path) -> None:
    found = read(tmp_path, '{"text": "a"}\n{"text": "b", "label": "x"}\n{"text": "c", "label": null}\n{"label": "y"}\n')
    assert [(one.input, one.output) for one in examples(found)] == [("a", None), ("b", "x"), ("c", None)]
    assert [(one.code, one.line, one.column) for one in problems(found)] == [("missing_column", 4, "text")]


def test_nested_values_matter_only_where_they_are_used(tmp_path: Path) -> None:
    content = json.dumps({"text": "a", "label": ["x", "y"], "meta": {"id": 7}})
    assert problems(read(tmp_path, content))[0].advice == "Line 1, column label holds a list or an object; only text and numbers can be used."
    assert examples(read(tmp_path, content, output=None)) == [Example(1, "a", None, None, {"label": '["x", "y"]', "meta": '{"id": 7}'})]


def test_an_empty_input_is_a_problem_and_an_empty_row_is_not(tmp_path: Path) -> None:
    found = read(tmp_path, "input,output\na,x\n ,y\n,\n , \n")
    assert [(one.code, one.line, one.column) for one in problems(found)] == [("empty_input", 3, "input")]
    assert end(found).notes == [Note("empty_rows", "2 rows without any value were left out.")]


def test_split_values(tmp_path: Path) -> None:
    values = ["train", "Train ", "validation", "valid", "val", "dev", "TEST"]
    found = read(tmp_path, "input,output,split\n" + "".join(f"a,x,{value}\n" for value in values))
    assert [one.split for one in examples(found)] == ["train", "train", "validation", "validation", "validation", "validation", "test"]
    found = read(tmp_path, "input,output,split\na,x,train\nb,y,holdout\nc,z,\nd,,\n")
    assert [(one.code, one.line, one.column) for one in problems(found)] == [("unknown_split", 3, "split"), ("unknown_split", 4, "split")]
    assert problems(found)[0].advice.endswith("must be train, validation, test or reserve.")
    assert examples(read(tmp_path, "input,output,split\na,x,north\n", split=None))[0].cells == {"split": "north"}


def test_the_first_problems_are_told_and_all_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, "input,output\n" + "a,b,c\n" * 1204)
    assert len(problems(found)) == KEPT
    assert end(found).problems == 1204


def test_chunks_are_small_whatever_the_cells(tmp_path: Path) -> None:
    found = read(tmp_path, "input,output\n" + "a,b\n" * (2 * ROWS + 1))
    assert [len(frame.examples) for frame in found if isinstance(frame, Chunk)] == [ROWS, ROWS, 1]
    found = read(tmp_path, "input,output\n" + ("a" * (CHARACTERS // 10) + ",b\n") * 25)
    assert [len(frame.examples) for frame in found if isinstance(frame, Chunk)] == [10, 10, 5]


def test_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_ROWS", 3)
    found = read(tmp_path, "input,output\n" + "a,b\n" * 5)
    assert [(one.code, one.line) for one in problems(found)] == [("too_many_rows", 5)]
    assert end(found).rows == 3 and problems(found)[0].advice.startswith("The file has 5 rows; the limit is 3.")
    found = read(tmp_path, "input,output\n" + "a,b\n" * 50)
    assert problems(found)[0].advice.startswith("The file has more than 18 rows; the limit is 3.")


@pytest.mark.parametrize(
    "saved",
    [
        '{"error": "You have to sign in."}',
        '{\n  "error": {"code": 404, "text": "no such file"}\n}\n',
        '{"message": "Not Found", "documentation_url": "https://docs.example.com", "status": "404"}',
        '{"statusCode": 403, "message": "Forbidden"}',
    ],
)
def test_what_a_server_answered_instead_of_the_data_is_no_table(tmp_path: Path, saved: str) -> None:
    (problem,) = problems(read(tmp_path, saved))
    assert problem.code == "error_answer" and problem.advice.startswith("This is an error that a server answered, not a table.")
    assert not problems(read(tmp_path, '{"error": "E12", "text": "what it says"}', input="text"))
    assert not problems(read(tmp_path, '{"error": "E12", "text": "a"}\n{"error": "E13", "text": "b"}\n'))


def test_too_many_different_fields(tmp_path: Path) -> None:
    found = read(tmp_path, "\n".join(json.dumps({f"field {number}": "a"}) for number in range(201)))
    assert [one.code for one in problems(found)] == ["too_many_columns"]


@pytest.mark.parametrize("content", ["", "input,output\n", "[]", "{}\n", "\n\n", "input,output\n,\n"])
def test_nothing_to_read_is_a_problem(tmp_path: Path, content: str) -> None:
    found = read(tmp_path, content)
    assert len(problems(found)) == end(found).problems == 1
    assert end(found).rows == 0


def test_rows_that_a_person_leaves_out_are_counted_and_do_not_refuse_the_file(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("input,output\na,x\n ,y\nb,y,z\n  ,z\nc,x\n")
    assert [one.code for one in problems(list(frames(path, Options())))] == ["empty_input", "wrong_number_of_values", "empty_input"]
    found = list(frames(path, Options(leave_out=("empty_input",))))
    assert [(one.code, one.line) for one in problems(found)] == [("wrong_number_of_values", 4)] and end(found).left_out == {"empty_input": 2}
    found = list(frames(path, Options(leave_out=("empty_input", "wrong_number_of_values"))))
    assert problems(found) == [] and [one.input for one in examples(found)] == ["a", "c"]
    assert end(found).notes == [Note("rows_left_out", "3 rows with a problem were left out (empty_input 2, wrong_number_of_values 1).")]
    path.write_text("input,output\n ,x\n")
    assert [one.code for one in problems(list(frames(path, Options(leave_out=("empty_input",)))))] == ["no_rows"]


# Labels that parsers like to repair, in every format: what goes in comes out.
LABELS = [
    "007",
    "7",
    "NA",
    "None",
    "null",
    "N/A",
    "nan",
    "true",
    "True",
    "FALSE",
    "1.0",
    "1",
    "1e3",
    "+1",
    "-0",
    "2024-01-01",
    "01/02/2024",
    "=1+1",
    "#N/A",
    " x ",
    "é",
    "e\u0301",
]


def written_as(format_: str, path: Path) -> Path:
    table = [("text", "label"), *((f"text {number}", label) for number, label in enumerate(LABELS))]
    records = [dict(zip(("text", "label"), row, strict=True)) for row in table[1:]]
    if format_ == "xlsx":
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        for number, row in enumerate(table, 1):
            for column, value in enumerate(row, 1):
                cell = sheet.cell(number, column, value)
                cell.data_type = "s"  # text it is, whatever it looks like
        book.save(path)
    elif format_ == "parquet":
        pq.write_table(pa.table({"text": [row[0] for row in table[1:]], "label": LABELS}), path)
    elif format_ == "json":
        path.write_text(json.dumps(records))
    elif format_ == "json_lines":
        path.write_text("\n".join(json.dumps(one) for one in records))
    elif format_ == "watsonx":
        path.write_text("\n".join(json.dumps({"input": one["text"], "output": one["label"]}) for one in records))
    elif format_ == "chat":
        turns = [[{"role": "user", "content": one["text"]}, {"role": "assistant", "content": one["label"]}] for one in records]
        path.write_text("\n".join(json.dumps({"messages": turn}) for turn in turns))
    else:
        path.write_text("\n".join(format_.join(row) for row in table) + "\n")
    return path


@pytest.mark.parametrize("format_", [",", ";", "\t", "|", "json", "json_lines", "watsonx", "chat", "parquet", "xlsx"])
def test_everything_is_text_in_every_format(tmp_path: Path, format_: str) -> None:
    found = list(frames(written_as(format_, tmp_path / "upload"), Options()))
    assert [one.output for one in examples(found)] == LABELS and problems(found) == []


def test_labels_are_read_as_others_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("text,label\na,Refund\nb,refund \nc,\nd,refund\ne,refund \n")
    found = list(frames(path, Options(labels={"refund ": "refund", "Refund": "refund", "never": "refund"})))
    assert [one.output for one in examples(found)] == ["refund", "refund", None, "refund", "refund"]
    assert end(found).merged == {"Refund": 1, "refund ": 2} and end(found).unlabelled == 1
    assert [note.sentence for note in end(found).notes] == ["The label of 3 rows is read as another one (“Refund” as “refund”, “refund ” as “refund”)."]
    assert end(read(tmp_path, "text,label\na,Refund\n")).merged == {}


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"a": "b", "b": "c"}, "“a” is read as “b”, which is read as another label itself."),
        ({"a": "a"}, "“a” is read as “a”, which is read as another label itself."),
        ({"a": " "}, "A label cannot be blank."),
        ({"a": "b\0"}, "holds a NUL character"),
    ],
)
def test_labels_that_nothing_can_be_read_as_are_refused(labels: dict[str, str], sentence: str) -> None:
    with pytest.raises(Invalid, match=re.escape(sentence)):
        check(Options(labels=labels))
