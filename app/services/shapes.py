"""The shape of a model from its folder: config.json and the headers of its safetensors files, a few kilobytes, without torch."""

import json
import struct
from functools import lru_cache
from pathlib import Path

from app.domain.shape import ModelShape, shape_of, shape_unknown

LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the format itself."""


def shape(folder: Path) -> ModelShape:
    """The shape of the model in a folder. Read once for each state of its files. Raises Invalid `shape_unknown` when they cannot be read."""
    try:
        files = sorted(folder.glob("*.safetensors"))
        return _read(folder, (folder / "config.json").stat().st_mtime_ns, tuple((file.name, file.stat().st_mtime_ns) for file in files))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise shape_unknown() from error


@lru_cache(maxsize=64)
def _read(folder: Path, _changed: int, files: tuple[tuple[str, int], ...]) -> ModelShape:
    tensors = {name: shape for file, _ in files for name, shape in header(folder / file).items()}
    return shape_of(json.loads((folder / "config.json").read_text()), tensors)


def header(file: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a safetensors file: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > LARGEST_HEADER:
            raise ValueError(f"{file.name} has a header of {length} bytes")
        entries = json.loads(stream.read(length))
    return {name: entry["shape"] for name, entry in entries.items() if name != "__metadata__"}
