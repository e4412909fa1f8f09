"""Near-duplicates of a sealed version of any size: looked for once, by its chore, in bounded memory; health asks here, too."""

import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from app.db import reading, transaction
from app.domain.chore import NearDuplicate
from app.domain.dataset import Example
from app.readers.near_duplicates import Sketches, groups_of
from app.services import held
from app.services.pacing import Pace
from app.settings import settings

if TYPE_CHECKING:
    from app.services.chores import Work

SKETCHES = "near-"
"""The beginning of a folder's name."""

SKETCHING = 0.8
"""The share of the work that goes into sketches."""

Place = tuple[str, int]
"""A row: its split and position."""


@contextmanager
def sketching() -> Iterator[Sketches]:
    """Sketches on disk, gone in the end: 400 bytes a row or so."""
    settings().folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=settings().folder, prefix=SKETCHES) as name, held.held(Path(name)), closing(Sketches(Path(name))) as sketches:
        yield sketches


def sweep() -> int:
    """Remove the sketches of processes that were killed. Returns how many had left some."""
    return held.sweep(settings().folder, f"{SKETCHES}*")


def find(work: "Work") -> dict[str, Any]:
    """Groups of rows that say nearly the same, stored as NearDuplicate. `leaking` rows of validation, test and reserve have one of train in their group."""
    places = Places(list(work.version.splits))
    with sketching() as sketches:
        for found in work.rows():
            for row in found:
                places.add(row.split, row.position)
            sketches.add([row.input for row in found])
            work.tell(int(SKETCHING * len(places)))
        text = _text(work.version.id, places)
        roots = sketches.roots(text, tell=lambda share: work.tell(int((SKETCHING + (1 - SKETCHING) * share) * len(places))))
    groups = [[places[row] for row in rows] for rows in groups_of(roots)]
    _store(work, groups)
    leaking = sum(1 for group in groups if any(split == "train" for split, _ in group) for split, _ in group if split in ("validation", "test", "reserve"))
    return {"groups": len(groups), "rows": sum(map(len, groups)), "leaking": leaking}


def groups(version_id: int) -> list[list[int]]:
    """The positions of rows that say nearly the same, as the chore stored them."""
    with reading() as session:
        query = select(NearDuplicate.group, NearDuplicate.position).where(NearDuplicate.version_id == version_id)
        found: dict[int, list[int]] = {}
        for group, position in session.execute(query.order_by(NearDuplicate.position)):
            found.setdefault(group, []).append(position)
    return list(found.values())


class Places(Sequence[Place]):
    """The place of every row in the order of the walk: 9 bytes each."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._splits, self._positions = list(names), array("b"), array("q")

    def add(self, split: str, position: int) -> None:
        self._splits.append(self._names.index(split))
        self._positions.append(position)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, row: Any) -> Any:
        return self._names[self._splits[row]], self._positions[row]


def _text(version_id: int, places: Places) -> Callable[[int], str]:
    def text(row: int) -> str:
        split, position = places[row]
        query = select(Example.input).where(Example.version_id == version_id, Example.split == split, Example.position == position)
        with reading() as session:
            return session.scalar(query) or ""

    return text


def _store(work: "Work", groups: Iterable[Sequence[Place]]) -> None:
    """The groups, in short writes; what an earlier try has stored goes first."""
    pace, gone = Pace(), 1
    mine = NearDuplicate.version_id == work.version.id
    while gone:
        with transaction() as session:
            some = select(NearDuplicate.position).where(mine).limit(pace.size)
            gone = session.execute(
                delete(NearDuplicate).where(mine, NearDuplicate.position.in_(some)), execution_options={"synchronize_session": False}
            ).rowcount  # type: ignore[attr-defined]
    rows = [{"version_id": work.version.id, "position": position, "group": min(at for _, at in group)} for group in groups for _, position in group]
    start = 0
    while start < len(rows):
        size = pace.size
        with transaction() as session:
            work.check(session)
            began = time.perf_counter()
            session.execute(insert(NearDuplicate), rows[start : start + size])
        pace.took(size, time.perf_counter() - began)
        start += size
