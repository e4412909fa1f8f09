"""From a dataset's version to its next one: the changes there are, and how a row's split follows its content for ever.

A change says what becomes of each row of the older version. It never touches that version; app/services/versions.py copies
it row by row through the change into a new one. Rows that come in new, or get their first label, are placed by app/domain/placing.py.
"""

from array import array
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from app.domain.dataset import SEALED, Dataset, DatasetVersion, Example, closed, known_by
from app.domain.label_book import LabelBook, label_text
from app.domain.placing import HELD_OUT
from app.domain.splits import SHARES, shares_wanted
from app.errors import Conflict, Invalid, Sealed

WISHES = {split: f"?{split}" for split in ("", "train", "validation", "test", "reserve")}
"""What stands in a draft for the split of a row that is still to be placed: "?", or "?train" for one that wishes to train."""

KEYS_AT_ONCE = 500

TOLD = 50
"""Labels that a version names of those its book was rewritten about."""


class Values(TypedDict):
    """One row on its way from one version to the next. `id` is its id in the older one, or 0 for a new row."""

    id: int
    position: int
    line: int | None
    split: str
    input: str
    output: str | None
    cells: dict[str, Any] | None
    content_key: int
    added_in: int
    given: str | None


class Change(Protocol):
    """What is done to every row of the older version. Never keeps a reference to a database."""

    @property
    def kind(self) -> str: ...

    def told(self) -> dict[str, Any]:
        """What the version remembers of the change, as JSON, beside its kind, reason and counts."""
        ...

    def on(self, row: Values) -> Values | None:
        """The row of the new version; the same object when nothing changes, None when the row is left out."""
        ...


@dataclass(frozen=True)
class Keep:
    """Every row as it is: for what changes beside rows, and for appending."""

    kind: str = "keep"
    about: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        return dict(self.about)

    def on(self, row: Values) -> Values | None:
        return row


@dataclass(frozen=True)
class Drop:
    """Leave rows out, by their ids in the older version."""

    rows: AbstractSet[int]
    kind: str = "drop"

    def told(self) -> dict[str, Any]:
        return {"rows": len(self.rows)}

    def on(self, row: Values) -> Values | None:
        return None if row["id"] in self.rows else row


@dataclass(frozen=True)
class Relabel:
    """Give labels another key; two that become one are merged, and None takes a label away. {"Refund": "refund", "N/A": None}

    A sealed row that loses its label leaves the version: among the unlabelled ones everybody could read it.
    """

    labels: Mapping[str, str | None]
    kind: str = "relabel"

    def told(self) -> dict[str, Any]:
        return {"labels": dict(self.labels)}

    def on(self, row: Values) -> Values | None:
        output = row["output"]
        if output is None or output not in self.labels:
            return row
        other = self.labels[output]
        if other is None and row["split"] in SEALED:
            return None
        return {**row, "output": other, "split": "unlabelled" if other is None else row["split"]}


@dataclass(frozen=True)
class Move:
    """Put rows into another split, by their ids in the older version. Rows without an output stay where they are."""

    rows: AbstractSet[int]
    split: str
    kind: str = "move"

    def told(self) -> dict[str, Any]:
        return {"rows": len(self.rows), "split": self.split}

    def on(self, row: Values) -> Values | None:
        return {**row, "split": self.split} if row["id"] in self.rows and row["output"] is not None else row


@dataclass(frozen=True)
class Gather:
    """Put rows that say nearly the same on one side: each into its split, by its id in the older version (app/services/gathering.py)."""

    splits: Mapping[int, str]
    kind: str = "gather"

    def told(self) -> dict[str, Any]:
        return {"rows": len(self.splits)}

    def on(self, row: Values) -> Values | None:
        split = self.splits.get(row["id"])
        return row if split is None or row["output"] is None else {**row, "split": split}


@dataclass(frozen=True)
class Edit:
    """Other outputs for rows, by their ids in the older version; None takes a label away.

    A row that gets its first label is placed like a new one: it wishes for the split that its file gave it. Those in `assisted` (a model
    proposed the label) wish to train: scores on labels that a model proposed would flatter it.
    """

    outputs: Mapping[int, str | None]
    assisted: AbstractSet[int] = frozenset()
    kind: str = "edit"

    def told(self) -> dict[str, Any]:
        return {"rows": len(self.outputs), "assisted": len(self.assisted)}

    def on(self, row: Values) -> Values | None:
        if row["id"] not in self.outputs or self.outputs[row["id"]] == row["output"]:
            return row
        output = self.outputs[row["id"]]
        if output is None:
            return {**row, "output": None, "split": "unlabelled"}
        wish = WISHES["train" if row["id"] in self.assisted else row["given"] or ""]
        return {**row, "output": output, "split": wish if row["split"] == "unlabelled" else row["split"]}


@dataclass(frozen=True)
class Rewrite:
    """Another label book over the same rows. `checked` it first (app/domain/label_book.py)."""

    book: LabelBook
    written: Sequence[str]
    """The keys of the labels that something else is said about."""
    kind: str = "label_book"

    def told(self) -> dict[str, Any]:
        return {"written": list(self.written[:TOLD]), "entries": len(self.written)}

    def on(self, row: Values) -> Values | None:
        return row


def book_after(change: Change, book: LabelBook) -> LabelBook:
    """The label book of the version that a change makes."""
    if isinstance(change, Rewrite):
        return change.book
    return book.renamed(change.labels) if isinstance(change, Relabel) else book


