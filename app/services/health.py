"""A version's health: examined once, its findings with the rows behind them, and the remedies that make a new version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import chore as chore_rows
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain.access import Who, write
from app.domain.chore import Chore
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.finding import Finding
from app.domain.packed import how_many, unpacked
from app.domain.upload import Upload
from app.errors import Conflict, Invalid
from app.services import changing, chores, examination, gathering
from app.services.change_files import Remedy
from app.services.datasets import DatasetView, find

OPTIONAL = ("personal_data",)
"""Warnings that a person may switch off for a dataset."""

AT_ONCE = 5_000
"""Versions of at most so many rows are examined while the page waits. Longer ones are examined by a chore."""


@dataclass(frozen=True)
class Report:
    """`findings` is None while the version is still being examined. Those that the dataset is not to be warned of are left out; `quiet` has their codes."""

    view: DatasetView
    newest: bool
    findings: Sequence[Finding] | None
    quiet: Sequence[str] = ()
    late: Sequence[str] = ()
    """Findings whose remedy may not be taken any more, because somebody has used the rows."""
    share: float = 0.0
    """How far the examination is while there are no findings, and what ended it."""
    error: Mapping[str, Any] | None = None


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
            return _begun(view)
        examine_version(view.version.id)
    with reading() as session:
        found = findings.of(session, view.version.id)
    return _report(view, found)


def examine_version(version_id: int) -> None:
    """Examine a version here and now."""
    chores.finish(version_id, "near_duplicates")
    examination.examine(version_id)


def _begun(view: DatasetView) -> Report:
    """How far a long version is examined, which is a chore of its own: nobody keeps a page waiting for it."""
    version = view.version
    with reading() as session:
        mine = chore_rows.of(session, version.id)
    chore = mine.get("health")
    if chore is None or chore.state == "done":  # what it looked at counts no more: its near-duplicates are looked for again
        with transaction() as session:
            chore_rows.again(session, version.id, "health", version.rows, {})
        return _report(view, None)
    return replace(_report(view, None), share=_share(mine), error=chore.error)


def _share(mine: Mapping[str, Chore]) -> float:
    """Of near-duplicates, where its examination had to wait for them, and of the examination itself."""
    chore, near = mine["health"], mine.get("near_duplicates")
    first: float = chore.result.get("near", 0.0)
    alike = 0.0 if near is None else 1.0 if near.state == "failed" else near.fraction
    return first * alike + (1 - first) * chore.fraction


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
