"""A version's health: examined once, its findings with the rows behind them, and the remedies that make a new version."""

import subprocess
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sys import intern
from typing import Any, cast

from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import chore as chore_rows
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain.access import Who, write
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.finding import Finding
from app.domain.packed import how_many, packed, unpacked
from app.domain.placing import HELD_OUT
from app.domain.splits import SPLITS
from app.domain.upload import Upload
from app.errors import Conflict, Invalid
from app.readers import Example as Read
from app.readers import Split
from app.readers.findings import Finding as Found
from app.readers.findings import Fix
from app.readers.health import CODES, OF_TOKENS, examine, over_window, unreadable
from app.services import changing, chores, gathering, likeness
from app.services.change_files import Remedy
from app.services.datasets import DatasetView, find
from app.services.walking import walk

OPTIONAL = ("personal_data",)
"""Warnings that a person may switch off for a dataset."""

AT_ONCE = 5_000
"""Versions of at most so many rows are examined while the page waits. Longer ones get a process of their own."""

IDS = 500
"""Rows asked for by their ids at once."""

_examining: dict[int, "subprocess.Popen[bytes]"] = {}


@dataclass(frozen=True)
class Report:
    """`findings` is None while the version is still being examined. Those that the dataset is not to be warned of are left out; `quiet` has their codes."""

    view: DatasetView
    newest: bool
    findings: Sequence[Finding] | None
    quiet: Sequence[str] = ()
    late: Sequence[str] = ()
    """Findings whose remedy may not be taken any more, because somebody has used the rows."""


@dataclass(frozen=True)
class FindingRows:
    """Some of the rows behind a finding, in an order that puts those that belong together side by side. `hidden` rows are sealed."""

    report: Report
    finding: Finding
    rows: list[Example]
    total: int
    hidden: int


def report(person: Who, reference: int | str) -> Report:
    """The findings about a version. The first to ask has it examined."""
    view = find(person, reference)
    if view.version.examined_at is None:
        if view.version.rows > AT_ONCE:
            _begin(view.version.id)
            return _report(view, None)
        examine_version(view.version.id)
    if (done := _examining.pop(view.version.id, None)) is not None:
        done.wait()  # it has stored its findings and is about to end
    with reading() as session:
        found = findings.of(session, view.version.id)
    return _report(view, found)


def known(person: Who, reference: int | str) -> Report:
    """What has been found out about a version so far; examines nothing."""
    view = find(person, reference)
    with reading() as session:
        found = findings.of(session, view.version.id) if view.version.examined_at is not None else None
    return _report(view, found)


def _report(view: DatasetView, found: Sequence[Finding] | None) -> Report:
    quiet, late = view.dataset.quiet, [one.code for one in found or () if one.remedy == "gather"]
    if late:
        with reading() as session:
            late = [] if gathering.unused(session, view.dataset.id) else late
    return Report(view, _newest(view.version), found and [one for one in found if one.code not in quiet], quiet, late)


def warn(person: Who, key: int, code: str, on: bool) -> None:
    """Warn of an optional finding in a dataset's versions, or no more. It is looked for all the same, so that switching it on says it at once.

    Raises Invalid for a finding that is no mere warning.
    """
    if code not in OPTIONAL:
        advice = f"What can be: {', '.join(OPTIONAL)}."
        raise Invalid("not_optional", "This finding spoils what is measured, and is not left out.", advice)
    with transaction() as session:
        dataset = write(session, person, Dataset, key, "dataset")
        others = [one for one in dataset.quiet if one != code]
        dataset.quiet = others if on else [*others, code]


def _newest(version: DatasetVersion) -> bool:
    with reading() as session:
        mine = select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == version.dataset_id, DatasetVersion.sealed_at.is_not(None))
        return session.scalar(mine) == version.number


def _begin(version_id: int) -> None:
    """Examine a long version in a process of its own, whose memory is gone afterwards. One that died is started again by the next look."""
    running = _examining.get(version_id)
    if running is None or running.poll() is not None:
        command = [sys.executable, "-m", "app.services.examination", str(version_id)]
        _examining[version_id] = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL)


