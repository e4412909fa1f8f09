"""Room on the disk of a run: what its files take, how fast they are written, and a clear error when there is too little."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from safetensors import SafetensorError

from app.errors import Invalid
from worker.engine.disk import FULL, free_bytes, total_bytes
from worker.engine.reporting import NotYet
from worker.engine.shards import trainable

ADVICE = "Make room: delete jobs and models that nobody needs any more. `fettle doctor` says what takes the space."
MOMENTS = 2
"""Numbers that AdamW keeps beside each trained one."""
SMALL = 200_000
"""Bytes for the small files of a folder: states, tokenizer, manifest."""
PROBE = 32_000_000
"""Bytes that are written to find out how fast a disk is."""


def trained_bytes(model: Any) -> int:
    """The parameters under training, as they are kept of a best moment."""
    return sum(tensor.numel() * tensor.element_size() for tensor in trainable(model).values()) + SMALL


def checkpoint_bytes(model: Any) -> int:
    """A checkpoint: the trained parameters and what the optimiser knows of each."""
    return (1 + MOMENTS) * trained_bytes(model)


def artefact_bytes(model: Any, *, whole: bool) -> int:
    """What a run leaves: the trained parameters, or a whole model."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.parameters()) + SMALL if whole else trained_bytes(model)


def taken_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def writing_seconds(folder: Path, size: int) -> float:
    """What writing, syncing and hashing so many bytes takes in a folder, as measured with a piece of them."""
    folder.mkdir(parents=True, exist_ok=True)
    piece = min(size, PROBE)
    with NamedTemporaryFile(dir=folder, prefix=".tmp-probe-") as file:
        began = time.monotonic()
        file.write(bytes(piece))
        file.flush()
        file.seek(0)
        hashlib.file_digest(file, "sha256")
        took = time.monotonic() - began
    return took * size / piece


def ask_for_room(folder: Path, needed: int, what: str) -> None:
    """Raises NotYet with the bytes needed unless they are free; Invalid `disk_full` where they would not be there on the empty disk either."""
    free = free_bytes(folder)
    if free >= needed:
        return
    if needed > (whole := total_bytes(folder)):
        message = f"The disk is too small: {what} needs {needed / 1e6:,.1f} MB, and the storage has {whole / 1e6:,.1f} MB in all."
        raise Invalid("disk_full", message, "Move FETTLE_STORAGE to a larger disk, then retry.", detail={"needed_bytes": needed, "free_bytes": free})
    raise NotYet(f"Waits for room on the disk: {what} needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free in the storage.", ADVICE, needed, free)


@contextmanager
def room(folder: Path, needed: int, what: str) -> Iterator[None]:
    """Inside, something that needs so many bytes is written. That the disk is full shows in as many ways as there are libraries: it becomes one error.

    Raises Invalid `disk_full`.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        free = free_bytes(folder)
        if getattr(error, "errno", None) not in FULL and "No space left" not in str(error) and free >= needed:
            raise
        raise _full(what, needed, free) from error


def _full(what: str, needed: int, free: int) -> Invalid:
    return Invalid(
        "disk_full",
        f"The disk is full: {what} needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free in the storage.",
        f"{ADVICE} Then retry: a run that had begun goes on from its newest checkpoint.",
        detail={"needed_bytes": needed, "free_bytes": free},
    )
