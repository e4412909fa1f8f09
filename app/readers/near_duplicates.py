"""Texts that say the same with a letter changed: found by MinHash, confirmed exactly. The one place that looks for them, in memory or on disk.

Shingles are 5 characters, the length that Leskovec, Rajaraman and Ullman take for short texts (Mining of Massive Datasets,
3.2); similar means a Jaccard similarity of 0.8, the threshold of Lee et al. 2022 (Deduplicating Training Data Makes Language
Models Better). Word shingles are too coarse here: one word changed in a question of eight leaves a third of its 3-word shingles.
"""

import hashlib
import io
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from app.domain.scoring import normalise

THRESHOLD = 0.8
SHINGLE = 5
PERMUTATIONS, BANDS = 128, 32
"""32 bands of 4 rows propose a pair at similarity 0.8 with a probability of 0.9999998: 1 - (1 - 0.8**4)**32."""

PROMISING = 0.65 * PERMUTATIONS
"""Equal digests of a pair that is looked at exactly: at similarity 0.8 they are fewer with a probability of 0.00002 (binomial)."""

LOOKED_AT = 20_000
"""Characters of a text that are compared when it is not the same as another one from its beginning to its end."""

BLOCK = 64
"""Texts of one band's heap that are compared with each other at once, and most that stand for those before them: templated texts cost no quadratic time."""

TRIES = 4
"""Promising texts that a text is compared with exactly in one heap, the most promising first."""

BATCH = 500_000
"""Characters that are sketched at once."""

PARTS = 8
"""A band is looked at in so many parts, by the first bits of its keys: one sorted as a whole, with all its digests, takes 190 bytes a text."""

READ = 16_384
"""Texts whose digests are read at once: 2 MB."""

PAIRS = 20_000
"""Pairs of texts whose digests are compared at once."""


class Sketches:
    """The sketches of texts, numbered as they come. 392 bytes a text, in files of `folder` or, without one, in memory; close it after use."""

    def __init__(self, folder: Path | None = None) -> None:
        names = ["same", "digests", *(f"band {band}" for band in range(BANDS))]
        self._files: dict[str, IO[bytes]] = {name: (folder / name).open("w+b") if folder else io.BytesIO() for name in names}
        self.count = 0

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def add(self, texts: Sequence[str]) -> None:
        """The next texts."""
        batch: list[str] = []
        size = 0
        for text in texts:
            batch.append(normalise(text, casefold=True))
            size += min(len(batch[-1]), LOOKED_AT)
            if size > BATCH:
                self._sketch(batch)
                batch, size = [], 0
        if batch:
            self._sketch(batch)

    def _sketch(self, texts: Sequence[str]) -> None:
        import numpy as np
        from rensa import RMinHash

        self.count += len(texts)
        self._files["same"].write(b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts))
        sets = [list(shingles(text[:LOOKED_AT])) for text in texts]
        digests = np.asarray(RMinHash.digests_from_token_sets(sets, PERMUTATIONS, 42), dtype=np.uint64).reshape(len(texts), BANDS, -1)
        # The lowest byte of each digest tells how promising a pair is; equal ones by chance are one in 256.
        self._files["digests"].write(digests.astype(np.uint8).tobytes())
        keys = np.zeros((len(texts), BANDS), dtype=np.uint64)
        for part in range(digests.shape[2]):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + digests[:, :, part] * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(1)
        for band in range(BANDS):
            self._files[f"band {band}"].write(np.ascontiguousarray(keys[:, band]).tobytes())

    def _read(self, name: str, kind: Any) -> Any:
        """One of the files as an array."""
        import numpy as np

        file = self._files[name]
        if isinstance(file, io.BytesIO):
            return np.frombuffer(file.getbuffer(), dtype=kind)
        file.flush()
        return np.fromfile(file.name, dtype=kind)

    def roots(self, text: Callable[[int], str], since: int = 0, tell: Callable[[float], None] = lambda _: None) -> Sequence[int]:
        """For each text a number that similar texts share. `text` gives one of them again; `tell` hears what share of the work is done.

        With `since` only what links a text from that number on is looked for.
        """
        import numpy as np

        if not self.count:
            return []
        found = _Sets(self.count)
        wanted = np.arange(self.count) >= since
        alone = np.ones(self.count, dtype=bool)
        for heap in _heaps(self._read("same", np.uint64), np.arange(self.count), wanted):
            for row in heap[1:]:
                found.join(heap[0], row)
            wanted[heap[0]] = True
            alone[heap[1:]] = False
        order = np.flatnonzero(alone)
        digests = _Digests(self._files["digests"])

        @lru_cache(maxsize=BLOCK)
        def cells(row: int) -> set[str]:
            return shingles(normalise(text(row), casefold=True)[:LOOKED_AT])

        for band in range(BANDS):
            for heap in _heaps(self._read(f"band {band}", np.uint64)[order], order, wanted, digests):
                _link(heap, found, digests, cells)
            tell((band + 1) / BANDS)
        return array("q", (found.root(row) for row in range(self.count)))


class _Sets:
    """Disjoint sets with path halving; a set's root is the smallest number in it."""

    def __init__(self, count: int) -> None:
        self._roots = array("q", range(count))

    def root(self, row: int) -> int:
        roots = self._roots
        while roots[row] != row:
            roots[row] = row = roots[roots[row]]
        return row

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._roots[second] = first


