"""What an upload's page shows of its labels: those that a dataset does not know, those that look alike, and the display texts that were typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from app.domain.dataset import DatasetVersion
from app.domain.label_book import MOST_LABELS, are_labels, written
from app.domain.scoring import normalise
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
    """A label of a file that looks like another one, and whether it is read as that one. `rows` have it, as far as they are counted; `why` says by what they differ."""

    label: str
    into: str
    rows: int | None
    why: str
    chosen: bool

    @property
    def value(self) -> str:
        """What the form sends for it."""
        return json.dumps({self.label: self.into}, ensure_ascii=False)

    @property
    def key(self) -> str:
        return key_of(self.value)


def key_of(text: str) -> str:
    """Tells one label from another, in an element's id."""
    return f"{crc32(text.encode()):08x}"


def merges(upload: Upload, report: Mapping[str, Any], beside: Beside | None) -> list[Merge]:
    """What was merged, then what could be: labels that look like one of the version that the file goes onto, or like each other, the subtlest difference first."""
    rows: Mapping[str, int] = report.get("outputs") or {}
    before: Mapping[str, int] = report.get("merged") or {}
    counted = bool(report.get("complete"))
    found = [
        Merge(label, into, before.get(label, 0) if counted else None, "", chosen=True) for label, into in sorted((upload.options.get("labels") or {}).items())
    ]
    if beside is None and not are_labels(rows):
        return found
    known = beside.alike if beside is not None else {}
    found += [Merge(label, into, rows[label], "", chosen=False) for label, into in known.items()]
    for group, why in look_alike_groups(label for label in rows if label not in known):
        told = {one.label for one in found}
        found += [Merge(label, into, rows[label], why, chosen=False) for label, into in merged([(group, why)], rows).items() if label not in told]
    return found


def displays_refused(upload: Upload, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why the display texts cannot be as they were typed, with the `labels` whose text that is; none when they can, or while the labels are not all known."""
    said: Mapping[str, str] = upload.cut.get("displays") or {}
    try:
        written(said, report.get("outputs") or {})
    except Invalid as error:
        refused = str(error.detail.get("label"))
        text = normalise(said.get(refused, refused))
        return error.as_dict() | {"labels": [label for label, typed in said.items() if label == refused or normalise(typed) == text]}
    return None
