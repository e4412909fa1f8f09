"""What a misspelt variable is told: the names that exist, and the one that was probably meant. Pure."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

LIKE = 0.6
"""How alike two names are at least (difflib's ratio) for one to be proposed in place of the other."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, whatever its case; none when nothing is like it."""
    known = {one.casefold(): one for one in sorted(names, reverse=True)}
    found = get_close_matches(name.casefold(), known, 1, LIKE)
    return known[found[0]] if found else None


def advice(missing: Collection[str], names: Collection[str]) -> str:
    """What to do about variables that do not exist: the nearest names, then all of them."""
    meant = [near for name in missing if (near := nearest(name, names))]
    proposed = f"Did you mean {' and '.join(braced(dict.fromkeys(meant)))}? " if meant else ""
    return f"{proposed}Available here: {', '.join(braced(sorted(names))) or 'none'}."


def braced(names: Iterable[str]) -> list[str]:
    return ["{" + name + "}" for name in names]
