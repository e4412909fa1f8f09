"""Examining a version: every row is looked at, and what is wrong is kept with the rows behind it and a remedy. Done by a chore, or at once for a short one."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, cast

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import chore as chore_rows
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain.dataset import DatasetVersion, Example
from app.domain.finding import Finding
from app.domain.packed import packed, unpacked
from app.domain.placing import HELD_OUT
from app.domain.splits import SPLITS
from app.readers import Example as Read
from app.readers import Split
from app.readers import health as checks
from app.readers.findings import Finding as Found
from app.readers.findings import Fix
from app.readers.health import CODES, OF_TOKENS, over_window, unreadable
from app.services import gathering, likeness
from app.services.walking import walk

IDS = 500
"""Rows asked for by their ids at once."""

WALKS = 2
"""How often the checks walk over the rows."""

TOLD = 500
"""After so many rows it is told how far it is."""


def examine(version_id: int, tell: Callable[[float], None] = lambda _: None) -> None:
    """Look at every row of a sealed version and keep what was found. Texts are read twice and not kept. Its near-duplicates are those that its chore
    has found. `tell` hears what share of the work is done."""
    with reading() as session:
        version = session.get_one(DatasetVersion, version_id)
        free = gathering.ours(version) and gathering.unused(session, version.dataset_id)
    rows = _Rows(version, tell)
    health = checks.examine(rows, rows.numbers(likeness.groups(version_id)), free)
    for one in health.findings:
        finding = _kept(version, one, rows.ids, rows.splits)
        with transaction() as session:
            findings.store(session, finding)
    with transaction() as session:
        findings.examined(session, version_id)
    heed_lengths(version_id)


def heed_lengths(version_id: int) -> None:
    """What is told of rows by tokens of the model that lengths were counted for, once they are: inputs that are too long (until then characters tell), and
    those that it cannot read. Called when a version has been examined and when its lengths have been counted: whichever comes last changes what is said."""
    with reading() as session:
        version, chore = session.get(DatasetVersion, version_id), chore_rows.find(session, version_id, "lengths")
        if version is None or version.examined_at is None or chore is None or chore.state != "done" or "window" not in chore.result:
            return
        told = chore.result
    long, strange = unpacked(told["long"]), unpacked(told["strange"])
    about = {
        "long_inputs": (long, over_window(len(long), told["inputs"]["most"], told["name"], told["window"])),
        "unknown_tokens": (strange, unreadable(len(strange), told["name"])),
    }
    for code, (ids, found) in about.items():
        finding = _kept(version, found, ids, _splits_of(ids)) if ids else None
        with transaction() as session:
            findings.counted(session, version_id, code, finding)


def _splits_of(ids: Sequence[int]) -> list[str]:
    known: dict[int, str] = {}
    for start in range(0, len(ids), IDS):
        with reading() as session:
            known.update(session.execute(select(Example.id, Example.split).where(Example.id.in_(ids[start : start + IDS]))).all())
    return [known[key] for key in ids]


class _Rows:
    """A version's rows as the checks read them: from the database at every walk. Kept are their ids, positions and splits."""

    def __init__(self, version: DatasetVersion, tell: Callable[[float], None]) -> None:
        self._version, self._tell, self._read = version, tell, 0
        self.ids, self._positions, self.splits = array("q"), array("q"), list[str]()
        for row in walk(version, (Example.id, Example.position, Example.split)):
            self.ids.append(row.id)
            self._positions.append(row.position)
            self.splits.append(intern(row.split))

    def __iter__(self) -> Iterator[Read]:
        for row in walk(self._version, (Example.id, Example.position, Example.line, Example.input, Example.output, Example.split, Example.cells)):
            split = row.split if row.split != "unlabelled" else None
            self._read += 1
            if self._read % TOLD == 0:
                self._tell(self._read / (WALKS * len(self.ids)))
            yield Read(row.line or row.position + 1, row.input, row.output, cast("Split | None", split), row.cells or {})

    def numbers(self, groups: Iterable[Sequence[int]]) -> list[list[int]]:
        """Groups of positions as groups of rows' numbers."""
        return [[bisect_left(self._positions, position) for position in group] for group in groups]


