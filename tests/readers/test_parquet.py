"""Parquet: exact text of what is stored, and one sentence for what cannot be used or read."""

import gzip
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from app.readers.options import Options
from tests.readers.reading import Read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def written(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


MOMENT = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(["007"]), "007"),
        (pa.array(["007"], pa.large_string()), "007"),
        (pa.array(["007"], pa.string_view()), "007"),
        (pa.array(["NA"]).dictionary_encode(), "NA"),
        (pa.array([7], pa.int8()), "7"),
        (pa.array([2**63], pa.uint64()), "9223372036854775808"),
        (pa.array([7]).dictionary_encode(), "7"),
        (pa.array([1.0]), "1.0"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([1e22]), "1e+22"),
        (pa.array([float("nan")]), "nan"),
        (pa.array([True]), "true"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([Decimal("1E+5")], pa.decimal128(9, 0)), "100000"),
        (pa.array([date(2024, 1, 31)]), "2024-01-31"),
        (pa.array([time(9, 30)]), "09:30:00"),
        (pa.array([MOMENT], pa.timestamp("us")), "2024-01-31 12:30:00"),
        (pa.array([MOMENT + timedelta(microseconds=1500)], pa.timestamp("ns")), "2024-01-31 12:30:00.0015"),
        (pa.array([MOMENT], pa.timestamp("ms", "Europe/Berlin")), "2024-01-31 12:30:00Z"),
        (pa.array(["é".encode()]), "é"),
        (pa.array([b"abc"], pa.binary(3)), "abc"),
        (pa.array([None], pa.string()), None),
        (pa.array([None]), None),
    ],
)  # fmt: skip
def test_values_are_their_exact_text(path: Path, column: pa.Array, text: str | None) -> None:
    assert Read(written(path, text=["a"], label=column)).pairs == [("a", text)]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(TEXT.filter(str.strip), TEXT.filter(str.strip)), min_size=1, max_size=8),
    st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"]),
)
def test_any_texts_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], codec: str) -> None:
    path = tmp_path_factory.getbasetemp() / "texts"
    pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), path, compression=codec, row_group_size=3)
    assert Read(path).pairs == rows


def test_row_groups_keep_their_order(path: Path) -> None:
    pq.write_table(pa.table({"text": [str(number) for number in range(2_000)], "label": ["a", "b"] * 1_000}), path, row_group_size=170)
    read = Read(path)
    assert [example.input for example in read.examples] == [str(number) for number in range(2_000)]
    assert [example.line for example in read.examples[:2]] == [1, 2] and read.detected.format == "parquet"


def test_lists_and_objects_cannot_be_used_but_may_be_there(path: Path) -> None:
    written(path, text=["a", "b"], label=[["x"], ["y", "z"]], meta=[{"n": 1.0, "who": None}, None])
    read = Read(path)
    assert [one.advice for one in read.problems] == [f"Row {row}, column label holds a list or an object; only text and numbers can be used." for row in (1, 2)]
    read = Read(path, Options(mapping={"output": None}))
    assert read.examples[0].cells == {"label": '["x"]', "meta": '{"n": 1.0, "who": null}'}


def test_chat_messages(path: Path) -> None:
    turns = [{"role": "user", "content": "1+1?", "tool_calls": None}, {"role": "assistant", "content": "2", "tool_calls": None}]
    assert Read(written(path, messages=[turns], id=[7])).pairs == [("1+1?", "2")]
    assert Read(written(path, messages=[turns[:1]], id=[7])).problems[0].advice.startswith("Row 1, column messages: the last message is not from the assistant")


def test_bytes_that_are_no_text(path: Path) -> None:
    written(path, text=["a", "b"], label=["x", "y"], image=[b"\x89PNG\xff", b"plain"])
    read = Read(path)
    assert read.pairs == [("a", "x"), ("b", "y")] and read.notes["bytes_left_out"].endswith("left out: image.")
    assert [one.advice for one in Read(path, Options(mapping={"output": "image"})).problems] == [
        "Row 1, column image holds bytes that are not UTF-8 text; only text and numbers can be used."
    ]


