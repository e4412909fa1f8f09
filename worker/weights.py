"""The weights of models on this machine: what it lacks comes out of the object store, base models by what is in them, and is checked."""

import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import structlog
from sqlalchemy.orm import Session

from app import storage
from app.domain import model as models
from app.domain.model import Model
from app.errors import FettleError, Invalid
from app.settings import settings
from worker.engine.folders import fingerprint, sealed_as

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model lie, by the database alone, and the foundation model under it."""

    base: Path
    adapter: Path | None
    root: Model

    def here(self) -> tuple[Path, Path | None]:
        """(folder of the base weights, folder of the adapter or None), both here. Raises Invalid for files that are not the model's.

        Copying and hashing take up to minutes: no session may be open meanwhile.
        """
        if self.base.is_relative_to(settings().storage_folder):  # fully tuned: its own base
            return storage.fetched(self.base, storage.key_of(self.base)), None
        _base(self.base, self.root)
        _refuse_exchanged(self.base, self.root)
        return self.base, self.adapter and storage.fetched(self.adapter, storage.key_of(self.adapter))


def weights_of(session: Session, model: Model) -> Weights:
    """Raises Invalid for a remote model."""
    base, adapter = models.folders(session, model, settings().models_folder, settings().storage_folder)
    return Weights(base, adapter, models.root(session, model))


def _base(folder: Path, model: Model) -> None:
    if folder.exists() or storage.store() is None:
        return
    storage.fetched(folder, storage.model_key(model.content_hash))
    if folder.exists() and fingerprint(folder) != model.content_hash:
        raise Invalid("files_changed", f"The files of {model.name} in the object store are not those that were registered.", "Add the model again.")


def _refuse_exchanged(folder: Path, model: Model) -> None:
    """Another model in a base model's folder is whole by its own manifest; only the catalogue knows that it is not the one that was registered."""
    if folder.exists() and sealed_as(folder) != model.content_hash:  # one that is gone is said to be, where it is read
        raise Invalid(
            "files_changed",
            f"The base model {model.name} was exchanged: what is in {folder} is not what was registered, and what was tuned and scored on {model.name} goes by that.",
            "Put the registered files back from a backup. To use the other ones, move them elsewhere and add them as a model of its own: fettle models add FOLDER.",
        )


def share(model: Model) -> None:
    """Put a foundation model into the store, if there is one and it is not there yet. Raises Unavailable."""
    if model.kind == "foundation":
        put(settings().models_folder / model.folder, model.content_hash)


def put(folder: Path, content_hash: str) -> None:
    """The same of the folder alone, which no row needs to name yet. Raises Unavailable."""
    remote = storage.store()
    if remote is not None and folder.exists() and not remote.has(storage.model_key(content_hash)):
        remote.push(folder, storage.model_key(content_hash))


class Sender:
    """Copies an attempt's folder into the store beside the training, one copy at a time; what came meanwhile is in the next one."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Path | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def send(self, folder: Path) -> None:
        """Soon. A checkpoint that cannot be copied is still on this machine, so that only tells."""
        if storage.store() is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
            self._thread.start()
        self._due.put(folder)

    def close(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._due.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        remote = storage.store()
        while (folder := self._due.get()) is not None and remote is not None:
            try:
                remote.push(folder, storage.checkpoint_key(folder))
            except (FettleError, OSError) as error:  # a file may go while it is read: older checkpoints do
                log.warning("checkpoint not copied", reason=str(error))
