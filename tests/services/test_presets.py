"""A later file of a dataset is read as the first one was, as far as that fits; what differs is detected, and what somebody says holds."""

from pathlib import Path
from typing import Any

import pytest

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.errors import Invalid
from app.readers.options import Options
from app.services import datasets, uploads, versions
from app.services.appending import append_file
from app.services.presets import preset
from tests.services.uploading import packed, sent, table

CZECH = ["příliš žluťoučký kůň", "žádný účet", "vrácení peněz"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "later"


def first(person: Who, content: str | bytes, **options: Any) -> DatasetVersion:
    return datasets.find(person, uploads.import_now(person, sent(content, options=Options(**options)))).version


def czech(rows: int, start: int = 0, delimiter: str = ";") -> str:
    lines = [f"{CZECH[n % 3]} {n}{delimiter}{('účet', 'zásilka')[n % 2]}" for n in range(start, start + rows)]
    return "\n".join([f"zpráva{delimiter}druh", *lines]) + "\n"


MAPPING = {"input": "zpráva", "output": "druh"}


def test_an_encoding_that_was_chosen_holds_for_a_later_file_of_the_same_make(person: Who, path: Path) -> None:
    version = first(person, czech(40).encode("cp1250"), encoding="cp1250", mapping=MAPPING)
    path.write_bytes(czech(20, 100).encode("cp1250"))
    options = preset(version, path)
    assert (options.encoding, options.delimiter, options.mapping) == ("cp1250", None, MAPPING)
    rows = [row for row in versions.values(append_file(person, "1", path, "later.csv").version) if row["added_in"] == 2]
    assert len(rows) == 20 and {row["input"].rsplit(" ", 1)[0] for row in rows} == set(CZECH) and {row["output"] for row in rows} == {"účet", "zásilka"}


def test_what_spells_utf_8_is_utf_8_whatever_the_first_file_was(person: Who, path: Path) -> None:
    version = first(person, czech(40).encode("cp1250"), encoding="cp1250", mapping=MAPPING)
    path.write_text(czech(20, 100))
    assert preset(version, path).encoding is None and append_file(person, "1", path, "later.csv").version.rows == 60


def test_utf_8_is_told_by_letters_that_stand_far_down_in_a_file_too(person: Who, path: Path) -> None:
    ascii_header = str.maketrans("á", "a")
    version = first(person, czech(40).translate(ascii_header).encode("cp1250"), encoding="cp1250", mapping={"input": "zprava", "output": "druh"})
    plain = "".join(f"nothing but ASCII {n};vec\n" for n in range(2_000))
    path.write_text(f"zprava;druh\n{plain}žluťoučký kůň;zásilka\n")
    assert preset(version, path).encoding is None
    rows = versions.values(append_file(person, "1", path, "later.csv").version)
    assert any(row["input"] == "žluťoučký kůň" and row["output"] == "zásilka" for row in rows)


def test_one_bad_byte_in_utf_8_is_told_and_no_reason_to_read_another_encoding(person: Who, path: Path) -> None:
    first(person, czech(40).encode("cp1250"), encoding="cp1250", mapping=MAPPING)
    path.write_bytes(czech(20, 100).encode() + b"bad \xe9;vec\n")
    with pytest.raises(Invalid) as refused:
        append_file(person, "1", path, "later.csv")
    assert refused.value.detail["problems"][0]["code"] == "invalid_bytes"


def test_what_is_said_of_the_later_file_goes_before_what_was_chosen_for_the_first(person: Who, path: Path) -> None:
    version = first(person, czech(40).encode("cp1250"), encoding="cp1250", leave_out=("empty_input",), mapping=MAPPING)
    path.write_bytes(czech(20, 100, "|").encode("utf-16-le"))
    said = Options(encoding="utf-16-le", delimiter="|", mapping={"input": "druh", "output": "zpráva"})
    assert preset(version, path, said) == said, "and no row is left out because another file's were"


def test_a_file_too_short_to_show_its_delimiter_or_header_is_read_as_the_first_one_was(person: Who, path: Path) -> None:
    first(person, "text;label\n" + "".join(f"one, two, three {n};{'ab'[n % 2]}\n" for n in range(40)))
    path.write_text("text;label\none, two, four;a\n")
    assert append_file(person, "1", path, "later.csv").version.rows == 41
    bare = first(person, "".join(f"a sentence about {n}\t{n % 3}\n" for n in range(40)))
    assert bare.origin["detected"]["header"] is False
    path.write_text("a sentence about something else\t2\n")
    assert preset(bare, path).header is False
    assert append_file(person, "2", path, "later.tsv").version.rows == 41


def test_names_above_the_rows_of_a_later_file_are_no_row_where_the_first_had_none(person: Who, path: Path) -> None:
    first(person, "".join(f"a sentence about {n}\t{n % 3}\n" for n in range(40)))
    path.write_text("text\tlabel\na sentence about something else\t2\n")
    rows = versions.values(append_file(person, "1", path, "later.tsv").version)
    assert [(row["input"], row["output"]) for row in rows if row["added_in"] == 2] == [("a sentence about something else", "2")]


def test_a_split_that_was_not_to_be_read_is_not_read_of_a_later_file(person: Who, path: Path) -> None:
    lines = [f"a sentence about {n},{'ab'[n % 2]},{('train', 'odd')[n % 2]}" for n in range(40)]
    first(person, "\n".join(["text,label,split", *lines]) + "\n", mapping={"input": "text", "output": "label", "split": None})
    path.write_text("text,label,split\na sentence about something else,a,train\n")
    rows = versions.values(append_file(person, "1", path, "later.csv").version)
    assert [row["cells"] for row in rows if row["added_in"] == 2] == [{"split": "train"}]


def test_a_member_or_a_sheet_that_was_chosen_is_taken_where_there_is_one_of_that_name(person: Who, path: Path) -> None:
    version = first(person, packed(mail=table(40), chat=table(30, seed=1)), member="mail.csv")
    path.write_bytes(packed(mail=table(20, seed=2), chat=table(10, seed=3)))
    assert preset(version, path).member == "mail.csv" and append_file(person, "1", path, "later.zip").version.rows == 60
    path.write_text(table(15, seed=4))
    assert preset(version, path).member is None and append_file(person, "1", path, "later.csv").version.rows == 75


def test_files_that_were_a_split_each_are_so_again_and_other_rows_are_divided_as_those_were(person: Who, path: Path) -> None:
    members = {"train.csv": "train", "test.csv": "test"}
    version = first(person, packed(train=table(60), test=table(180, seed=1)), members=members)
    given = version.splits
    assert given["test"] == 180 and given["train"] + given["validation"] == 60 and version.origin["detected"]["members"] == members
    path.write_bytes(packed(train=table(10, seed=2), test=table(7, seed=3)))
    assert preset(version, path).members == members
    splits = append_file(person, "1", path, "later.zip").version.splits
    assert splits == {**given, "train": given["train"] + 10, "test": 187}
    path.write_text(table(100, seed=4))
    assert preset(version, path).members is None
    after = append_file(person, "1", path, "later.csv").version.splits
    assert 70 <= after["test"] - splits["test"] <= 80, "three quarters of the first rows were for testing"


def test_a_file_without_the_columns_keeps_what_it_lacks_to_be_told(person: Who, path: Path) -> None:
    version = first(person, czech(40), mapping=MAPPING)
    path.write_text("text,label\na,x\nb,y\n")
    assert preset(version, path).mapping["input"] == "zpráva"
    path.write_text("zpráva\nco s tím\n")
    assert preset(version, path).mapping == {"input": "zpráva", "output": None}
