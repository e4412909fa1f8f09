"""Appending a file to a dataset: what is new goes into the next version, what is there already stays where it is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import reading
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.lineage import KEYS_AT_ONCE, WISHES, Keep
from app.errors import Invalid
from app.readers import Example as Read
from app.readers.frames import Broken, Chunk, End, Found
from app.readers.parent import read_file
from app.services.datasets import DatasetView, find
from app.services.versions import New, amend, derive

Columns = Mapping[str, str | list[str] | None]
"""Which column of a file is the input (or which ones are), the output and the split."""


class _Arrivals:
    """A file's rows on their way into a draft. Rows that are there already are left out; labels of waiting rows are filled in."""

    def __init__(self, path: Path, mapping: Columns | None, repeats: bool, about: dict[str, Any]) -> None:
        self._path, self._mapping, self._repeats, self._about = path, mapping, repeats, about

    def __call__(self, draft: DatasetVersion) -> Iterator[Sequence[New]]:
        self._about.update(repeated=0, labelled=0)
        came = 0
        problems = []
        for frame in read_file(self._path, self._mapping):
            if isinstance(frame, Broken):
                problems.append(frame.problem)
            elif isinstance(frame, Chunk) and not problems:
                new = list(self._new(draft, frame.examples, frame.keys))
                came += len(new)
                yield new
            elif isinstance(frame, End) and frame.problems:
                raise _refused([asdict(problem) for problem in problems], frame.problems)
        if not came and not self._about["labelled"]:
            raise Invalid("nothing_new", f"All {self._about['repeated']:,} rows of the file are in the dataset already.", "There is nothing to append.")

    def _new(self, draft: DatasetVersion, rows: Sequence[Read], keys: Sequence[int]) -> Iterator[New]:
        there, waiting = _standing(draft, set(keys))
        filled: dict[int, tuple[str, str]] = {}
        for row, content in zip(rows, keys, strict=True):
            output, key = row.output, waiting.get(content)
            if not self._repeats and (row.input, output, _frozen(row.cells)) in there:
                self._about["repeated"] += 1
            elif key is not None and output is not None and key not in filled:
                filled[key] = output, WISHES[row.split or ""]
            else:
                yield New(row.input, output, row.split, row.line, row.cells or None)
        self._about["labelled"] += len(filled)
        amend(draft, [{"key": key, "output": output, "split": wish} for key, (output, wish) in filled.items()])


def _inherited(version: DatasetVersion, path: Path) -> Columns | None:
    """The columns that the dataset's first file was read by. A file that comes later may lack its splits, and its outputs."""
    first_by = version.origin.get("mapping") or {}
    mapping: dict[str, str | list[str] | None] = {key: column for key, column in first_by.items() if isinstance(column, str)}
    if more := first_by.get("more"):
        mapping["input"] = [first_by["input"], *more]
    with closing(read_file(path, mapping)) as frames:
        first = next(frames)
    if isinstance(first, Found) and first.columns:
        mapping |= {key: None for key in ("split", "output") if mapping.get(key, first.columns[0]) not in first.columns}
    return mapping or None


def _standing(draft: DatasetVersion, keys: set[int]) -> tuple[set[tuple[str, str | None, frozenset[Any]]], dict[int, int]]:
    """The rows of the draft with these contents, and the ids of those among them that wait for a label, by content."""
    wanted = sorted(keys)
    there: set[tuple[str, str | None, frozenset[Any]]] = set()
    waiting: dict[int, int] = {}
    columns = Example.id, Example.content_key, Example.input, Example.output, Example.cells, Example.added_in
    with reading() as session:
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = Example.content_key.in_(wanted[start : start + KEYS_AT_ONCE])
            for row in session.execute(select(*columns).where(Example.version_id == draft.id, some)):
                if row.added_in != draft.number:
                    there.add((row.input, row.output, _frozen(row.cells)))
                if row.output is None:
                    waiting[row.content_key] = row.id
    return there, waiting


def _frozen(cells: Mapping[str, Any] | None) -> frozenset[Any]:
    return frozenset((cells or {}).items())


def _refused(problems: list[dict[str, Any]], count: int) -> Invalid:
    first = problems[0]
    where = f"line {first['line']}: " if first["line"] else ""
    message = f"The file was not taken: {count:,} problem{'s' if count > 1 else ''}."
    return Invalid("broken_file", message, f"First, {where}{first['advice']}", detail={"problems": problems, "count": count})


def append_file(
    person: Who, reference: int | str, path: Path, filename: str, mapping: Columns | None = None, reason: str = "", repeats: bool = False
) -> DatasetView:
    """The next version with a file's rows behind the others. Without a mapping the file is read as the dataset's first one was.

    A row that is in the dataset already is left out unless `repeats`; one whose text waits unlabelled there gives it its label.
    Raises Invalid with the problems of a broken file, or when nothing in it is new; Conflict when the version is not the newest.
    """
    version = find(person, reference).version
    about: dict[str, Any] = {"filename": filename}
    arrivals = _Arrivals(path, mapping or _inherited(version, path), repeats, about)
    return derive(person, version.reference, Keep("append", about), reason, arrivals)
