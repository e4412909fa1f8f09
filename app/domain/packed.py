"""Many numbers in few bytes: the ids of a finding's rows may be those of all rows, and no write is to be long. Pure."""

import base64
import zlib
from array import array
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

FEW = 1_000
"""So many stand in the row as they are."""


def packed(numbers: Iterable[int]) -> Any:
    """The numbers as JSON, in their order: how far each is from the one before, compressed."""
    found = list(numbers)
    if len(found) <= FEW:
        return found
    steps = array("q", [found[0], *(after - before for before, after in pairwise(found))])
    return {"packed": base64.b64encode(zlib.compress(steps.tobytes(), 1)).decode(), "numbers": len(found)}


def unpacked(kept: Any) -> list[int]:
    """The numbers again."""
    if isinstance(kept, list):
        return kept
    steps = array("q")
    steps.frombytes(zlib.decompress(base64.b64decode(kept["packed"])))
    return list(accumulate(steps))


def how_many(kept: Any) -> int:
    return len(kept) if isinstance(kept, list) else int(kept["numbers"])
