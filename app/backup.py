"""One archive of an installation, made while it runs, and the way back into an empty data folder."""

import errno
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from app.errors import Conflict, Invalid, NoRoom
from app.settings import Settings, settings

MANIFEST = "fettle-backup.json"
FORMAT = 1
FULL = (errno.ENOSPC, errno.EDQUOT)
COPY = "Copy the bucket with its own tool after this, so that no row names an artefact that the copy lacks: aws s3 sync, rclone, or its versions."


def backup(archive: Path, models: bool = False, say: Callable[[str], None] = print) -> None:
    """Write the archive and say what was done. Only its owner may read it: it holds the secret key. Raises Conflict, NoRoom.

    Of an installation with an object store it has the copies of this machine alone, and says that, as it says of PostgreSQL: both have tools of
    their own, which we do not replace. It names the store, so that `restore` can say where the artefacts are.
    """
    from app.migrate import current

    here = settings()
    if archive.exists():
        raise Conflict("archive_exists", f"{archive} is already there.", "Give a new name; an archive is never overwritten.")
    about = {"format": FORMAT, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "revision": current(), "database": _kind(here)}
    about["store"] = here.storage if here.stored_remotely else ""
    unfinished = archive.with_name(archive.name + ".part")
    try:
        _write(here, about, unfinished, models, say)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        if not _full(error):
            raise
        raise NoRoom(f"The disk is full: {archive} was not written. Nothing of it is left.") from error
    unfinished.rename(archive)
    if here.stored_remotely:
        say(f"artefacts: NOT all in this archive; they are in {here.storage}, and only this machine's copies were saved. {COPY}")
    say(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB. Keep it safe: it holds the secret key and everything people wrote.")


def _full(error: Exception) -> bool:
    """Whether a disk was full. SQLite, which copies itself to beside the archive, has a word of its own for it."""
    return getattr(error, "errno", None) in FULL or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _write(here: Settings, about: dict[str, Any], unfinished: Path, models: bool, say: Callable[[str], None]) -> None:
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        note = tarfile.TarInfo(MANIFEST)
        content = json.dumps(about, indent=1).encode()
        note.size = len(content)
        tar.addfile(note, io.BytesIO(content))
        _database(here, tar, unfinished.parent, say)
        for folder, name in [(here.storage_folder, "storage"), (here.folder / "secret", "secret"), *([(here.models_folder, "models")] if models else [])]:
            if folder.exists():
                _add(tar, folder, name)
                say(f"{name}: saved")


def _add(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    """A folder's files, while jobs may be writing: what is half written or only for a resume stays out, what vanishes is passed over."""
    tar.add(folder, name, recursive=False)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".tmp-", "checkpoint-")) for part in inside.parts):
            with suppress(FileNotFoundError):
                tar.add(path, f"{name}/{inside}", recursive=False)


def _kind(here: Settings) -> str:
    return make_url(here.database).get_backend_name()


def _database(here: Settings, tar: tarfile.TarFile, beside: Path, say: Callable[[str], None]) -> None:
    """SQLite copies itself consistently while others write; PostgreSQL has its own tool, which we do not replace."""
    if _kind(here) != "sqlite":
        say("database: NOT in this archive. Save PostgreSQL with its own tool: pg_dump --format=custom --file=fettle.dump <its address>")
        return
    with tempfile.TemporaryDirectory(dir=beside) as box:
        copy = Path(box) / "fettle.db"
        with closing(sqlite3.connect(_file(here))) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        tar.add(copy, "fettle.db")
    say("database: saved")


def _file(here: Settings) -> Path:
    return Path(make_url(here.database).database or "")


def restore(archive: Path, say: Callable[[str], None] = print) -> None:
    """Unpack an archive where nothing is yet and say what was done. Raises Conflict for a data folder in use, Invalid for another file."""
    here = settings()
    taken = [path for path in (_file(here) if _kind(here) == "sqlite" else None, here.storage_folder, here.folder / "secret") if path and _holds(path)]
    if taken:
        raise Conflict("not_empty", f"There is already something at {taken[0]}.", "Restore into an empty data folder: set FETTLE_DATA to a new one.")
    with _opened(archive) as tar:
        about = _about(tar, archive)
        if about["database"] != _kind(here):
            raise Conflict(
                "other_database",
                f"The archive was made with {about['database']}, this installation uses {_kind(here)}.",
                "Set FETTLE_DATABASE_URL to the same kind.",
            )
        _same_store(about.get("store", ""), here)
        here.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for member in tar.getmembers():
            top, _, rest = member.name.partition("/")
            place = {"fettle.db": _file(here), "storage": here.storage_folder, "secret": here.folder / "secret", "models": here.models_folder}.get(top)
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                try:
                    tar.extract(member.replace(name=f"{place.name}/{rest}" if rest else place.name), place.parent, filter="data")
                except tarfile.FilterError as error:
                    raise Invalid(
                        "bent_archive", f"The archive wants to write outside its place: {member.name}", "Do not use it; it was changed after it was made."
                    ) from error
                if not rest:
                    say(f"{top}: restored")
    say("Run `fettle migrate` when this code is newer than the archive; `fettle up` does it by itself.")
    if about.get("store"):
        say(
            f"artefacts: not all in the archive. They were in {about['store']}, and are expected in {here.storage}: put a copy of the bucket there if it lacks them."
        )
    if about["database"] != "sqlite":
        say("database: not in the archive. Restore PostgreSQL with its own tool: pg_restore --clean --dbname=<its address> fettle.dump")


def _same_store(store: str, here: Settings) -> None:
    """Raises Conflict where the artefacts of an archive are in an object store and this installation uses none. Another one may be a copy of it."""
    if store and not here.stored_remotely:
        raise Conflict("other_store", f"The artefacts of this archive are in {store}.", f"Set FETTLE_STORAGE={store}, or to where a copy of it was put.")


def _holds(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, "r:gz")
    except (OSError, tarfile.TarError) as error:
        raise Invalid("no_archive", f"{archive} cannot be read: {error}", "Give a file that `fettle backup` wrote.") from error


def _about(tar: tarfile.TarFile, archive: Path) -> dict[str, Any]:
    try:
        stream = tar.extractfile(MANIFEST)
        about: dict[str, Any] = json.loads(stream.read()) if stream else {}
    except (KeyError, ValueError, tarfile.TarError):
        about = {}
    if about.get("format") != FORMAT:
        raise Invalid("no_archive", f"{archive} is no backup that this version can read.", "Give a file that `fettle backup` wrote.")
    return about
