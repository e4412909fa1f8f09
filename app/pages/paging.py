"""A list in pages: where the one before and the one after are."""

from collections.abc import Callable
from typing import Any


def from_start(offset: int, size: int) -> int:
    """The first row of the page that holds the row at `offset`."""
    return max(0, offset) // size * size


def pager(noun: str, offset: int, size: int, shown: int, total: int, place: Callable[[int], str], beyond: str = "") -> dict[str, Any]:
    """What shared/_pagination.html draws under `shown` of `total` rows from `offset` on; `place` is the address of a page by its first row. `beyond` stands
    before a total that is not all there is: "more than", "at least"."""
    return {
        "noun": noun,
        "first": min(offset + 1, total),
        "last": offset + shown,
        "total": total,
        "beyond": beyond,
        "previous": place(max(0, offset - size)) if offset else None,
        "next": place(offset + size) if offset + size < total else None,
    }
