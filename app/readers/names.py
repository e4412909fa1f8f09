"""Names that may mislead: a first record that is data and no header, and a file called something else than it is."""

from collections.abc import Sequence
from pathlib import PurePath

from app.readers import Detected, Note
from app.readers.columns import is_known_name

_SEPARATED = {",": "comma-separated text", ";": "semicolon-separated text", "\t": "tab-separated text", "|": "text separated by '|'"}
_WORDS = {
    "label_lines": "lines of a label and a text",
    "json_lines": "JSON Lines",
    "json": "JSON",
    "parquet": "Parquet",
    "xlsx": "a workbook",
    "gzip": "a gzip file",
    "zip": "a ZIP archive",
}
_MEANT = {
    ".csv": (_SEPARATED[","], _SEPARATED[";"]),
    ".tsv": (_SEPARATED["\t"],),
    ".tab": (_SEPARATED["\t"],),
    ".json": ("JSON",),
    ".jsonl": ("JSON Lines",),
    ".ndjson": ("JSON Lines",),
    ".parquet": ("Parquet",),
    ".xlsx": ("a workbook",),
    ".xlsm": ("a workbook",),
    ".gz": ("a gzip file",),
    ".zip": ("a ZIP archive",),
}


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """A first record is data, not names, when one of its values is also a value further down in the same column."""
    if not records or any(is_known_name(cell) for cell in records[0]):
        return True
    return not any(cell.strip() and any(index < len(row) and cell == row[index] for row in records[1:]) for index, cell in enumerate(records[0]))


def misnamed(filename: str, detected: Detected) -> Note | None:
    """What a person should know when the end of a file's name says something else than its content."""
    ending = PurePath(filename.replace("\\", "/")).suffix.lower()
    if ending not in _MEANT:
        return None
    read_as = _WORDS.get(detected.packing or detected.format) or _SEPARATED.get(detected.delimiter, f"text separated by '{detected.delimiter}'")
    return None if read_as in _MEANT[ending] else Note("misnamed", f"Named {ending}, read as {read_as}.")
