"""Near-duplicates of a version of any size, in bounded memory: MinHash sketches in bands on disk, each band sorted, every pair confirmed exactly.

The same sketches and the same threshold as `readers.near_duplicates`, which holds a small file's in memory. A million rows take 256 MB of
disk while it runs and about 60 MB of memory.
"""

import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from app.db import reading, transaction
from app.domain.chore import NearDuplicate
from app.domain.dataset import Example
from app.domain.scoring import normalise
from app.readers.near_duplicates import BANDS, PERMUTATIONS, THRESHOLD, shingles, similar
from app.services.pacing import Pace
from app.settings import settings

if TYPE_CHECKING:
    from app.services.chores import Work

LOOKED_AT = 2_000
"""Characters of a text that are compared."""

COMPARED = 8
"""Texts of one band's heap that a further one is compared with; keeps templated texts from costing quadratic time."""

SKETCHING = 0.8
"""The share of the work that goes into sketches."""

Place = tuple[str, int]
"""A row: its split and position."""


def find(work: "Work") -> dict[str, Any]:
    """Groups of rows that say nearly the same, stored as NearDuplicate. `leaking` rows of validation, test and reserve have one of train in their group."""
    settings().folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=settings().folder, prefix="near-") as name:
        places = _sketch(work, Path(name))
        roots = _joined(work, Path(name), places)
    groups: dict[int, list[Place]] = {}
    sizes = Counter(roots)
    for row, root in enumerate(roots):
        if sizes[root] > 1:
            groups.setdefault(root, []).append(places[row])
    _store(work, groups.values())
    leaking = sum(
        1 for group in groups.values() if any(split == "train" for split, _ in group) for split, _ in group if split in ("validation", "test", "reserve")
    )
    return {"groups": len(groups), "rows": sum(map(len, groups.values())), "leaking": leaking}


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


def seen(text: str) -> str:
    """What of a text is compared."""
    return normalise(text[: 2 * LOOKED_AT], casefold=True)[:LOOKED_AT]


def _sketch(work: "Work", folder: Path) -> Places:
    """Every row's bands, each band in a file of its own: 8 bytes a row."""
    import numpy as np
    from rensa import RMinHash

    places = Places(list(work.version.splits))
    files = [(folder / str(band)).open("wb") for band in range(BANDS)]
    try:
        for found in work.rows():
            for row in found:
                places.add(row.split, row.position)
            sets = [sorted(shingles(seen(row.input))) for row in found]
            digests = np.asarray(RMinHash.digests_from_token_sets(sets, PERMUTATIONS, 42), dtype=np.uint64).reshape(len(found), BANDS, -1)
            keys = np.zeros((len(found), BANDS), dtype=np.uint64)
            for part in range(digests.shape[2]):
                keys = keys * np.uint64(0x9E3779B97F4A7C15) + digests[:, :, part] * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(1)
            for band, file in enumerate(files):
                file.write(np.ascontiguousarray(keys[:, band]).tobytes())
            work.tell(int(SKETCHING * len(places)))
    finally:
        for file in files:
            file.close()
    return places


def _joined(work: "Work", folder: Path, places: Places) -> Sequence[int]:
    """For each row a number that similar rows share: disjoint sets with path halving."""
    roots = array("q", range(len(places)))

    def root(row: int) -> int:
        while roots[row] != row:
            roots[row] = row = roots[roots[row]]
        return row

    texts = _texts(work.version.id)
    for band in range(BANDS):
        for heap in _heaps(folder / str(band)):
            _join(heap, root, roots, lambda row: texts(*places[row]))
        work.tell(int((SKETCHING + (1 - SKETCHING) * (band + 1) / BANDS) * len(places)))
    return [root(row) for row in range(len(places))]


def _heaps(path: Path) -> Iterator[list[int]]:
    """Rows that have the same key in a band, where there are several."""
    import numpy as np

    keys = np.fromfile(path, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(keys)]))
    several = ends - starts > 1
    for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
        yield order[start:end].tolist()


def _join(heap: Sequence[int], root: Any, roots: "array[int]", text: Any) -> None:
    apart = [heap[0]]
    for row in heap[1:]:
        mine = root(row)
        if any(root(other) == mine for other in apart):
            continue
        cells = shingles(text(row))
        like = next((other for other in apart if similar(cells, shingles(text(other)), THRESHOLD)), None)
        if like is not None:
            first, second = sorted((root(like), mine))
            roots[second] = first
        elif len(apart) < COMPARED:
            apart.append(row)


def _texts(version_id: int) -> Any:
    @lru_cache(maxsize=4_000)
    def text(split: str, position: int) -> str:
        query = select(Example.input).where(Example.version_id == version_id, Example.split == split, Example.position == position)
        with reading() as session:
            return seen(session.scalar(query) or "")

    return text


def _store(work: "Work", groups: Any) -> None:
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
