"""Telling names from data: whether the first record of a table is its header."""

from collections.abc import Sequence

from app.readers.columns import is_known_name


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """A first record is data, not names, when one of its values is also a value further down in the same column."""
    if not records or any(is_known_name(cell) for cell in records[0]):
        return True
    return not any(cell.strip() and any(index < len(row) and cell == row[index] for row in records[1:]) for index, cell in enumerate(records[0]))
