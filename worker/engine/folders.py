"""Folders that are whole or absent: written beside their place, sealed with a manifest of hashes, then renamed into it."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.errors import Invalid

MANIFEST = "manifest.json"
Stamp = tuple[tuple[Path, int, int], ...]
"""The files of a folder with size and time: as long as it is the same, the files are taken to be."""


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
    return _fingerprint_of(hashes(folder))


def fingerprint_alone(files: Iterable[Path]) -> str:
    """The fingerprint of a folder that would hold these files and nothing else."""
    return _fingerprint_of({file.name: sha256(file) for file in files if file.name != MANIFEST})


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


def sealed_as(folder: Path) -> str:
    """The fingerprint by which a folder was sealed, from its manifest alone: whether the files still are that is for `refuse_changed`.

    A folder without a readable manifest was never sealed, or is another one in its place: its files are read, and again only when one's size or time is another.
    """
    try:
        return _fingerprint_of(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError):
        return _fingerprint(folder, _stamp(folder))


def refuse_changed(*folders: Path | None) -> None:
    """Raises Invalid `files_changed` with the names of what is not as it was sealed, before it is loaded; folders that were never sealed pass.

    A folder that is loaded again is hashed again only when a file's size or time is another.
    """
    for folder in folders:
        if folder is not None and (folder / MANIFEST).exists() and (reason := _damage(folder, _stamp(folder))):
            raise Invalid("files_changed", f"Files on disk are not what was saved: {reason}.", "Restore the folder from a backup, or make it again.")


def _stamp(folder: Path) -> Stamp:
    stats = ((file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file())
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


@lru_cache
def _damage(folder: Path, stamp: Stamp) -> str | None:
    del stamp  # what the answer holds for
    return damage(folder)


@lru_cache
def _fingerprint(folder: Path, stamp: Stamp) -> str:
    del stamp
    return fingerprint(folder)


def _fingerprint_of(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
