"""A model handed out as a zip: an adapter's folder or a whole model's, just as it was trained or brought in, or merged into one by a job."""

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queue
from app.db import reading, transaction
from app.domain import job as jobs
from app.domain import model as models
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import ACTIVE, Job
from app.domain.methods import METHODS
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.errors import Invalid, NotFound
from app.services.jobs import JobView
from app.services.jobs import find as find_job
from app.settings import settings
from app.storage import fetched, key_of, model_key

MERGED = "merged"

PIECE = 2**20
"""Bytes read at a time."""


class _Tray(io.RawIOBase):
    """Where the zip is written to, a little at a time; what lies on it is taken away and sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


@dataclass(frozen=True)
class Forms:
    """What a model can be handed out as now. `job` is the one that merged it, else the newest that shall or could not; `merged` says which."""

    now: tuple[str, ...]
    job: Job | None
    merged: bool
    refused: str
    """Why it cannot be merged; empty where it can, or is one plain model anyway."""


def forms(person: Who, key: int | str) -> Forms:
    """Raises NotFound, Invalid `remote_model`."""
    with reading() as session:
        return _forms(session, models.find(session, person, key))


def _forms(session: Session, model: Model) -> Forms:
    _, adapter = models.folders(session, model, settings().models_folder, settings().storage_folder)
    if adapter is None:
        return Forms((MERGED,), None, merged=True, refused="")
    made = select(Job).where(Job.kind == "export", Job.workspace_id == model.workspace_id).order_by(Job.state != "succeeded", Job.id.desc())
    job = next((job for job in session.scalars(made) if job.settings["model"] == model.id), None)
    merged = job is not None and job.state == "succeeded"
    return Forms(("adapter", MERGED) if merged else ("adapter",), job, merged, METHODS[model.method or ""].unmergeable)


def merge(person: Who, key: int | str) -> JobView:
    """Queue the job that makes one plain model of a tuned one; the job that does so already, where there is one.

    Raises Invalid for a model that cannot be merged, or is one plain model as it is.
    """
    with transaction() as session:
        model = models.find(session, person, key)
        found = _forms(session, model)
        if found.refused or "adapter" not in found.now:
            raise Invalid("cannot_merge", found.refused or f"{model.name} is one plain model already.", f"Ask for format={found.now[0]}.")
        job = found.job if found.job and (found.job.state in ACTIVE or found.merged) else None
        if job is None:
            prompt, version = session.get_one(PromptVersion, model.prompt_version_id), session.get_one(DatasetVersion, model.dataset_version_id)
            chosen = {"model": model.id, "format": MERGED, "prompt_version": prompt.reference, "dataset": version.reference}
            job = jobs.add(session, person, "export", f"{model.name}, merged", chosen)
            queue.announce(session)
        key = job.id
    return find_job(person, key)


def folder_of(person: Who, key: int | str, form: str) -> tuple[str, Path]:
    """(the model's name for files, the folder to hand out). `form` is "adapter", "merged" or "" for how it was trained. Raises Invalid, NotFound."""
    with reading() as session:
        model = models.find(session, person, key)
        base, adapter = models.folders(session, model, settings().models_folder, settings().storage_folder)
        found = _forms(session, model)
    if form not in ("", *found.now):
        raise _not_there(model, form, found)
    folder = base if adapter is None else _merged(model, found) if form == MERGED else adapter
    folder = fetched(folder, key_of(folder) if model.kind == "tuned" else model_key(model.content_hash))
    if not folder.is_dir():
        raise NotFound("folder of the model", model.slug)
    return f"{model.slug}-merged" if adapter is not None and form == MERGED else model.slug, folder


def _merged(model: Model, found: Forms) -> Path:
    """The folder that the job's row names. Jobs named none when there was one for all of a model's."""
    result = (found.job and found.job.result) or {}
    return settings().storage_folder / str(result.get("folder", models.merged_folder(model)))


def _not_there(model: Model, form: str, found: Forms) -> Invalid:
    if form == MERGED and not found.refused:
        return Invalid("not_merged", f"{model.name} has not been merged yet.", f"POST /api/v1/models/{model.slug}/merge makes one plain model of it.")
    said = found.refused if form == MERGED else f"{model.name} is handed out as {' or '.join(found.now)}."
    return Invalid("no_such_form", said, f"Ask for format={found.now[0]}, or leave the format out.", detail={"field": "format"})


def zipped(folder: Path) -> Iterator[bytes]:
    """The folder's files as a zip, in a stream: weights do not get smaller, so nothing is compressed, and nothing is held in memory."""
    tray = _Tray()
    with zipfile.ZipFile(tray, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo.from_file(file, os.fspath(file.relative_to(folder)))
            with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                yield from _copied(source, target, tray)
    yield tray.take()


def _copied(source: IO[bytes], target: IO[bytes], tray: _Tray) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        target.write(piece)
        yield tray.take()
