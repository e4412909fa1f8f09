"""Parquet, read by row groups: each value as the exact text of what is stored.

Numbers, dates and times are written as Arrow writes them (decimals with all their places, times with a zone in UTC and a `Z`),
floating point always with a point or an exponent, so that 1.0 stays 1.0. Lists and objects become JSON text and cannot be used
as input or output, except for chat `messages`. Bytes are text when they are UTF-8; others are left out.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from app.readers import MAX_COLUMNS, BrokenFile, Detected, Note, Problem, Row
from app.readers.caps import loading
from app.readers.columns import name_problem
from app.readers.content import Content, seekable
from app.readers.json_values import Fields, Number, Refused, check, record
from app.readers.lines import place

BATCH = 200
"""Rows taken from Arrow at a time: few, because a cell may hold megabytes while the file is small."""

BUFFER = 1 << 16
FOOTER = 16 << 20
"""Most bytes, and items, of the description at a file's end."""

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
            file = parquet.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False, thrift_string_size_limit=FOOTER, thrift_container_size_limit=FOOTER)
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
    except (pa.ArrowException, OSError, ValueError, IndexError, KeyError) as error:
        yield _unreadable(str(error), rows)
        return
    if not rows:
        yield Problem("no_rows", 0, "", "", "The file has columns but no rows. Write it with rows.")


def _unreadable(words: str, rows: int) -> Problem:
    lower = words.lower()
    if "encrypt" in lower or "decrypt" in lower:
        return Problem("encrypted_parquet", 0, "", "", ENCRYPTED)
    if "codec" in lower or "not yet supported" in lower or "not implemented" in lower or "unsupported" in lower:
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
        if any(pa.types.is_nested(column.type) for column in columns):
            yield from self._records(columns, before)
            return
        texts = [_texts(column) for column in columns]
        for number, cells in enumerate(zip(*texts, strict=True), before + 1):
            yield self._row(number, cells)

    def _row(self, number: int, cells: tuple[str | bytes | None, ...]) -> Row | Problem:
        unusable = {}
        for name, cell in zip(self._names, cells, strict=True):
            if isinstance(cell, bytes):
                self._left_out.add(name)
                unusable[name] = (_BYTES[0], f"{place(number, name, 'Row')} {_BYTES[1]}")
        texts = {name: cell if isinstance(cell, str) else "" for name, cell in zip(self._names, cells, strict=True)}
        try:
            check(texts)
        except Refused as refused:
            return Problem(refused.code, number, refused.column, "", f"{place(number, refused.column, 'Row')}: {refused.advice}")
        return Row(number, texts, unusable)

    def _records(self, columns: list[Any], before: int) -> Iterator[Row | Problem]:
        """Rows with lists or objects in them, read as JSON records are."""
        import pyarrow as pa

        nested = [pa.types.is_nested(column.type) for column in columns]
        values = [column.to_pylist() if deep else _texts(column) for column, deep in zip(columns, nested, strict=True)]
        for number, cells in enumerate(zip(*values, strict=True), before + 1):
            fields = Fields((name, _json(cell)) for name, cell in zip(self._names, cells, strict=True))
            yield record(fields, number, json.dumps(cells[0], default=str, ensure_ascii=False)[:200], "Row")

    def notes(self) -> Iterator[Note]:
        if self._left_out:
            yield Note("bytes_left_out", f"Values that are bytes and not text were left out: {', '.join(sorted(self._left_out))}.")


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
