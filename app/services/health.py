"""A version's health: examined once, its findings with the rows behind them, and the remedies that make a new version."""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.finding import Finding
from app.readers import Example as Read
from app.readers import Split
from app.readers.findings import Finding as Found
from app.readers.findings import Fix
from app.readers.health import examine
from app.services.datasets import DatasetView, find
from app.services.versions import derive

AT_ONCE = 5_000
"""Versions of at most so many rows are examined while the page waits. Longer ones get a process of their own."""

_examining: dict[int, "subprocess.Popen[bytes]"] = {}


@dataclass(frozen=True)
class Report:
    """`findings` is None while the version is still being examined."""

    view: DatasetView
    newest: bool
    findings: Sequence[Finding] | None


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
            return Report(view, _newest(view.version), None)
        examine_version(view.version.id)
    if (done := _examining.pop(view.version.id, None)) is not None:
        done.wait()  # it has stored its findings and is about to end
    with reading() as session:
        return Report(view, _newest(view.version), findings.of(session, view.version.id))


def known(person: Who, reference: int | str) -> Report:
    """What has been found out about a version so far; examines nothing."""
    view = find(person, reference)
    with reading() as session:
        found = findings.of(session, view.version.id) if view.version.examined_at is not None else None
    return Report(view, _newest(view.version), found)


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
    """Look at every row of a sealed version and keep what was found."""
    with reading() as session:
        version = session.get_one(DatasetVersion, version_id)
        query = select(Example.id, Example.position, Example.line, Example.input, Example.output, Example.split)
        rows = session.execute(query.where(Example.version_id == version_id).order_by(Example.position)).all()
    given = [Read(row.line or row.position + 1, row.input, row.output, cast("Split | None", row.split if row.split != "unlabelled" else None)) for row in rows]
    health = examine(given)
    ids, splits = [row.id for row in rows], [row.split for row in rows]
    found = [_kept(version, position, one, ids, splits) for position, one in enumerate(health.findings)]
    with transaction() as session:
        findings.store(session, version_id, found)


def _kept(version: DatasetVersion, position: int, found: Found, ids: Sequence[int], splits: Sequence[str]) -> Finding:
    hidden = {split: [ids[number] for number in found.rows if splits[number] == split] for split in datasets.SEALED}
    fix, fixed = found.fix, 0
    if fix is not None:
        counts = {label["key"]: label["count"] for label in version.labels}
        fixed = sum(counts.get(label, 0) for label in fix.labels) if fix.kind == "relabel" else len(fix.rows)
    return Finding(
        version_id=version.id,
        position=position,
        code=found.code,
        harm=found.harm,
        count=found.count,
        sentence=found.sentence,
        rows=[ids[number] for number in found.rows],
        hidden=hidden,
        fix=fix and {"kind": fix.kind, "rows": [ids[number] for number in fix.rows], "split": fix.split, "labels": dict(fix.labels)},
        remedy=fix and fix.kind,
        fixed=fixed,
        after=fix and _after(version, found, fix, splits),
    )


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
    return {"splits": {split: left[split] for split in datasets.SPLITS if left[split] > 0}, "labels": len(after)}


def rows(person: Who, reference: int | str, code: str, offset: int = 0, limit: int = 50) -> FindingRows:
    """The rows behind a finding. Those of a sealed split are counted and not shown; looking at opened ones is counted."""
    whole = report(person, reference)
    version = whole.view.version
    with reading() as session:
        finding = findings.find(session, version, code)
        closed = {key for split in datasets.closed(version) for key in finding.hidden[split]}
        keys = [key for key in finding.rows if key not in closed]
        wanted = keys[offset : offset + limit]
        by_key = {row.id: row for row in session.scalars(select(Example).where(Example.id.in_(wanted)))}
    shown = [by_key[key] for key in wanted]
    count_viewed(version, shown)
    return FindingRows(whole, finding, shown, len(keys), len(closed))


def count_viewed(version: DatasetVersion, shown: Sequence[Example]) -> None:
    """Count a look at test rows, when there is one among those that are shown."""
    if any(row.split == "test" for row in shown):
        with transaction() as session:
            datasets.count_viewed(session, version.id)


def first_rows(whole: Report, count: int = 3) -> Mapping[str, tuple[list[Example], int]]:
    """The first rows of every finding, by its code, and how many there are. Rows of test never: a glance at a card is no look on purpose."""
    with reading() as session:
        wanted: dict[str, list[int]] = {}
        totals: dict[str, int] = {}
        for finding in session.scalars(select(Finding).where(Finding.version_id == whole.view.version.id)):
            hidden = {key for keys in finding.hidden.values() for key in keys}
            totals[finding.code] = len(finding.rows)
            wanted[finding.code] = [key for key in finding.rows if key not in hidden][:count]
        keys = {key for some in wanted.values() for key in some}
        by_key = {row.id: row for row in session.scalars(select(Example).where(Example.id.in_(keys)))} if keys else {}
    return {code: ([by_key[key] for key in some], totals[code]) for code, some in wanted.items()}


def mend(person: Who, reference: int | str, code: str) -> DatasetView:
    """The next version, with a finding's remedy. Raises NotFound, Conflict when there is none or the version is not the newest."""
    whole = report(person, reference)
    with reading() as session:
        finding = findings.find(session, whole.view.version, code)
        change = finding.change()
    return derive(person, whole.view.version.reference, change, code)