def examine_version(version_id: int) -> None:
    """Look at every row of a sealed version and keep what was found. Texts are read twice and not kept. Its near-duplicates are those that its chore finds, now if it has not yet."""
    chores.finish(version_id, "near_duplicates")
    with reading() as session:
        version = session.get_one(DatasetVersion, version_id)
        free = gathering.ours(version) and gathering.unused(session, version.dataset_id)
    rows = _Rows(version)
    health = examine(rows, rows.numbers(likeness.groups(version_id)), free)
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

    def __init__(self, version: DatasetVersion) -> None:
        self._version = version
        self.ids, self._positions, self.splits = array("q"), array("q"), list[str]()
        for row in walk(version, (Example.id, Example.position, Example.split)):
            self.ids.append(row.id)
            self._positions.append(row.position)
            self.splits.append(intern(row.split))

    def __iter__(self) -> Iterator[Read]:
        for row in walk(self._version, (Example.id, Example.position, Example.line, Example.input, Example.output, Example.split, Example.cells)):
            split = row.split if row.split != "unlabelled" else None
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


def rows(person: Who, reference: int | str, code: str, offset: int = 0, limit: int = 50) -> FindingRows:
    """The rows behind a finding. Those of a sealed split are counted and not shown; looking at opened ones is counted."""
    whole = report(person, reference)
    version = whole.view.version
    with reading() as session:
        finding = findings.find(session, version, code)
        closed = {key for split in datasets.closed(version) for key in unpacked(finding.hidden[split])}
        keys = [key for key in unpacked(finding.rows) if key not in closed]
        wanted = keys[offset : offset + limit]
        by_key = {row.id: row for row in session.scalars(select(Example).where(Example.id.in_(wanted)))}
    shown = [by_key[key] for key in wanted]
    count_viewed(version, shown)
    return FindingRows(whole, finding, shown, len(keys), len(closed))


def count_viewed(version: DatasetVersion, shown: Sequence[Example]) -> None:
    """Count a look at rows of a sealed split, when there is one among those that are shown."""
    if looked := {row.split for row in shown} & set(datasets.SEALED):
        with transaction() as session:
            datasets.count_viewed(session, version.id, looked)


def first_rows(whole: Report, count: int = 3) -> Mapping[str, tuple[list[Example], int]]:
    """The first rows of every finding, by its code, and how many there are. Rows of test never: a glance at a card is no look on purpose."""
    with reading() as session:
        wanted: dict[str, list[int]] = {}
        totals: dict[str, int] = {}
        for finding in session.scalars(select(Finding).where(Finding.version_id == whole.view.version.id)):
            hidden = {key for keys in finding.hidden.values() for key in unpacked(keys)}
            totals[finding.code] = how_many(finding.rows)
            wanted[finding.code] = list(islice((key for key in unpacked(finding.rows) if key not in hidden), count))
        keys = {key for some in wanted.values() for key in some}
        by_key = {row.id: row for row in session.scalars(select(Example).where(Example.id.in_(keys)))} if keys else {}
    return {code: ([by_key[key] for key in some], totals[code]) for code, some in wanted.items()}


def mend(person: Who, reference: int | str, code: str) -> DatasetView | Upload:
    """The next version, with a finding's remedy, or the upload that makes it. Raises NotFound, Conflict when there is none or the version is not the newest."""
    whole = report(person, reference)
    with reading() as session:
        finding = findings.find(session, whole.view.version, code)
        if finding.remedy is None:
            raise Conflict("no_remedy", "Only a person can decide what to do here.", "Look at the rows, and upload a corrected file.")
        if finding.remedy == "gather":
            gathering.check_unused(session, whole.view.dataset.id)
    return changing.change(person, whole.view.version.reference, Remedy(code, finding.remedy, finding.fixed), code)
