"""What is to be done to a dataset's version, and as a file: written by whoever asks for it, read by the importing child that does it to a long one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app.db import reading
from app.domain import annotation as annotations
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.lineage import Change, Drop, Edit, Gather, Move, Relabel, Rewrite, SetAside
from app.services import gathering

KINDS: Mapping[str, type[Any]] = {"drop": Drop, "relabel": Relabel, "move": Move, "gather": Gather, "edit": Edit, "label_book": Rewrite, "reserve": SetAside}


@dataclass(frozen=True)
class Remedy:
    """What a finding would have done, by its code: its rows, which may be all there are, are read by whoever makes the change."""

    code: str
    kind: str
    fixed: int

    def told(self) -> dict[str, Any]:
        return {"rows": self.fixed}


@dataclass(frozen=True)
class Saved:
    """Labels that somebody gave one by one and that a change saves: as far as annotation `last`, at these `positions`. They are forgotten once it is made."""

    last: int
    positions: Sequence[int]


@dataclass(frozen=True)
class Order:
    """A change as it is written down, in JSON; of a remedy, the `finding`."""

    kind: str
    finding: str = ""
    change: str = ""
    saved: Saved | None = None

    def ended(self, session: Session, person: Who, version: DatasetVersion) -> None:
        """In the transaction that seals the version. Raises Conflict when somebody has begun to use rows that would change their side."""
        if self.kind == "gather":
            gathering.check_unused(session, version.dataset_id)
        if self.saved is not None:
            annotations.forget(session, person, version.dataset_id, self.saved.last, self.saved.positions)
            annotations.rest_upon(session, person, version, self.saved.last, self.saved.positions)


def order(change: Change | Remedy, saved: Saved | None = None) -> Order:
    if isinstance(change, Remedy):
        return Order(change.kind, change.code)
    return Order(change.kind, change=msgspec.json.encode(change).decode(), saved=saved)


def written(wanted: Order) -> bytes:
    return msgspec.json.encode(wanted)


def read(path: Path) -> Order:
    return msgspec.json.decode(path.read_bytes(), type=Order)


def change_of(wanted: Order, person: Who, reference: str) -> Change:
    """What is to become of a version's rows. Raises NotFound, Conflict when there is no such remedy."""
    if not wanted.finding:
        made: Change = msgspec.json.decode(wanted.change, type=KINDS[wanted.kind])
        return made
    with reading() as session:
        return findings.find(session, datasets.find(session, person, reference), wanted.finding).change()