def test_text_that_is_not_what_it_is_declared_to_be(path: Path) -> None:
    data = pa.py_buffer(b"\xff\xfeab")
    column = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), data])
    assert [(one.code, one.line) for one in Read(written(path, text=column, label=["x", "y"])).problems] == [("bytes_not_text", 1)]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"text": pa.array([], pa.string())}, "no_rows"),
        ({"text": ["a\0b"], "label": ["x"]}, "nul_character"),
        ({"text": ["a" * 1_000_001], "label": ["x"]}, "cell_too_long"),
        ({"": ["a"], "label": ["x"]}, "unnamed_column"),
        ({f"c{number}": ["a"] for number in range(10_000)}, "too_many_columns"),
        ({"title": ["a"], "topic": ["x"]}, "no_input_column"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(path: Path, columns: dict[str, object], code: str) -> None:
    assert Read(written(path, **columns)).codes == [code]


def test_a_name_twice(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"]), path)
    assert Read(path).codes == ["duplicate_column"]


def test_incomplete_and_damaged_files(path: Path) -> None:
    data = written(path, text=[f"some text {number}" for number in range(500)], label=["x", "y"] * 250).read_bytes()
    for damaged in (data[: len(data) // 2], b"PAR1", b"PAR1" + bytes(40) + b"PAR1", bytes(4) + data[4:], data[:100] + b"\xff" * 600 + data[700:]):
        path.write_bytes(damaged)
        assert Read(path).problems[-1].advice.startswith("This Parquet file is incomplete or damaged."), damaged[:8]


def test_encrypted_files(path: Path) -> None:
    path.write_bytes(b"PARE" + bytes(100) + b"PARE")
    assert Read(path).codes == ["encrypted_parquet_not_read"]
    assert "Encrypted" in Read(path).problems[0].advice


def test_a_packed_file_is_read(path: Path) -> None:
    path.write_bytes(gzip.compress(written(path, text=["a"], label=["x"]).read_bytes()))
    read = Read(path)
    assert read.pairs == [("a", "x")] and (read.detected.packing, read.detected.format) == ("gzip", "parquet")


def test_a_csv_named_parquet_is_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("text,label\na,x\n")
    assert Read(path).detected.format == "csv"


class Stranger(pa.ExtensionType):
    """A type that only its program knows."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "stranger")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Stranger":
        return cls()


def test_what_a_type_means_to_its_program_does_not_matter(path: Path) -> None:
    pa.register_extension_type(Stranger())
    try:
        written(path, text=pa.ExtensionArray.from_storage(Stranger(), pa.array(["a"])), label=["x"])
        assert Read(path).pairs == [("a", "x")]
    finally:
        pa.unregister_extension_type("stranger")
    assert Read(path).pairs == [("a", "x")]


def damaged(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 6)):
        changed[draw.randrange(4, len(changed) - 4)] = draw.randrange(256)
    return bytes(changed)


def test_damage_never_takes_the_child_down_without_a_sentence(path: Path, read_in_child: Callable[[Path], list[str]]) -> None:
    draw = random.Random(3)
    data = written(path, text=[f"text {number}" for number in range(300)], label=["x", "y"] * 150, more=[[1, 2]] * 300).read_bytes()
    for _ in range(12):
        path.write_bytes(damaged(data, draw))
        assert all(read_in_child(path))


def test_times_that_python_has_no_word_for(path: Path) -> None:
    far = pa.array([2**62], pa.timestamp("us"))
    nested = pa.array([{"at": 1_700_000_000_000_000_001}], pa.struct([("at", pa.timestamp("ns"))]))
    written(
        path, text=["a"], far=pa.StructArray.from_arrays([far], names=["at"]), near=nested, often=pa.array([[2**62]], pa.list_(pa.timestamp("us"))), flat=far
    )
    read = Read(path)
    assert read.problems == [] and read.examples[0].cells["near"] == '{"at": "2023-11-14 22:13:20.000000001"}'


def test_old_and_rare_times(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": pa.array([MOMENT], pa.timestamp("ns"))}), path, use_deprecated_int96_timestamps=True)
    assert Read(path).pairs == [("a", "2024-01-31 12:30:00")]
    assert Read(written(path, text=["a"], label=pa.array([90], pa.duration("s")))).pairs == [("a", "90")]


def test_a_page_that_changed_since_it_was_written(path: Path) -> None:
    pq.write_table(
        pa.table({"text": ["first text", "second text"], "label": ["x", "y"]}), path, compression="none", use_dictionary=False, write_page_checksum=True
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"first text\x0b\0\0\0second text", b"first text\x0b\0\0\0secret text"))
    assert Read(path).codes == ["damaged_parquet"]


def test_no_row_groups(path: Path) -> None:
    pq.ParquetWriter(path, pa.schema([("text", pa.string())])).close()
    assert Read(path).codes == ["no_rows"]


def test_a_codec_that_is_not_read_is_named(path: Path) -> None:
    """LZO can be declared and is never there: the codec in the column's description, 1 for Snappy, becomes 3."""
    data = written(path, text=["some text"] * 50, label=["x"] * 50).read_bytes()
    path.write_bytes(data.replace(b"\x04text\x15\x02", b"\x04text\x15\x06"))
    assert pq.read_metadata(path).row_group(0).column(0).compression == "LZO"
    found = Read(path)
    assert found.codes == ["parquet_not_read"] and "LZO" in found.problems[0].advice and "Snappy" in found.problems[0].advice
