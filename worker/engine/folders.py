"""Folders that are whole or absent: written beside their place, sealed with a manifest of hashes, then renamed into it."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from app.errors import Invalid

MANIFEST = "manifest.json"


def sha256(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by its path inside it (`/` between parts), sorted. The manifest itself is left out."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / MANIFEST)
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def fingerprint(folder: Path) -> str:
    """One sha256 over the names and hashes of all files: changes when any file is added, removed, renamed or edited."""
    return hashlib.sha256(json.dumps(hashes(folder), sort_keys=True).encode()).hexdigest()


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Gives an empty folder to fill; on success it is sealed, synced to disk and becomes `target`, on failure it is gone.

    An existing `target` is replaced. A crash leaves at most a `.tmp-*` folder, which the next call for the same parent removes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".tmp-{target.name}-*"):
        shutil.rmtree(leftover)
    folder = target.parent / f".tmp-{target.name}-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
        (folder / MANIFEST).write_text(json.dumps(hashes(folder), indent=1, sort_keys=True))
        for path in [*folder.rglob("*"), folder]:
            _sync(path)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_file(file: Path, text: str) -> None:
    """Write a small file so that at any moment the old text or the new one is there, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".tmp-{file.name}")
    beside.write_text(text)
    _sync(beside)
    beside.replace(file)
    _sync(file.parent)


def damage(folder: Path) -> str | None:
    """Why a sealed folder is not what was written: a file missing, added or changed. None when it is intact."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return f"{folder.name} has no readable {MANIFEST}"
    found = hashes(folder)
    if found == expected:
        return None
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    return f"{folder.name}: {', '.join(wrong[:5])} missing, added or changed"


def verify(folder: Path) -> None:
    """Raises Invalid `files_changed` unless the sealed folder is intact."""
    if reason := damage(folder):
        raise Invalid("files_changed", f"Files on disk are not what was saved: {reason}.", "Restore the folder from a backup, or make it again.")


def refuse_changed(*folders: Path | None) -> None:
    """Raises Invalid `files_changed` with the names of what is not as it was sealed, before it is loaded; folders that were never sealed pass.

    A folder that is loaded again is hashed again only when a file's size or time is another.
    """
    for folder in folders:
        if folder is not None and (folder / MANIFEST).exists():
            stats = ((file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file())
            if reason := _damage(folder, tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)):
                raise Invalid("files_changed", f"Files on disk are not what was saved: {reason}.", "Restore the folder from a backup, or make it again.")


@lru_cache
def _damage(folder: Path, stamp: tuple[tuple[Path, int, int], ...]) -> str | None:
    del stamp  # what the answer holds for
    return damage(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
