"""Parquet, read by row groups: each value as the exact text of what is stored.

Numbers, dates and times are written as Arrow writes them (decimals with all their places, times with a zone in UTC and a `Z`),
floating point always with a point or an exponent, so that 1.0 stays 1.0. Lists and objects become JSON text and cannot be used
as input or output, except for chat `messages`. Bytes are text when they are UTF-8; others are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.readers import MAX_COLUMNS, BrokenFile, Detected, Note, Problem, Row
from app.readers.caps import loading
from app.readers.columns import name_problem
from app.readers.content import Content, seekable
from app.readers.json_values import Fields, Number, Refused, check, record
from app.readers.lines import place

BATCH = 64
"""Rows taken from Arrow at a time: few, because a cell may hold megabytes while the file is small."""

MOST_NAMES, LONGEST_NAME = 1_000, 1_000
"""Labels, and characters of one, of which names are taken over."""

BUFFER = 1 << 16
FOOTER = 16 << 20
"""Most bytes, and items, of the description at a file's end."""

# Pages are read one by one, and believed only when the sums that are written with them agree.
OPENED: Mapping[str, Any] = {
    "buffer_size": BUFFER,
    "pre_buffer": False,
    "thrift_string_size_limit": FOOTER,
    "thrift_container_size_limit": FOOTER,
    "page_checksum_verification": True,
}

DAMAGED = "This Parquet file is incomplete or damaged. Write it again, or export the table as CSV (UTF-8)."
ENCRYPTED = "This Parquet file is encrypted. Write it without encryption, or export the table as CSV (UTF-8)."

_BYTES = ("bytes_not_text", "holds bytes that are not UTF-8 text; only text and numbers can be used.")

Texts = Sequence[str | None]


def read(content: Content, _: Detected) -> Iterator[Row | Problem | Note]:
    """Every row as a row or a problem, in order, then notes. Stops where the file cannot be read on."""
    with loading():
        import pyarrow as pa
        from pyarrow import parquet
    pa.set_cpu_count(1)
    rows = 0
    try:
        with seekable(content) as stream:
            file = parquet.ParquetFile(stream, **OPENED)
            names = list(file.schema_arrow.names)
            if len(names) > MAX_COLUMNS:
                raise BrokenFile("too_many_columns", f"The file has {len(names):,} columns; the limit is {MAX_COLUMNS}.")
            if problem := name_problem(names, 0, ", ".join(names), "Row"):
                yield problem
                return
            table = _Table(names)
            for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
                yield from table.rows(batch, rows)
                rows += batch.num_rows
            yield from table.notes()
    except MemoryError:
        raise
    # Arrow tells damage in many ways, and codecs it lacks as something not implemented.
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        yield _unreadable(str(error), rows)
        return
    if not rows:
        yield Problem("no_rows", 0, "", "", "The file has columns but no rows. Write it with rows.")