class _Digests:
    """The digests of the rows at hand. A file is no map in memory: the pages that were looked at would stay, and in the end that is the whole file."""

    def __init__(self, file: IO[bytes]) -> None:
        file.flush()
        self._file = file
        self._rows: Any = None
        self._held: Any = None

    def hold(self, rows: Any) -> None:
        """Have those of these rows at hand, and no others: read block by block, in the order of the file."""
        import numpy as np

        self._rows = np.unique(rows)
        self._held = np.empty((len(self._rows), PERMUTATIONS), np.uint8)
        for block in np.unique(self._rows // READ).tolist():
            start, end = np.searchsorted(self._rows, (block * READ, (block + 1) * READ)).tolist()
            self._file.seek(block * READ * PERMUTATIONS)
            found = np.frombuffer(self._file.read(READ * PERMUTATIONS), np.uint8).reshape(-1, PERMUTATIONS)
            self._held[start:end] = found[self._rows[start:end] - block * READ]

    def __getitem__(self, rows: Any) -> Any:
        import numpy as np

        return self._held[np.searchsorted(self._rows, rows)]


def _heaps(keys: Any, rows: Any, wanted: Any, digests: _Digests | None = None) -> Iterator[list[int]]:
    """Rows that have the same key, where there are several and one of them is wanted; each heap in order. With `digests`, heaps where it is worth to look."""
    import numpy as np

    parts = keys // np.uint64(2**64 // PARTS) if len(keys) > PAIRS else np.zeros(len(keys), np.uint64)
    for part in np.unique(parts):
        mine = np.flatnonzero(parts == part)
        mine = mine[np.argsort(keys[mine], kind="stable")]
        edges = np.flatnonzero(np.diff(keys[mine])) + 1
        mine = rows[mine]
        starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(mine)]))
        several = (ends - starts > 1) & np.logical_or.reduceat(wanted[mine], starts)
        if digests is not None:
            digests.hold(mine[np.repeat(several, ends - starts)])
        starts, ends = starts[several], ends[several]
        if digests is not None:
            looked_at = _promising(mine, starts, ends - starts, digests)
            starts, ends = starts[looked_at], ends[looked_at]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield mine[start:end].tolist()


def _promising(rows: Any, starts: Any, sizes: Any, digests: _Digests) -> Any:
    """Of heaps, given by where they start and how long they are, whether a pair of theirs has enough equal digests (most have none), or they are too long to say."""
    import numpy as np

    found = sizes > BLOCK
    for apart in range(1, BLOCK):
        heaps = np.flatnonzero(~found & (sizes > apart))
        if not len(heaps):
            break
        pairs = sizes[heaps] - apart
        heap = np.repeat(heaps, pairs)
        first = np.arange(len(heap)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + starts[heap]
        for start in range(0, len(first), PAIRS):
            one = first[start : start + PAIRS]
            equal = np.count_nonzero(digests[rows[one]] == digests[rows[one + apart]], axis=1)
            found[heap[start : start + PAIRS][equal >= PROMISING]] = True
    return found


def _link(heap: Sequence[int], found: _Sets, digests: _Digests, cells: Callable[[int], set[str]]) -> None:
    """Join the rows of a heap that are similar: a block at a time, with one row for each set that there is so far."""
    import numpy as np

    first = found.root(heap[0])
    if all(found.root(row) == first for row in heap):
        return
    standing: list[int] = []
    for start in range(0, len(heap), BLOCK):
        rows = [*standing, *heap[start : start + BLOCK]]
        sketches = digests[rows]
        for at in range(max(1, len(standing)), len(rows)):
            equal = (sketches[:at] == sketches[at]).sum(1)
            promising = np.flatnonzero(equal >= PROMISING)
            _try(rows, at, promising[np.argsort(-equal[promising], kind="stable")].tolist(), found, cells)
        standing = list({found.root(row): row for row in reversed(rows)}.values())[-BLOCK:][::-1]


def _try(rows: Sequence[int], at: int, promising: Sequence[int], found: _Sets, cells: Callable[[int], set[str]]) -> None:
    tries = 0
    for other in promising:
        if found.root(rows[other]) == found.root(rows[at]):
            continue
        if similar(cells(rows[at]), cells(rows[other]), THRESHOLD):
            found.join(rows[at], rows[other])
        elif (tries := tries + 1) == TRIES:
            break


def near_duplicate_groups(texts: Sequence[str]) -> list[list[int]]:
    """Groups of at least two texts by their numbers, in order: linked by exact equality or similarity, ignoring case and white space."""
    sketches = Sketches()
    sketches.add(texts)
    return groups_of(sketches.roots(texts.__getitem__))


def groups_of(roots: Sequence[int]) -> list[list[int]]:
    """The numbers that share a root, where there are several, in order. A root is one of its own group: what stands alone takes no memory."""
    groups: dict[int, list[int]] = {root: [] for number, root in enumerate(roots) if root != number}
    for number, root in enumerate(roots):
        if root in groups:
            groups[root].append(number)
    return sorted(groups.values())


def shingles(text: str) -> set[str]:
    """Every run of SHINGLE characters."""
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def similar(a: set[str], b: set[str], threshold: float = THRESHOLD) -> bool:
    """Whether so large a share of all shingles is in both."""
    shared = len(a & b)
    return shared >= threshold * (len(a) + len(b) - shared)
