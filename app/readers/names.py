"""Names: a first record that is data and no header, a file called something else than it is, and files that are called like splits."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath

from app.readers import Detected, Note, Split
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


_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "development": "validation", "test": "test", "testing": "test", "reserve": "reserve",
}  # fmt: skip
_EVALUATION = ("eval", "evaluation")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SUFFIX = re.compile(r"(?<=.)(set|data|split)$")


def splits_of(names: Iterable[str]) -> dict[str, Split]:
    """Which split each of these files seems to be, by the words of its name, else of its folders; those whose names say nothing, or two things, are missing.

    What is called eval is validation, unless something else is and nothing is called test.
    """
    words = {name: word for name in names if (word := _split_word(name))}
    kinds = {_SPLITS.get(word) for word in words.values()}
    evaluation: Split = "test" if "validation" in kinds and "test" not in kinds else "validation"
    return {name: _SPLITS.get(word, evaluation) for name, word in words.items()}


def _split_word(name: str) -> str:
    """The word in a path that says which split the file is: "train", "dev", "eval"."""
    for part in reversed(PurePosixPath(name).parts):
        words = [_SUFFIX.sub("", word.lower()) for word in _WORD.findall(part)]
        found = [word for word in words if word in _SPLITS or word in _EVALUATION]
        if found:
            return found[0] if len({_SPLITS.get(word, word) for word in found}) == 1 else ""
    return ""
