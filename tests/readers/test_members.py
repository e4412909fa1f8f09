"""Several files of one ZIP as one table, each a split: in the order of the archive, each read by itself, refused where the columns that are read differ."""

import json
import zipfile
from pathlib import Path

import pytest

from app.errors import Invalid
from app.readers import content as content_module
from app.readers import pipeline
from app.readers.frames import Chunk, Found
from app.readers.names import splits_of
from app.readers.options import Options, check
from app.readers.parent import read_file
from app.readers.preview import preview
from tests.readers.reading import Read

TRAIN = "text,label\n" + "".join(f"train text {number},{'ab'[number % 2]}\n" for number in range(30))
DEV = "text;label\n" + "".join(f"dev text, with a comma {number};{'ab'[number % 2]}\n" for number in range(5))
TEST = "".join(json.dumps({"label": "ab"[number % 2], "text": f"test text {number}"}) + "\n" for number in range(9))
EACH = {"data/train.csv": "train", "data/dev.csv": "validation", "data/test.jsonl": "test"}


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return zipped(tmp_path / "upload.zip", **{"data/train.csv": TRAIN, "data/dev.csv": DEV, "data/test.jsonl": TEST, "README.md": "Read me, please.\n"})


def test_each_file_is_its_split_and_is_read_by_itself(path: Path) -> None:
    read = Read(path, Options(members=EACH))
    assert [(one.split, one.input) for one in (read.examples[0], read.examples[30], read.examples[35])] == [
        ("train", "train text 0"),
        ("validation", "dev text, with a comma 0"),
        ("test", "test text 0"),
    ]
    assert len(read.examples) == 44 and {one.output for one in read.examples} == {"a", "b"} and read.examples[-1].line == 9
    assert (read.detected.packing, read.detected.member, read.detected.members) == ("zip", "", EACH)
    assert read.notes["others_in_archive"] == "Left out: README.md."


def test_a_preview_shows_the_first_rows_of_each_and_the_splits(path: Path) -> None:
    found = preview(path, Options(members=EACH))
    assert (found.splits, found.rows, found.outputs, found.complete) == ({"train": 30, "validation": 5, "test": 9}, 44, {"a": 23, "b": 21}, True)
    assert [row.member for row in found.head] == ["data/train.csv"] * 6 + ["data/dev.csv"] * 5 + ["data/test.jsonl"] * 6
    shares = [frame.share for frame in read_file(path, options=Options(members=EACH)) if isinstance(frame, Chunk)]
    assert shares == sorted(shares) and all(0 < share <= 1 for share in shares)


def test_two_files_may_be_one_split_and_one_that_is_not_named_is_left_out(path: Path) -> None:
    found = preview(path, Options(members={"data/train.csv": "train", "data/dev.csv": "train", "data/test.jsonl": ""}))
    assert found.splits == {"train": 35} and "Left out: data/test.jsonl, README.md." in [note.sentence for note in found.notes]


def test_a_question_says_which_splits_the_files_seem_to_be(path: Path) -> None:
    found = preview(path)
    assert [problem.code for problem in found.problems] == ["choose_member"]
    assert found.problems[0].advice.endswith("Or read each file as a split: data/train.csv as train, data/dev.csv as validation, data/test.jsonl as test.")


def test_a_column_that_is_read_and_one_file_lacks_refuses_them_all(path: Path) -> None:
    zipped(path, **{"train.csv": TRAIN, "test.csv": "id,text\n1,a\n2,b\n"})
    read = Read(path, Options(members={"train.csv": "train", "test.csv": "test"}))
    assert read.codes == ["columns_differ"] and (read.problems[0].member, read.problems[0].column) == ("test.csv", "label") and read.examples == []
    assert read.problems[0].advice.startswith("test.csv: There is no column 'label', which train.csv has. The columns are: id, text. Rename it there")
    found = next(frame for frame in read.frames if isinstance(frame, Found))
    assert found.mapping is not None and found.columns == ["text", "label", "id"], "the columns can be chosen anew"
    chosen = Read(path, Options(members={"train.csv": "train", "test.csv": "test"}, mapping={"input": "text", "output": None}))
    assert len(chosen.examples) == 32 and chosen.notes["columns_differ"] == "test.csv goes without the columns label of the other files."


def test_other_columns_may_differ_and_it_is_told(path: Path) -> None:
    zipped(path, **{"train.csv": "text,label,source\na,x,mail\n", "test.csv": "label,text\nx,b\n"})
    read = Read(path, Options(members={"train.csv": "train", "test.csv": "test"}))
    assert [(one.input, one.split, one.cells) for one in read.examples] == [("a", "train", {"source": "mail"}), ("b", "test", {})]
    assert read.notes["columns_differ"].startswith("test.csv goes without the columns source")


