"""Artefacts, checkpoints and base models beyond this machine: an object store (S3 and its like), where FETTLE_STORAGE names one.

The folders of an installation stay what they are; the store holds copies of them under the same names, so that another machine can fetch what it
lacks. A folder is there when its listing is: that is written last and holds the size and sha256 of every file, and its key where that is not its name. Keys are numbers of rows, which every
installation counts from 1, so a prefix says whose it is and no other installation writes there or takes anything away. obstore reads the store's own
variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL), as every client of S3 does.
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog

from app.db import reading
from app.domain import installation
from app.errors import Away, Conflict, FettleError, Invalid, NoRoom, Unavailable
from app.settings import settings

log = structlog.get_logger(__name__)

LISTING = ".listing.json"
OWNER = ".installation.json"
"""At the top of a prefix: whose it is."""
PIECE = 8 * 2**20
LEFT_OUT = (".tmp-", "process.log", "artefact")
"""Beginnings of names that are not copied with an attempt: what only its own machine understands, and its artefact, which is copied by itself."""


class Store:
    """One bucket and prefix. Keys are paths with `/`, such as jobs/12/attempt-1/artefact. Raises Unavailable when the store does not answer."""

    def __init__(self, url: str) -> None:
        from obstore.store import from_url

        self.url = url
        self._store: Any = from_url(url, client_options={"allow_http": True, "connect_timeout": "5s", "timeout": "600s"}, retry_config={"max_retries": 3})

    def belongs_to(self, name: str, *, nameless: bool) -> None:
        """Make sure that this is the store of the installation with this name, and say so in it when it is empty.

        One in which there is something and no name may be taken by an installation that wrote there before there were names (`nameless`).
        Raises Conflict `other_installation`.
        """
        owner = self._owner()
        if owner is None and (nameless or self._is_empty()):
            self._claim(json.dumps({"installation": name}).encode())
            owner = self._owner()
        if owner != name:
            whose = f"belongs to another installation of Fettle ({owner}; this is {name})" if owner else "is in use, and does not say whose it is"
            advice = f'If those files are this installation\'s, because its database was lost or moved, write {{"installation": "{name}"}} into {OWNER} there.'
            raise Conflict("other_installation", f"The object store {self.url} {whose}.", f"Give this one a prefix of its own in FETTLE_STORAGE. {advice}")

    def _claim(self, words: bytes) -> None:
        """Say whose it is. Of several that come at once the first has it; in a store that knows no conditions, the last."""
        import obstore

        with _told(self.url), suppress(obstore.exceptions.AlreadyExistsError):
            try:
                obstore.put(self._store, OWNER, words, mode="create")
            except (obstore.exceptions.NotSupportedError, obstore.exceptions.GenericError):
                if self._owner() is None:
                    obstore.put(self._store, OWNER, words)

    def push(self, folder: Path, key: str) -> None:
        """Make the store's copy of a folder what the folder is now. Whenever this is broken off, the copy is whole: as it was, or as it is.

        What a listing names is never written over: a file that has changed goes beside it, and the old one goes when no listing names it any more.
        """
        import obstore

        before, files = self._listing(key) or {}, dict[str, dict[str, Any]]()
        with _told(self.url):
            for file in sorted(path for path in folder.rglob("*") if path.is_file() and not _left_out(path.relative_to(folder))):
                name = file.relative_to(folder).as_posix()
                with suppress(FileNotFoundError), file.open("rb") as stream:  # a run drops old checkpoints while new ones are copied
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                    if name in before and before[name]["sha256"] == digest:
                        files[name] = before[name]
                        continue
                    files[name] = {"bytes": stream.tell(), "sha256": digest} | ({"at": f"{name}.{digest[:16]}"} if name in before else {})
                    stream.seek(0)  # the same file even where it is replaced meanwhile
                    obstore.put(self._store, _place(key, name, files[name]), stream)
            obstore.put(self._store, f"{key}/{LISTING}", json.dumps(files, sort_keys=True).encode())
            # A long run writes many checkpoints and keeps two.
            for place in {_place(key, *entry) for entry in before.items()} - {_place(key, *entry) for entry in files.items()}:
                obstore.delete(self._store, place)

    def has(self, key: str) -> bool:
        """Is this folder there, whole?"""
        return self._listing(key) is not None

    def fetch(self, key: str, folder: Path) -> bool:
        """Copy a folder out of the store, checked, whole or not at all; False when the store has none. Several may ask for it at once.

        Raises NoRoom before anything is copied that does not fit.
        """
        files = self._listing(key)
        if files is None:
            return False
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder):
            if folder.exists():  # somebody else was faster
                return True
            needed, free = sum(int(facts["bytes"]) for facts in files.values()), shutil.disk_usage(folder.parent).free
            if needed > free:
                message = f"The disk of {settings().machine_name} is full: {folder.name} takes {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free."
                raise NoRoom(message, "try again", needed)
            box = folder.parent / f".tmp-{folder.name}-{uuid.uuid4().hex}"
            try:
                for name, facts in files.items():
                    self._fetch(_place(key, name, facts), _inside(box, name), facts)
                box.mkdir(parents=True, exist_ok=True)
                box.rename(folder)
            finally:
                shutil.rmtree(box, ignore_errors=True)
        return True

    def below(self, key: str) -> list[str]:
        """The names of the whole folders directly below a key."""
        import obstore

        with _told(self.url):
            found = [entry["path"] for batch in obstore.list(self._store, key) for entry in batch]
        inside = [str(path).partition(f"{key}/")[2] for path in found]
        return sorted({path.split("/")[0] for path in inside if path.count("/") == 1 and path.endswith(f"/{LISTING}")})

    def names(self, key: str) -> list[str]:
        """What is directly below a key, whole or not."""
        import obstore

        with _told(self.url):
            found = obstore.list_with_delimiter(self._store, key)
        return sorted(str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def remove(self, key: str) -> None:
        """Everything under a key; the listing first, so that no half of it is ever taken for the whole."""
        import obstore

        with _told(self.url):
            # A prefix is whole parts of a path: jobs/1 takes nothing of jobs/12.
            paths = [entry["path"] for batch in obstore.list(self._store, key) for entry in batch]
            for path in sorted(paths, key=lambda path: not path.endswith(LISTING)):
                obstore.delete(self._store, path)

    def _listing(self, key: str) -> dict[str, Any] | None:
        return self._read(f"{key}/{LISTING}")

    def _owner(self) -> str | None:
        try:
            found = self._read(OWNER)
            return None if found is None else str(found["installation"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"{OWNER} in {self.url} cannot be read, so nobody can tell whose it is."
            raise Conflict("other_installation", message, 'Write {"installation": "…"} into it, with the name that `fettle doctor` gives.') from error

    def _is_empty(self) -> bool:
        import obstore

        with _told(self.url):
            found = obstore.list_with_delimiter(self._store)
        return not found["objects"] and not found["common_prefixes"]

    def _read(self, place: str) -> dict[str, Any] | None:
        """A small JSON file; None where there is none."""
        import obstore

        with _told(self.url):
            try:
                found: dict[str, Any] = json.loads(bytes(obstore.get(self._store, place).bytes()))
            except FileNotFoundError:
                return None
        return found

    def _fetch(self, place: str, target: Path, facts: dict[str, Any]) -> None:
        import obstore

        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with _told(self.url), target.open("wb") as file, suppress(FileNotFoundError):
            for piece in obstore.get(self._store, place).stream(min_chunk_size=PIECE):
                file.write(piece)
                digest.update(piece)
        if digest.hexdigest() != facts["sha256"]:
            raise Invalid("files_changed", f"{place} in {self.url} is not what was saved there.", "Make it again: retry the job, or add the model again.")


@lru_cache
def store() -> Store | None:
    """The installation's object store; None when all machines share one folder, or there is one machine.

    Raises Conflict when it is another installation's, and Unavailable while it does not answer: it is asked once a process.
    """
    if not settings().stored_remotely:
        return None
    found = Store(settings().storage)
    with reading() as session:
        name, nameless = installation.own(session).name, installation.was_nameless(session)
    found.belongs_to(name, nameless=nameless)
    return found


def refuse_other() -> None:
    """Raises Conflict when the object store is another installation's. That it does not answer now is no reason not to start."""
    with suppress(Unavailable):
        store()


