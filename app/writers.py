"""Files out: examples as CSV, JSON Lines or Parquet that our own readers read back exactly.

Pure: rows in, bytes out, a chunk at a time. Everything is text, as it came in; an unlabelled row has an empty output.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.errors import Invalid

Record = Mapping[str, str | None]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""What a spreadsheet may take a cell for that begins with it (OWASP ASVS 5.0, 1.2.10, and the full-width forms)."""

TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def as_csv(columns: Sequence[str], chunks: Iterable[Sequence[Record]], spreadsheet: bool = False) -> Iterator[bytes]:
    """UTF-8 with a header. `spreadsheet` puts an apostrophe before cells that a spreadsheet would run as a formula; such cells are then not what they were."""

    def cell(value: str | None) -> str:
        text = value or ""
        return f"'{text}" if spreadsheet and text.startswith(FORMULA) else text

    yield _csv_lines([[cell(name) for name in columns]])
    for chunk in chunks:
        yield _csv_lines([[cell(record.get(name)) for name in columns] for record in chunk])


def _csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    # Every cell is quoted: white space at its ends, and a first line that looks like data, then stay what they are.
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return _utf8(out.getvalue())


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = "A text holds half a character (a lone surrogate), which this format cannot hold."
        raise Invalid("half_character", message, "Export as JSON Lines, which can spell it.") from None


def as_jsonl(columns: Sequence[str], chunks: Iterable[Sequence[Record]]) -> Iterator[bytes]:
    """One JSON object a line. What UTF-8 cannot hold is spelt as an escape."""
    for chunk in chunks:
        yield b"".join(_json_line({name: record[name] for name in columns if name in record}) for record in chunk)


def _json_line(record: dict[str, str | None]) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def as_parquet(columns: Sequence[str], chunks: Iterable[Sequence[Record]]) -> Iterator[bytes]:
    """Text columns, one row group a chunk, compressed by zstd."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in columns])
    out = _Drain()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for chunk in chunks:
            _utf8("".join(record.get(name) or "" for record in chunk for name in columns))
            writer.write_table(pa.table({name: [record.get(name) for record in chunk] for name in columns}, schema))
            yield out.taken()
    yield out.taken()


class _Drain(io.RawIOBase):
    """A file that is read off while it is written, so that nothing but one row group is in memory."""

    def __init__(self) -> None:
        self._waiting, self._at = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        self._waiting += view
        self._at += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        data, self._waiting = bytes(self._waiting), bytearray()
        return data


WRITERS: dict[str, Callable[[Sequence[str], Iterable[Sequence[Record]]], Iterator[bytes]]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}
