"""A version as a file: its columns as they came in, its splits, and no row that is sealed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.db import transaction
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.errors import Invalid
from app.services.datasets import find
from app.services.versions import values
from app.writers import TYPES, WRITERS, Record, as_csv

ROWS = 500


@dataclass(frozen=True)
class Export:
    """A file that is written while it is sent. `left_out` counts the rows of each split that is sealed; the file's name says so too."""

    filename: str
    media_type: str
    left_out: dict[str, int]
    content: Iterator[bytes]

    @property
    def headers(self) -> dict[str, str]:
        """What goes out before the file: its name, and how many rows are not in it."""
        told = ", ".join(f"{rows} {split} rows (sealed)" for split, rows in self.left_out.items())
        return {"Content-Disposition": f'attachment; filename="{self.filename}"'} | ({"X-Fettle-Left-Out": told} if told else {})


def export(person: Who, reference: int | str, form: str = "csv", spreadsheet: bool = False) -> Export:
    """A version as csv, jsonl or parquet. Rows of sealed splits are left out; taking opened test rows along counts as a look at them.

    Raises Invalid for another format. `spreadsheet` (csv only) neutralises formulas.
    """
    if form not in WRITERS or (spreadsheet and form != "csv"):
        raise Invalid(
            "unknown_format", f"Fettle does not export {form!r}{' for spreadsheets' if spreadsheet else ''}.", f"Choose one of: {', '.join(WRITERS)}."
        )
    view = find(person, reference)
    version, shut = view.version, datasets.closed(view.version)
    if looked := [split for split in datasets.SEALED if version.splits.get(split) and split not in shut]:
        with transaction() as session:
            datasets.count_viewed(session, version.id, looked)
    writer = partial(as_csv, spreadsheet=True) if spreadsheet else WRITERS[form]
    columns = _Columns(version)
    left_out = {split: version.splits[split] for split in datasets.SEALED if split in shut}
    name = re.sub(r"[^\w.-]+", "-", view.dataset.name, flags=re.ASCII).strip("-.")[:80] or "dataset"
    without = f"-without-{'-'.join(left_out)}" if left_out else ""
    filename = f"{name}-v{version.number}{without}{'-for-spreadsheets' if spreadsheet else ''}.{form}"
    return Export(filename, TYPES[form], left_out, writer(columns.names, columns.chunks(version, shut)))


class _Columns:
    """A version's columns in the order of its file, under the names they had there."""

    def __init__(self, version: DatasetVersion) -> None:
        mapping = {key: name for key, name in (version.origin.get("mapping") or {}).items() if isinstance(name, str) and key != "instruction"}
        if (version.origin.get("mapping") or {}).get("more"):
            del mapping["input"]  # made of several columns, which stand for themselves; read again, it is not made once more
        others = [name for name in version.columns if name not in mapping.values()]
        self._input = mapping.get("input") or _free("input", others)
        self._output = mapping.get("output") or _free("output", [*others, self._input])
        self._split = mapping.get("split") or _free("split", [*others, self._input, self._output])
        used = {self._input, self._output, self._split}
        there = [name for name in version.columns if name in used or name in others]
        self.names = [*there, *(name for name in (self._input, self._output, self._split) if name not in there)]

    def chunks(self, version: DatasetVersion, shut: frozenset[str]) -> Iterator[list[Record]]:
        chunk: list[Record] = []
        for row in values(version):
            if row["split"] in shut:
                continue
            split = row["given"] if row["split"] == "unlabelled" else row["split"]
            record: dict[str, Any] = {**(row["cells"] or {}), self._input: row["input"], self._output: row["output"], self._split: split}
            chunk.append(record)
            if len(chunk) == ROWS:
                yield chunk
                chunk = []
        yield chunk


def _free(name: str, taken: list[str]) -> str:
    """A column's name that no other column has."""
    while name in taken:
        name += "_"
    return name
