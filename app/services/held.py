"""What a process needs on disk only while it works on it. Its lock says that somebody does: what a killed process left can be told from what is in use."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

YOUNG_SECONDS = 20
"""What is younger is left alone: its lock, or its row, may be on the way."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A file or folder that is in use until the block ends, or the process does."""
    place = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def sweep(folder: Path, pattern: str) -> int:
    """Remove what nobody holds of these files and folders. Returns how many there were."""
    strays = [path for path in folder.glob(pattern) if older(path, YOUNG_SECONDS) and not _in_use(path)]
    for path in strays:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(strays)


def older(path: Path, seconds: float) -> bool:
    """Whether something was written so long ago. What is gone meanwhile was not."""
    try:
        return path.stat().st_mtime < time.time() - seconds
    except FileNotFoundError:
        return False


def _in_use(path: Path) -> bool:
    try:
        place = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(place)
    return False
