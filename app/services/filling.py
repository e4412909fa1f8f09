"""Rows of an upload on their way into a version that nobody sees: split, counted and stored in short writes, in bounded memory."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate, chain
from typing import Any

from app.db import transaction
from app.domain import chore as chores
from app.domain import dataset as datasets
from app.domain import intake
from app.domain import upload as uploads
from app.domain.access import owned
from app.domain.cutting import Cutter, together
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.intake import Line, Tally, cells_text
from app.domain.label_book import written
from app.domain.splits import assign_splits, given_to, shares_wanted
from app.domain.upload import Upload
from app.errors import Invalid
from app.readers import Example, Note
from app.readers.columns import used_up
from app.readers.frames import Chunk, Found
from app.readers.near_duplicates import near_duplicate_groups
from app.readers.options import READING
from app.readers.preview import preview
from app.services.pacing import Pace
from app.services.upload_files import options_of, place

HELD_ROWS = 20_000
HELD_CHARACTERS = 20_000_000
"""Up to so many rows, and characters of all their columns, are split with all of them in sight, near-duplicates on one side; longer files while they come in."""

HEAVY = 2_000_000
"""Characters of all columns that are written at once, however few rows they are: a write is to be short with long texts, too."""

PORTION = 500
"""Rows held that are made ready for writing at a time."""

FIRST = 1
"""The number of the version that an import makes: what its rows came with."""


class Filling:
    """A dataset in the making. `take` examples in the order of the file, then `finish`. Every write raises Dropped once the upload is cancelled."""

    def __init__(self, upload: Upload, token: str) -> None:
        self._upload, self._token = upload, token
        self._shares, self._seed = shares_wanted(upload.cut.get("splits")), int(upload.cut.get("seed") or 0)
        self._group: str | None = upload.cut.get("group")
        self._version = 0
        self._held: list[Example] = []
        self._keys: list[int] = []
        self._size = 0
        self._cutter: Cutter | None = None
        self._cut_validation = False
        self._tally, self._lines, self._pace = Tally(), list[Line](), Pace()
        self._weights: list[int] = []
        """Of the lines that wait to be written: characters, those of all columns."""
        self._share, self._stored, self._heavy = 0.0, 0, 0
        self._origin: dict[str, Any] = {}

    def begin(self, found: Found) -> None:
        """Make the dataset and its first version, unsealed."""
        upload = self._upload
        self._origin = {
            "filename": upload.filename,
            "sha256": upload.sha256,
            "detected": asdict(found.detected),
            "mapping": asdict(found.mapping) if found.mapping else {},
            "options": {name: upload.options[name] for name in READING if upload.options.get(name) not in (None, [], (), {})},
            **({"label_names": found.label_names} if found.label_names else {}),
            "cut": {name: upload.cut[name] for name in ("splits", "group") if upload.cut.get(name)},
        }
        if self._group is not None and self._group not in found.columns:
            raise Invalid("missing_column", f"There is no column “{self._group}” to keep rows together by.", f"The columns are: {', '.join(found.columns)}.")
        if self._group is not None and found.mapping is not None and self._group in used_up(found.mapping):
            there = f"“{self._group}” is read as the input, the output or the split, and says nothing more about a row."
            raise Invalid(
                "used_column", there, "Choose another column to keep rows together by, such as the author. Rows with the same text stay together anyway."
            )
        person = upload.person()
        with transaction() as session:
            uploads.hold(session, upload.id, self._token)
            dataset = Dataset(**owned(person), name=upload.name, source=upload.source, description=upload.description)
            session.add(dataset)
            session.flush()
            version = datasets.draft(session, person, dataset, self._seed, self._origin)
            version.columns = found.columns
            uploads.hold(session, upload.id, self._token, dataset_id=dataset.id)
        self._version = version.id

    def take(self, chunk: Chunk) -> None:
        """The next rows."""
        examples, self._share = chunk.examples, chunk.share
        if self._cutter is not None:
            self._add(examples, chunk.keys, self._cutter.cut(examples, chunk.keys, self._cut_validation))
            return
        self._held += examples
        self._keys += chunk.keys
        self._size += sum(_weights(examples))
        if len(self._held) > HELD_ROWS or self._size > HELD_CHARACTERS:
            self._cutter = self._long()
            for start in range(0, len(self._held), PORTION):
                part, keys = self._held[start : start + PORTION], self._keys[start : start + PORTION]
                self._add(part, keys, self._cutter.cut(part, keys, self._cut_validation))
            self._held, self._keys = [], []

    def _long(self) -> Cutter:
        """The file is long: from here on rows are split as they come."""
        outputs = [example.output for example in self._held if example.output is not None]
        # A row without an output stands in no split yet, whatever its file says of it.
        given = {example.split for example in self._held if example.split is not None and example.output is not None}
        self._cut_validation = bool(given) and "validation" not in self._given(given)
        # Where no row has an output yet, nothing says that those to come are labels.
        return Cutter(self._seed, self._shares, bool(outputs) and 2 * len(set(outputs)) <= len(outputs), self._group)

    def _given(self, seen: set[Any]) -> set[str]:
        """Every split that the file gives: the report knows, or the file is read once more for it."""
        if "validation" in seen:
            return seen
        report = self._upload.report or {}
        if report.get("complete") and report.get("splits"):
            return set(report["splits"])
        return set(preview(place(self._upload.file), options_of(self._upload.options)).splits)

    def _add(self, examples: Sequence[Example], keys: Sequence[int], splits: Sequence[str]) -> None:
        """Rows that know their split: counted, and stored as soon as there are enough for a write."""
        first = self._tally.rows
        self._tally.add(examples, splits)
        self._lines += [
            (position, one.line, split, one.input, one.output, key, cells_text(one.cells) if one.cells else None, given_to(one))
            for position, (one, key, split) in enumerate(zip(examples, keys, splits, strict=True), first)
        ]
        weights = _weights(examples)
        self._weights += weights
        self._heavy += sum(weights)
        while len(self._lines) >= self._pace.size or self._heavy > HEAVY:
            self._write()

    def _write(self) -> None:
        size, weights = self._pace.size, self._weights
        if sum(weights[:size]) > HEAVY:
            size = 1 + next(at for at, weight in enumerate(accumulate(weights)) if weight > HEAVY)
        lines, self._lines = self._lines[:size], self._lines[size:]
        self._weights = weights[size:]
        self._heavy -= sum(weights[:size])
        self._stored += len(lines)
        with transaction() as session:
            uploads.hold(session, self._upload.id, self._token, rows=self._stored, share=self._share)
            began = time.perf_counter()
            intake.put(session, self._version, FIRST, lines)
        self._pace.took(len(lines), time.perf_counter() - began)

    def note(self, notes: Sequence[Note]) -> None:
        """What a person should know about how the file was read."""
        self._origin["notes"] = [asdict(note) for note in notes]

    def finish(self) -> None:
        """Store what is left, seal the version, and leave its chores to the background. Raises Invalid when nothing can be learnt from it."""
        cutter = self._cutter
        if cutter is None:
            splits = self._in_sight()
            cutter = Cutter(self._seed, self._shares, stratify=True)
            cutter.note(self._held, self._keys, splits)
            for start in range(0, len(self._held), PORTION):
                end = start + PORTION
                self._add(self._held[start:end], self._keys[start:end], splits[start:end])
        while self._lines:
            self._write()
        sealing = self._tally.sealing(written(self._upload.cut.get("displays") or {}, self._tally.outputs))
        sealing["origin"] = {**self._origin, "repeats": cutter.repeats(), **({"streamed": True} if self._cutter is not None else {})}
        with transaction() as session:
            uploads.end(session, self._upload.id, self._token, "done", share=1.0, rows=self._tally.rows)
            intake.seal(session, session.get_one(DatasetVersion, self._version), sealing)
            chores.add(session, self._version, self._tally.rows)

    def _in_sight(self) -> list[str]:
        """The splits of a file that is held as a whole."""

        def alike() -> list[list[int]]:
            return near_duplicate_groups([example.input for example in self._held])

        return assign_splits(self._held, self._seed, self._shares, alike, together=together([example.cells for example in self._held], self._group))


def _weights(examples: Sequence[Example]) -> list[int]:
    """Characters of each row, those of all its columns."""
    return [len(one.input) + len(one.output or "") + (sum(map(len, chain(one.cells, one.cells.values()))) if one.cells else 0) for one in examples]