def label_names(content: Content, column: str) -> list[str]:
    """The names of a column's numbers, from 0 on, as Hugging Face datasets write them beside the schema; none where they are not there, or are no names."""
    with loading():
        import pyarrow as pa
        from pyarrow import parquet
    try:
        with seekable(content) as stream:
            told = (parquet.ParquetFile(stream, **OPENED).schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        found = msgspec.json.decode(told, type=_Told).info.features.get(column)
        names = msgspec.convert(found, _ClassLabel).names
    except (
        pa.ArrowException,
        msgspec.MsgspecError,
        BrokenFile,
        OSError,
        ValueError,
        LookupError,
        OverflowError,
    ):  # what is wrong with the file is told when its rows are read
        return []
    return names if len(names) <= MOST_NAMES and all(name.strip() and len(name) <= LONGEST_NAME for name in names) else []


class _Features(msgspec.Struct):
    features: dict[str, Any] = {}


class _Told(msgspec.Struct):
    """The part of the description that is used: {"info": {"features": {column: {"names": [...], "_type": "ClassLabel"}}}}."""

    info: _Features = msgspec.field(default_factory=_Features)


class _ClassLabel(msgspec.Struct, tag_field="_type", tag="ClassLabel"):
    names: list[str]


def _unreadable(words: str, rows: int) -> Problem:
    lower = words.lower()
    if "encrypt" in lower or "decrypt" in lower:
        return Problem("encrypted_parquet", 0, "", "", ENCRYPTED)
    if "codec" in lower or "not supported" in lower or "not yet supported" in lower or "not implemented" in lower or "unsupported" in lower:
        reason = words.splitlines()[0][:120]
        return Problem("parquet_not_read", 0, "", "", f"This Parquet file uses something that is not read ({reason}). Write it with Snappy, Zstandard or Gzip.")
    return Problem("damaged_parquet", rows, "", "", DAMAGED)


class _Table:
    """Batches as rows."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._left_out: set[str] = set()

    def rows(self, batch: Any, before: int) -> Iterator[Row | Problem]:
        import pyarrow as pa

        columns = [_plain(column) for column in batch.columns]
        deep = [pa.types.is_nested(column.type) for column in columns]
        values = [_nested(column) if nested else _texts(column) for column, nested in zip(columns, deep, strict=True)]
        for number, cells in enumerate(zip(*values, strict=True), before + 1):
            flat = self._row(number, [(name, cell) for name, cell, nested in zip(self._names, cells, deep, strict=True) if not nested])
            if any(deep) and isinstance(flat, Row):
                yield _joined(flat, [(name, cell) for name, cell, nested in zip(self._names, cells, deep, strict=True) if nested])
            else:
                yield flat

    def _row(self, number: int, cells: Sequence[tuple[str, str | bytes | None]]) -> Row | Problem:
        texts, unusable = {}, {}
        for name, cell in cells:
            texts[name] = cell if isinstance(cell, str) else ""
            if isinstance(cell, bytes):
                self._left_out.add(name)
                unusable[name] = (_BYTES[0], f"{place(number, name, 'Row')} {_BYTES[1]}")
        try:
            check(texts)
        except Refused as refused:
            return Problem(refused.code, number, refused.column, "", f"{place(number, refused.column, 'Row')}: {refused.advice}")
        return Row(number, texts, unusable)

    def notes(self) -> Iterator[Note]:
        if self._left_out:
            yield Note("bytes_left_out", f"Values that are bytes and not text were left out: {', '.join(sorted(self._left_out))}.")


def _joined(flat: Row, deep: Sequence[tuple[str, object]]) -> Row | Problem:
    """A row with its lists and objects, which are read as those of JSON records are."""
    found = record(Fields((name, _json(value)) for name, value in deep), flat.line, "", "Row")
    if isinstance(found, Problem):
        return found
    repeated = next(iter(found.cells.keys() & flat.cells.keys()), None)
    if repeated is not None:
        return Problem("duplicate_key", flat.line, repeated, "", f"Row {flat.line} has '{repeated}' beside its chat messages. Remove one.")
    return Row(flat.line, {**flat.cells, **found.cells}, {**flat.unusable, **found.unusable})


def _plain(column: Any) -> Any:
    """A column without what only says how it is stored or meant: dictionaries, runs, extension types."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    return column


def _texts(column: Any) -> list[Any]:
    """The values as text; None stays None, bytes that are no text stay bytes."""
    import pyarrow as pa

    kind, types = column.type, pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:  # what is stored is not what is declared
            return [_decoded(value) for value in column.cast(pa.binary()).to_pylist()]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind) or types.is_binary_view(kind):
        return [_decoded(value) for value in column.to_pylist()]
    if types.is_timestamp(kind):
        moment = column if kind.tz is None else column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
        return [None if text is None else _without_zeros(text) + ("" if kind.tz is None else "Z") for text in moment.cast(pa.string()).to_pylist()]
    if types.is_decimal(kind):
        return [None if value is None else format(value, "f") for value in column.to_pylist()]
    texts = list(column.cast(pa.string()).to_pylist())
    if types.is_floating(kind):
        return [text + ".0" if text is not None and text.lstrip("-").isdecimal() else text for text in texts]
    return [None if text is None else _without_zeros(text) for text in texts] if types.is_time(kind) else texts


def _nested(column: Any) -> list[Any]:
    """Lists and objects, the times in them as text: Python has no year above 9999 and no nanoseconds."""
    kind = _timeless(column.type)
    return list((column if kind == column.type else column.cast(kind)).to_pylist())


def _timeless(kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_temporal(kind):
        return pa.string()
    if types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(_timeless(kind.field(at).type)) for at in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_timeless(kind.key_type), _timeless(kind.item_type))
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_timeless(kind.value_type)))
    return pa.large_list(kind.value_field.with_type(_timeless(kind.value_type))) if types.is_large_list(kind) else kind


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _json(value: object) -> object:
    """A Python value as JSON decoding would have given it, numbers as they are written."""
    if isinstance(value, dict):
        return Fields((str(name), _json(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, bytes):
        decoded = _decoded(value)
        return decoded if isinstance(decoded, str) else value.hex()
    if value is None or isinstance(value, str | bool):
        return value
    text = str(value)
    return Number(text) if isinstance(value, int | float) and text.lstrip("-")[:1].isdigit() else text
