"""The bytes of uploads: one private folder, one file an upload, gone as soon as nobody needs it."""

import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

import msgspec

from app.readers.options import Options
from app.settings import settings

PIECE = 1 << 20
YOUNG_SECONDS = 20
"""A file without a row is left alone for so long: its row may be on the way."""

PASSING, PASSING_SECONDS = "passing-", 24 * 3600
"""Files that never get a row, and how long reading one may take."""


def folder() -> Path:
    found = settings().folder / "uploads"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def store(stream: BinaryIO) -> tuple[str, int]:
    """Copy what was sent; returns the stored file's name and its size in bytes. A copy that fails leaves nothing."""
    name = f"upload-{secrets.token_hex(16)}"
    path = folder() / name
    try:
        with path.open("xb") as target:
            path.chmod(0o600)
            shutil.copyfileobj(stream, target, PIECE)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return name, path.stat().st_size


@contextmanager
def passing(stream: BinaryIO) -> Iterator[Path]:
    """What was sent as a file while it is read; gone when the block ends."""
    with NamedTemporaryFile(dir=folder(), prefix=PASSING) as target:
        shutil.copyfileobj(stream, target, PIECE)
        target.flush()
        yield Path(target.name)


def place(name: str) -> Path:
    return folder() / name


def options_of(kept: dict[str, Any]) -> Options:
    """How a file is to be read, from what its row keeps."""
    return msgspec.convert(kept, Options)


def remove(name: str) -> None:
    place(name).unlink(missing_ok=True)


def remove_unknown(known: Collection[str]) -> int:
    """Delete files that no upload has: their process was killed before it could, or before it wrote the row."""
    now = time.time()
    strays = [path for path in folder().glob("upload-*") if path.name not in known and _older(path, now - YOUNG_SECONDS)]
    strays += [path for path in folder().glob(f"{PASSING}*") if _older(path, now - PASSING_SECONDS)]
    for path in strays:
        path.unlink(missing_ok=True)
    return len(strays)


def _older(path: Path, seconds: float) -> bool:
    """Whether a file was written before then. One that is gone meanwhile was not."""
    try:
        return path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False
