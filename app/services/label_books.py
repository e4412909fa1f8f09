"""The label book of a dataset version: look things up in it, propose display texts, rewrite it into the next version."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from app.db import reading
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.label_book import Label, LabelBook, Proposal, checked, proposals
from app.domain.lineage import Rewrite
from app.domain.scoring import normalise
from app.domain.upload import Upload
from app.errors import Invalid
from app.services import changing
from app.services.datasets import DatasetView

CHANGEABLE = ("display", "description", "aliases", "parent", "retired", "none")


@dataclass(frozen=True)
class BookView:
    """A dataset version with its book, and what could be proposed for labels without a display text of their own."""

    dataset: Dataset
    version: DatasetVersion
    book: LabelBook
    proposals: list[Proposal]


def find(person: Who, reference: int | str) -> BookView:
    with reading() as session:
        version = datasets.find(session, person, reference)
        dataset = session.get_one(Dataset, version.dataset_id)
    book = version.book
    columns = _following(version) if any(label.display == label.key for label in book.labels) else {}
    names = version.origin.get("label_names") or ()
    return BookView(dataset, version, book, proposals(book, columns, names))


def search(book: LabelBook, text: str = "") -> list[Label]:
    """The labels whose key, display text, aliases or description hold a text, whatever its case."""
    wanted = normalise(text, casefold=True)
    if not wanted:
        return list(book.labels)
    said = ((label, (label.key, label.display, label.description, *label.aliases)) for label in book.labels)
    return [label for label, texts in said if any(wanted in normalise(one, casefold=True) for one in texts)]


def _following(version: DatasetVersion) -> dict[str, dict[str, str]]:
    """The columns whose cell follows from the label, one to one: {"kind": {"0": "negative", "1": "positive"}}. Sealed rows are not asked."""
    told: dict[str, dict[str, str]] = {}
    broken: set[str] = set()
    with reading() as session:
        query = select(Example.output, Example.cells).where(Example.version_id == version.id, Example.output.is_not(None), Example.cells.is_not(None))
        for output, cells in session.execute(query.where(Example.split.not_in(datasets.SEALED)).execution_options(yield_per=1000)):
            for name, cell in (cells or {}).items():
                if name not in broken and told.setdefault(name, {}).setdefault(output or "", cell) != cell:
                    broken.add(name)
    return {name: cells for name, cells in told.items() if name not in broken and len(set(cells.values())) == len(cells) > 1}


def rewrite(person: Who, reference: int | str, changes: Sequence[Mapping[str, Any]], removed: Collection[str] = (), reason: str = "") -> DatasetView | Upload:
    """The next version, or the upload that makes it: the same rows under another book. Each change is {"key", and what is said anew}; a key that is new is added.

    Raises Invalid naming the label that cannot be, or when nothing would change; Conflict when `reference` is not the newest version.
    """
    with reading() as session:
        version = datasets.find(session, person, reference)
    before = version.book
    labels = {label.key: label for label in before.labels}
    for change in changes:
        key = str(change["key"])
        label = labels.get(key) or Label(key, key, added=True)
        said = {name: change[name] for name in CHANGEABLE if name in change}
        labels[key] = replace(label, **(said | ({"aliases": tuple(said["aliases"])} if "aliases" in said else {})))
    for key in removed:
        labels.pop(key, None)
    if not before and not labels:
        raise Invalid("no_label_set", f"Version {version.number} has free text as outputs.", "A label book needs labels.")
    book = checked(LabelBook(tuple(labels.values())), {label.key: label.count for label in before.labels if label.count})
    written = [label.key for label in book.labels if label != before.get(label.key)] + [label.key for label in before.labels if book.get(label.key) is None]
    if not written:
        raise Invalid("nothing_changes", "The label book already says that.", "Change something first.")
    return changing.change(person, reference, Rewrite(book, written), reason)