def newest(session: Session, version: DatasetVersion) -> None:
    """Raises Conflict when a later version of the dataset has been sealed: a change of an older one would undo it unseen."""
    query = select(DatasetVersion.number).where(DatasetVersion.dataset_id == version.dataset_id, DatasetVersion.sealed_at.is_not(None))
    number = session.scalar(query.order_by(DatasetVersion.number.desc()).limit(1))
    if number is not None and number != version.number:
        raise Conflict("newer_version", f"Version {number} is newer than version {version.number}.", f"Look at version {number} first, then change that one.")


def known_splits(session: Session, dataset_id: int, keys: Sequence[int]) -> dict[int, str]:
    """Where these contents stood last, in any sealed version of the dataset. Contents that were never labelled are missing."""
    found: dict[int, str] = {}
    sealed = select(DatasetVersion.id).where(DatasetVersion.dataset_id == dataset_id, DatasetVersion.sealed_at.is_not(None))
    wanted = array("q", sorted(keys))
    for version_id in session.scalars(sealed.order_by(DatasetVersion.number)).all():
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            mine = known_by(session, version_id, {*wanted[start : start + KEYS_AT_ONCE]})
            found.update((key, split) for key, split in session.execute(select(Example.content_key, Example.split).where(mine, Example.split.in_(HELD_OUT))))
    return found


def shares_of(session: Session, version: DatasetVersion) -> tuple[float, float, float]:
    """How new rows are cut between train, validation and test: as the dataset's first rows were, so that a row at a time comes to the same as all at once."""
    mapping, members = version.origin.get("mapping"), (version.origin.get("detected") or {}).get("members")
    if mapping and mapping.get("split") is None and not members:
        return shares_wanted((version.origin.get("cut") or {}).get("splits"))
    numbered = select(DatasetVersion.splits).where(DatasetVersion.dataset_id == version.dataset_id, DatasetVersion.sealed_at.is_not(None))
    for splits in session.scalars(numbered.order_by(DatasetVersion.number)):
        if total := sum(counts := [splits.get(split, 0) for split in SHARES]):
            return counts[0] / total, counts[1] / total, counts[2] / total
    return shares_wanted(None)


def permitted(session: Session, version: DatasetVersion, change: Change, dataset: Dataset) -> None:
    """Raises Invalid for rows moved where they may not go and for outputs that no row may have, Sealed where a change by hand names rows that
    nobody may see.

    A test split only grows by rows that nobody has trained on, so nothing is moved into one that exists.
    """
    if isinstance(change, Move) and change.split not in ("train", "validation", "test"):
        raise Invalid("unknown_split", f"Rows are not moved to {change.split}.", "Choose train, validation or test.")
    if isinstance(change, Move) and change.split == "test" and version.splits.get("test"):
        message = f"{dataset.name} has a test split already, and models may have trained on these rows."
        raise Invalid("into_test", message, "Append new rows instead: their share goes to the test split.")
    for output in _outputs(version, change):
        label_text(output)
    if isinstance(change, Move | Edit) and sealed_rows(session, version, change.rows if isinstance(change, Move) else change.outputs.keys()):
        raise Sealed


def _outputs(version: DatasetVersion, change: Change) -> list[str]:
    """The outputs that a change names, without those that the version has already: whatever those are, they can be given another name."""
    if isinstance(change, Edit):
        return [output for output in change.outputs.values() if output is not None]
    named, book = [*change.labels, *change.labels.values()] if isinstance(change, Relabel) else [], version.book
    return [output for output in named if output is not None and book.get(output) is None]


def sealed_rows(session: Session, version: DatasetVersion, rows: AbstractSet[int]) -> int:
    """How many of these rows stand in a split whose rows nobody may see now."""
    shut = closed(version)
    wanted = sorted(rows)
    found = 0
    for start in range(0, len(wanted) if shut else 0, KEYS_AT_ONCE):
        part = wanted[start : start + KEYS_AT_ONCE]
        mine = select(func.count()).where(Example.version_id == version.id, Example.id.in_(part), Example.split.in_(shut))
        found += session.scalar(mine) or 0
    return found


@dataclass(frozen=True)
class SetAside:
    """Put test rows into the reserve, by their ids in the older version."""

    rows: AbstractSet[int]
    kind: str = "reserve"

    def told(self) -> dict[str, Any]:
        return {"rows": len(self.rows)}

    def on(self, row: Values) -> Values | None:
        return {**row, "split": "reserve"} if row["id"] in self.rows else row


def same_rows(session: Session, older: DatasetVersion, newer: DatasetVersion, split: str = "test") -> list[tuple[int, int]]:
    """The rows that stand in a split of both versions with the same text and output: (id in the older, id in the newer) each.

    Whatever is compared across versions is compared on these: rows that came, went or changed in between would speak for one side.
    """
    a, b = aliased(Example), aliased(Example)
    query = select(a.id, b.id).where(a.version_id == older.id, a.split == split).join(b, same_row(a, b, newer.id))
    query = query.where(b.split == split, b.output.is_not_distinct_from(a.output), b.input == a.input)
    return [(first, second) for first, second in session.execute(query.order_by(a.position))]


def same_row(a: type[Example], b: type[Example], version_id: int) -> ColumnElement[bool]:
    """What joins a row to itself in another version: its content and its position, which are its own for ever."""
    return (b.version_id == version_id) & (b.stretch == a.stretch) & (b.content_key == a.content_key) & (b.position == a.position)