def test_a_column_called_split_is_a_column_like_any_other_and_cannot_be_chosen(path: Path) -> None:
    zipped(path, **{"train.csv": "text,label,split\na,x,test\n", "test.csv": "text,label,split\nb,x,train\n"})
    each = {"train.csv": "train", "test.csv": "test"}
    assert [(one.split, one.cells) for one in Read(path, Options(members=each)).examples] == [("train", {"split": "test"}), ("test", {"split": "train"})]
    assert Read(path, Options(members=each, mapping={"split": "split"})).codes == ["split_twice"]


def test_a_problem_names_its_file(path: Path) -> None:
    zipped(path, **{"train.csv": TRAIN, "test.csv": "text,label\na,x\none,two,three\n ,x\n"})
    read = Read(path, Options(members={"train.csv": "train", "test.csv": "test"}))
    assert [(one.code, one.line, one.member) for one in read.problems] == [("wrong_number_of_values", 3, "test.csv"), ("empty_input", 4, "test.csv")]
    assert all(one.advice.startswith("test.csv: ") for one in read.problems)
    assert len(Read(path, Options(members={"train.csv": "train", "test.csv": "test"}, leave_out=("wrong_number_of_values", "empty_input"))).examples) == 31
    zipped(path, **{"train.csv": TRAIN.encode(), "test.csv": b"\x89PNG\r\n\x1a\n"})
    read = Read(path, Options(members={"train.csv": "train", "test.csv": "test"}))
    assert len(read.codes) == 1 and read.problems[0].member == "test.csv"
    zipped(path, **{"train.csv": TRAIN, "test.csv": "text,label\n"})
    assert [(one.code, one.member) for one in Read(path, Options(members={"train.csv": "train", "test.csv": "test"})).problems] == [("no_rows", "test.csv")]


@pytest.mark.parametrize(
    ("members", "code"), [({}, "choose_splits"), ({"data/train.csv": ""}, "choose_splits"), ({"data/train.csv": "train", "gone.csv": "test"}, "no_such_member")]
)
def test_files_that_cannot_be_taken_so_are_asked_about_again(path: Path, members: dict[str, str], code: str) -> None:
    read = Read(path, Options(members=members))
    assert read.codes == [code] and "data/dev.csv" in read.problems[0].advice


def test_what_is_no_archive_of_files_has_none_that_are_splits(path: Path) -> None:
    path.write_text(TRAIN)
    assert Read(path, Options(members=EACH)).codes == ["no_archive"]


def test_members_are_splits_and_not_also_one_file() -> None:
    for bad, code in ((Options(members={"a": "dev"}), "unknown_split"), (Options(members={"a": "test"}, member="a"), "bad_members")):
        with pytest.raises(Invalid) as refused:
            check(bad)
        assert refused.value.code == code and refused.value.advice


def test_the_limits_hold_for_all_files_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_ROWS", 40)
    read = Read(path, Options(members=EACH))
    assert read.codes == ["too_many_rows"] and read.problems[0].member == "data/test.jsonl"
    monkeypatch.setattr(content_module, "FREELY", 1 << 20)
    zipped(path, **dict.fromkeys(("train.csv", "test.csv"), "text,label\n" + "a,b\n" * 150_000))
    assert Read(path, Options(member="train.csv")).codes == ["too_many_rows"], "one of them is small enough"
    assert Read(path, Options(members={"train.csv": "train", "test.csv": "test"})).codes == ["unpacks_too_large"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "valid.csv", "test.csv"], ["train", "validation", "test"]),
        (["train-00000-of-00001.parquet", "dev-00000-of-00001.parquet"], ["train", "validation"]),
        (["TREC.train.all", "TREC.test.all", "README"], ["train", "test", None]),
        (["trainset.jsonl", "testSet.jsonl", "XDevData.jsonl"], ["train", "test", "validation"]),
        (["train/part.csv", "test/part.csv", "train/test_1.csv"], ["train", "test", "test"]),
        (["train.csv", "eval.csv"], ["train", "validation"]),
        (["train.csv", "dev.csv", "evaluation.csv"], ["train", "validation", "test"]),
        (["latest.csv", "devices.csv", "constraint.csv", "train_test.csv"], [None] * 4),
    ],
)
def test_what_files_are_called_like(names: list[str], splits: list[str | None]) -> None:
    assert [splits_of(names).get(name) for name in names] == splits


def test_all_rows_of_a_file_may_be_one_split(path: Path) -> None:
    path.write_text("text,label,split\none,a,train\ntwo,b,nonsense\n")
    found = preview(path, Options(split="test"))
    assert found.splits == {"test": 2} and found.mapping is not None and found.mapping.split is None and not found.problems
    with pytest.raises(Invalid, match="a split of its own already"):
        check(Options(split="test", members={"a.csv": "train"}))
    with pytest.raises(Invalid, match="or a column says which"):
        check(Options(split="test", mapping={"split": "split"}))
