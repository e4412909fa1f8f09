"""What an upload's page shows of its labels: those that a dataset does not know, those that look alike, and the display texts that were typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from app.domain.dataset import DatasetVersion
from app.domain.label_book import MOST_LABELS, written
from app.domain.upload import Upload
from app.errors import Invalid
from app.readers.lookalikes import look_alike_groups, merged, resembled


@dataclass(frozen=True)
class Beside:
    """A file beside the dataset version it goes onto. `new` are its labels that the version does not know, with their rows, most first; `alike` says of such
    a label which known one it looks like. `no_labels`: its outputs are no labels, and the version's are. `too_many`: with it the version
    would have more labels than there may be. `lacking` are columns that it does not have.
    `meeting` counts its rows that are new, repeated and labelled; none until all are read."""

    new: tuple[tuple[str, int], ...]
    alike: Mapping[str, str]
    no_labels: bool
    too_many: bool
    lacking: tuple[str, ...]
    meeting: Mapping[str, Any] | None


def beside(version: DatasetVersion, report: Mapping[str, Any]) -> Beside:
    outputs: Mapping[str, int] = report.get("outputs") or {}
    known = {text: label.key for label in version.book.labels for text in (*label.aliases, label.display, label.key)}
    keys = {label.key for label in version.book.labels}
    new = sorted(((label, rows) for label, rows in outputs.items() if label not in keys), key=lambda one: (-one[1], one[0])) if version.labels else []
    alike = {label: known[other] for label, other in resembled([label for label, _ in new], known).items()}
    columns = report.get("columns") or []
    lacking = [name for name in version.variables[1:] if name in version.columns and name not in columns] if columns else []
    meeting = report.get("meeting") or {}
    return Beside(
        tuple(new),
        alike,
        bool(version.labels and report.get("many_outputs")),
        bool(new) and len(keys) + len(new) > MOST_LABELS,
        tuple(lacking),
        meeting if meeting.get("version") == version.reference and report.get("complete") else None,
    )


@dataclass(frozen=True)
class Merge:
    """Labels of a file that look like another one, each with its rows, and whether they are read as that one. `why` says by what they differ."""

    into: str
    labels: tuple[tuple[str, int], ...]
    why: str
    chosen: bool

    @property
    def value(self) -> str:
        """What the form sends for it."""
        return json.dumps({label: self.into for label, _ in self.labels}, ensure_ascii=False)

    @property
    def key(self) -> str:
        return f"{crc32(self.value.encode()):08x}"


def merges(upload: Upload, report: Mapping[str, Any], beside: Beside | None) -> list[Merge]:
    """What was merged, then what could be: labels that look like one of the version that the file goes onto, or like each other."""
    rows: Mapping[str, int] = report.get("outputs") or {}
    before: Mapping[str, int] = report.get("merged") or {}
    chosen = [Merge(into, labels, "", chosen=True) for into, labels in _by_end(upload.options.get("labels") or {}, before)]
    known = dict(beside.alike) if beside is not None else {}
    groups = look_alike_groups(label for label in rows if label not in known)
    whys = {label: why for group, why in reversed(groups) for label in group}
    found = [Merge(into, labels, "", chosen=False) for into, labels in _by_end(known, rows)]
    for into, labels in _by_end(merged(groups, rows), rows):
        why = ", or by ".join(dict.fromkeys(whys[label] for label, _ in labels))
        found.append(Merge(into, labels, f"they differ by {why}", chosen=False))
    return chosen + found


def _by_end(labels: Mapping[str, str], rows: Mapping[str, int]) -> list[tuple[str, tuple[tuple[str, int], ...]]]:
    """What labels become, each with those that become it and their rows, most rows first."""
    found: dict[str, list[tuple[str, int]]] = {}
    for label, into in sorted(labels.items(), key=lambda one: (-rows.get(one[0], 0), one[0])):
        found.setdefault(into, []).append((label, rows.get(label, 0)))
    return [(into, tuple(those)) for into, those in found.items()]


def displays_refused(upload: Upload, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why the display texts cannot be as they were typed; none when they can, or while the labels are not all known."""
    try:
        written(upload.cut.get("displays") or {}, report.get("outputs") or {})
    except Invalid as error:
        return error.as_dict() | {"label": error.detail.get("label")}
    return None