def key_of(folder: Path) -> str:
    """The key of a folder of the storage: its path inside."""
    return folder.relative_to(settings().storage_folder).as_posix()


def checkpoint_key(folder: Path) -> str:
    """The key of what an attempt has saved so far: apart from artefacts, because it goes when the job is done."""
    return f"checkpoints/{key_of(folder)}"


def model_key(content_hash: str) -> str:
    """Foundation models go by what is in them, whatever they are called."""
    return f"models/{content_hash}"


def answers() -> None:
    """Raises Unavailable while there is an object store and it does not answer: asked before rows go whose files it has."""
    if (remote := store()) is not None:
        remote.has("jobs")


def discard(folder: Path) -> None:
    """Take a folder of the storage away, here and in the store, with what its attempts had saved there. The rows that named it are gone already."""
    shutil.rmtree(folder, ignore_errors=True)
    drop(key_of(folder), checkpoint_key(folder))


def drop(*keys: str) -> None:
    """Remove these from the store, if there is one. Where that fails it is only logged: nothing names these files any more."""
    try:
        if (remote := store()) is not None:
            for key in keys:
                remote.remove(key)
    except FettleError as error:
        log.warning("files stay in the object store; remove them by hand", keys=keys, reason=error.message)


def fetched(folder: Path, key: str) -> Path:
    """A folder of this machine, out of the store when it is not here. One that is nowhere is for its reader to miss."""
    if not folder.exists() and (remote := store()) is not None:
        remote.fetch(key, folder)
    return folder


def _place(key: str, name: str, facts: Mapping[str, Any]) -> str:
    """Where the store has a file: under its name, or where its listing says."""
    return f"{key}/{facts.get('at', name)}"


def _left_out(path: Path) -> bool:
    return any(part.startswith(LEFT_OUT) for part in path.parts)


def _inside(box: Path, name: str) -> Path:
    """A file's place; a listing that points out of its folder is refused."""
    target = (box / name).resolve()
    if not target.is_relative_to(box.resolve()):
        raise Invalid("files_changed", f"The store lists a file outside its folder: {name}.", "Do not use this bucket: somebody else writes to it.")
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One fetch of a folder at a time on this machine."""
    descriptor = os.open(folder.parent / f".fetch-{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What obstore raises when the store does not answer or refuses, in words: Away is what may pass by itself."""
    from obstore.exceptions import BaseError, GenericError

    try:
        yield
    except BaseError as error:
        reason = str(error).strip().splitlines()[0][:200]
        kind = Away if isinstance(error, GenericError) else Unavailable
        raise kind("no_store", f"The object store {url} cannot be used: {reason}", "Check FETTLE_STORAGE, its keys and that it answers.") from error
