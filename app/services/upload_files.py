"""The bytes of uploads: one private folder, one file an upload, gone as soon as nobody needs it."""

import hashlib
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, BinaryIO

import msgspec

from app.readers.options import Options
from app.services.held import YOUNG_SECONDS, held, older, sweep
from app.settings import settings

PIECE = 1 << 20
PASSING = "passing-"
"""Files that never get a row."""


def folder() -> Path:
    found = settings().folder / "uploads"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def store(stream: BinaryIO) -> tuple[str, int, str]:
    """Copy what was sent; returns the stored file's name, its size in bytes and their sha256. A copy that fails leaves nothing."""
    name = f"upload-{secrets.token_hex(16)}"
    path = folder() / name
    try:
        with path.open("xb") as target:
            path.chmod(0o600)
            sha256 = _copied(stream, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return name, path.stat().st_size, sha256


@contextmanager
def passing(stream: BinaryIO) -> Iterator[tuple[Path, str]]:
    """What was sent as a file while it is read, and the sha256 of its bytes; gone when the block ends."""
    with NamedTemporaryFile(dir=folder(), prefix=PASSING) as target, held(Path(target.name)):
        sha256 = _copied(stream, target)
        target.flush()
        yield Path(target.name), sha256


def _copied(stream: BinaryIO, target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := stream.read(PIECE):
        target.write(piece)
        digest.update(piece)
    return digest.hexdigest()


def place(name: str) -> Path:
    return folder() / name


def options_of(kept: dict[str, Any]) -> Options:
    """How a file is to be read, from what its row keeps."""
    return msgspec.convert(kept, Options)


def remove(name: str) -> None:
    place(name).unlink(missing_ok=True)


def remove_unknown(known: Collection[str]) -> int:
    """Delete files that no upload has: their process was killed before it could, or before it wrote the row."""
    strays = [path for path in folder().glob("upload-*") if path.name not in known and older(path, YOUNG_SECONDS)]
    for path in strays:
        path.unlink(missing_ok=True)
    return len(strays) + sweep(folder(), f"{PASSING}*")
