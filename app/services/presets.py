"""How a later file of a dataset is read, unless somebody says otherwise: by the columns of the first one, and as a person chose for that one."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.domain.dataset import DatasetVersion
from app.readers import Detected
from app.readers.columns import SPLIT_NAMES, is_known_name
from app.readers.frames import Broken, Chunk, Found
from app.readers.options import READING, Options
from app.readers.parent import DETECT, read_file
from app.services.upload_files import options_of

Columns = dict[str, str | list[str] | None]
"""Which column of a file is the input (or which ones are), the output and the split."""

CARRIED = tuple(name for name in READING if name not in ("leave_out", "split"))
"""Choices that hold for later files too. That rows are left out, or are all in one split, is said of a very file: the next one may be the test file."""

PLACES = ("member", "members", "sheet", "under")
"""Choices of one table among several: a later file may come without its packing."""

AS_FOUND = {"csv": ("format", "delimiter", "quote", "header"), "xlsx": ("sheet", "header"), "json": ("under",)}
"""What was found of the first file and says how a later one is meant, where the later one alone shows it too little."""


def preset(version: DatasetVersion, path: Path, said: Options = DETECT) -> Options:
    """How this file is read as a later one of a dataset. What a person `said` of it holds; it reads the file's beginning, mostly once.

    What somebody chose for the dataset's first file is kept where the file can be read like that; everything else is detected anew. Where
    that does not find the dataset's columns, what was found of the first file is tried. Raises Invalid as read_file does.
    """
    asked = {name: value for name in READING if (value := getattr(said, name)) not in (None, ())}
    chosen = {name: value for name, value in (version.origin.get("options") or {}).items() if name in CARRIED}
    # Any bytes can be read in an encoding of one byte a character: what spells UTF-8 is taken for it, whatever the first file was.
    if "encoding" in chosen and "encoding" not in asked and (found := _beginning(path, said).detected) and found.unicode:
        del chosen["encoding"]
    if asked.keys() & {"member", "members", "split"}:
        chosen = {name: value for name, value in chosen.items() if name not in ("member", "members")}
    if merges := still_meant(version, chosen.pop("labels", None) or {}):
        chosen["labels"] = merges
    best, most = DETECT, -1
    for kept in _tries(version, chosen, path, said):
        options = replace(options_of(kept | asked), mapping=said.mapping)
        options, fit = _fitted(version, path, options)
        if fit > most:
            best, most = options, fit
        if fit == ALL:
            break
    return best


def still_meant(version: DatasetVersion, labels: Mapping[str, str]) -> dict[str, str]:
    """Of what labels were read as, what the label book has not changed since: the one is no label of it, the other still is."""
    return {label: into for label, into in labels.items() if version.book.get(label) is None and version.book.get(into) is not None}


def columns_for(version: DatasetVersion, path: Path, options: Options) -> Options:
    """The same reading, by the columns of the dataset's first file as far as this one has them."""
    return _fitted(version, path, replace(options, mapping={}))[0]


def _tries(version: DatasetVersion, chosen: dict[str, Any], path: Path, said: Options) -> list[dict[str, Any]]:
    """What to carry over from the first file, the likeliest first."""
    loose = {name: value for name, value in chosen.items() if name not in PLACES}
    detected = version.origin.get("detected") or {}
    found = {name: detected[name] for name in AS_FOUND.get(detected.get("format", ""), ()) if name in detected and (detected[name] != "" or name == "quote")}
    if found.get("header") is False and (named := _beginning(path, said)).detected and named.detected.header and any(map(is_known_name, named.columns)):
        found["first_line"] = named.detected.first_line + 1  # this one has names above its rows, which are no row
    tries: list[dict[str, Any]] = []
    for one in (chosen, loose, found | loose, {}):
        tries += [one] if one not in tries else []
    return tries


ALL, INPUTS, BROKEN, NOT = 3, 2, 1, 0
"""How well a file fits: it has the columns of input and output; that of the input; the same with broken rows among its first; neither."""


def _fitted(version: DatasetVersion, path: Path, options: Options) -> tuple[Options, int]:
    """Options with their columns, and how well the file's beginning fits them. Columns that somebody said are left as they are."""
    wanted = dict(options.mapping) or columns_of(version)
    inputs = {key: name for key, name in wanted.items() if key in ("input", "instruction")}
    # Only the inputs have to be there: what is missing otherwise is no mistake of the reading.
    found = _beginning(path, replace(options, mapping={**inputs, **({"output": None, "split": None} if inputs else {})}))
    there = dict(wanted)
    if not options.mapping and found.columns:
        absent = [key for key in ("output", "split") if wanted.get(key) and wanted[key] not in found.columns]
        there |= dict.fromkeys([*absent, *(["split"] if options.members is not None or options.split else [])])
    if found.detected is not None:  # a later file may come without the packing of the first one
        unused = {name: None for name in ("member", "sheet", "under") if not getattr(found.detected, name)}
        options = replace(options, **unused)  # type: ignore[arg-type]
    fit = NOT if not found.mapped else BROKEN if found.broken else INPUTS if there.get("output", "") is None and wanted.get("output") else ALL
    return replace(options, mapping=there), fit


def columns_of(version: DatasetVersion) -> Columns:
    """The columns that the dataset's first file was read by; none where it came otherwise. A split that stood there and was not to be read is said to be none."""
    first_by: Mapping[str, Any] = version.origin.get("mapping") or {}
    columns: Columns = {key: column for key, column in first_by.items() if isinstance(column, str)}
    if first_by and first_by.get("split") is None and any(name.casefold() in SPLIT_NAMES for name in version.columns or ()):
        columns["split"] = None
    if more := first_by.get("more"):
        columns["input"] = [first_by["input"], *more]
    return columns


@dataclass(frozen=True)
class _Beginning:
    """How a file is read, its columns, whether the wanted ones are among them, and whether one of the first records is broken."""

    detected: Detected | None = None
    columns: Sequence[str] = ()
    mapped: bool = False
    broken: bool = False


def _beginning(path: Path, options: Options) -> _Beginning:
    found = _Beginning()
    with closing(read_file(path, options=options)) as frames:
        for frame in frames:
            match frame:
                case Found():
                    found = _Beginning(frame.detected, frame.columns, frame.mapping is not None)
                case Broken():
                    return replace(found, broken=True)
                case Chunk():
                    break
    return found