def _kept(version: DatasetVersion, found: Found, ids: Sequence[int], splits: Sequence[str]) -> Finding:
    hidden = {split: [ids[number] for number in found.rows if splits[number] == split] for split in datasets.SEALED}
    fix, fixed = found.fix, 0
    if fix is not None and fix.kind == "gather":
        with reading() as session:
            moves = gathering.planned(session, version, [[ids[number] for number in group] for group in fix.groups])
        to = packed(HELD_OUT.index(split) for split in moves.values())
        gathered = {"kind": "gather", "rows": packed(moves), "to": to, "split": "", "labels": {}}
        return _finding(version, found, ids, hidden, gathered, len(moves), _gathered(version, fix, moves, ids, splits))
    if fix is None:
        return _finding(version, found, ids, hidden, None, 0, None)
    counts = {label["key"]: label["count"] for label in version.labels}
    fixed = sum(counts.get(label, 0) for label in fix.labels) if fix.kind == "relabel" else len(fix.rows)
    rows = [ids[number] for number in fix.rows]
    mended = {"kind": fix.kind, "rows": packed(rows), "split": fix.split, "labels": dict(fix.labels)}
    after = _after(version, found, fix, splits)
    after["labels"] -= _emptied(version, rows) if fix.kind == "drop" else 0
    return _finding(version, found, ids, hidden, mended, fixed, after)


def _emptied(version: DatasetVersion, ids: Sequence[int]) -> int:
    """How many labels lose their last row with these rows."""
    small = {label["key"]: label["count"] for label in version.labels if 0 < label["count"] <= len(ids) and not label.get("added")}
    gone: Counter[str] = Counter()
    for start in range(0, len(ids) if small else 0, IDS):
        with reading() as session:
            outputs = session.scalars(select(Example.output).where(Example.id.in_(ids[start : start + IDS]), Example.output.in_(small)))
            gone.update(output for output in outputs if output is not None)
    return sum(gone[label] == count for label, count in small.items())


def _finding(
    version: DatasetVersion,
    found: Found,
    ids: Sequence[int],
    hidden: Mapping[str, list[int]],
    fix: dict[str, Any] | None,
    fixed: int,
    after: dict[str, Any] | None,
) -> Finding:
    return Finding(
        version_id=version.id,
        position=[*CODES, *OF_TOKENS].index(found.code),
        code=found.code,
        harm=found.harm,
        count=found.count,
        sentence=found.sentence,
        rows=packed(ids[number] for number in found.rows),
        hidden={split: packed(keys) for split, keys in hidden.items()},
        fix=fix,
        remedy=fix and fix["kind"],
        fixed=fixed,
        after=after,
    )


def _gathered(version: DatasetVersion, fix: Fix, moves: Mapping[int, str], ids: Sequence[int], splits: Sequence[str]) -> dict[str, Any]:
    """The same of rows that go to several splits."""
    left = Counter(version.splits)
    for number in fix.rows:
        if (split := moves.get(ids[number])) is not None:
            left[splits[number]] -= 1
            left[split] += 1
    return {"splits": {split: left[split] for split in SPLITS if left[split] > 0}, "labels": len(version.labels)}


def _after(version: DatasetVersion, found: Found, fix: Fix, splits: Sequence[str]) -> dict[str, Any]:
    """The splits, and how many labels there would be, once a fix is made."""
    left = Counter(version.splits)
    # A label that is taken away leaves its rows unlabelled, sealed ones leave; the finding names just these rows.
    rows, target = (found.rows, "unlabelled") if None in fix.labels.values() else (fix.rows, fix.split)
    left.subtract(Counter(splits[number] for number in rows))
    if target:
        left[target] += sum(target != "unlabelled" or splits[number] not in datasets.SEALED for number in rows)
    keys = {label["key"] for label in version.labels}
    after = {fix.labels.get(key, key) for key in keys} - {None}
    return {"splits": {split: left[split] for split in SPLITS if left[split] > 0}, "labels": len(after)}
