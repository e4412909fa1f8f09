"""What a tuning job would take, before it is one: steps, trained parameters, memory, and whether a worker has that much.

Lengths are reckoned from the train rows' characters; the job's preflight measures the real ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from app.db import reading
from app.domain import dataset as datasets
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain import search as searches
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.footprint import UNSURE, Lengths, lengths, longest, needs
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.rendering import Template
from app.domain.search import Search
from app.domain.shape import ModelShape
from app.errors import Invalid
from app.services.shapes import shape
from app.settings import settings

LONGEST_ROWS = 1024
"""How many of a version's longest rows are known by length: the largest batch there can be."""

KNOWN_VERSIONS = 64
_KNOWN: dict[str, list[tuple[int, int]]] = {}
"""By content hash, the longest rows of dataset versions: (characters of the example, of its answer)."""


@dataclass(frozen=True)
class Estimate:
    """`steps` are those of all `trials` together. `trainable` to `memory_bytes` are none where the model's files cannot be read; `device` and `device_bytes` where no worker answers.

    `exact` is false when a soft prompt's length follows from a text whose tokens are not counted yet. `suggestion` is the smallest
    change that would fit; none when nothing need be or nothing can be changed.
    """

    steps: int
    trials: int = 1
    trainable: int | None = None
    total: int | None = None
    exact: bool = True
    rate: float | None = None
    memory_bytes: int | None = None
    device: str | None = None
    device_bytes: int | None = None
    fits: bool | None = None
    suggestion: dict[str, Any] | None = None


def tune(
    person: Who,
    *,
    model: int | str,
    dataset: int | str,
    method: str,
    parameters: dict[str, Any],
    prompt_version: int | str | None,
    search: Mapping[str, Any] | None = None,
) -> Estimate:
    """What such a job would take; of a search the most that one of its trials takes.

    Raises Invalid for parameters or a search that would be refused, NotFound for what is not there.
    """
    chosen, searched = parse(METHODS, method, parameters), searches.parse(search or {})
    with reading() as session:
        base = models.find(session, person, model)
        version = datasets.find(session, person, dataset)
        searches.check(searched, method, chosen, version.splits.get("validation", 0))
        template = prompts.find(session, person, prompt_version).template() if prompt_version else Template()
        folder = models.folders(session, models.root(session, base), settings().models_folder, settings().storage_folder)[0]
        encoder_decoder = models.root(session, base).encoder_decoder
        chosen.check_model(encoder_decoder)
        searches.share_prompt(searched, chosen, template, encoder_decoder)
        longest_step = _lengths(session, version, template, chosen, encoder_decoder)
        device, room = _device(session)
    rows = version.splits.get("train", 0)
    try:
        found = shape(folder)
    except Invalid:
        return Estimate(*_size(searched, chosen, rows), device=device, device_bytes=room)
    kind = "cuda" if (device or "").startswith("cuda") else "cpu"
    largest = max(searches.runs(searched, chosen, found.width), key=lambda one: needs(found, one, longest_step, rows, kind))
    needed = needs(found, largest, longest_step, rows, kind)
    fits = None if room is None else needed * UNSURE <= room
    return Estimate(
        *_size(searched, chosen, rows),
        trainable=largest.trainable(found, longest_step.text),
        total=found.parameters,
        exact=largest.virtual(0) == largest.virtual(2 * longest_step.text),
        rate=chosen.rate(found.width),
        memory_bytes=needed,
        device=device,
        device_bytes=room,
        fits=fits,
        suggestion=next(_that_fit(found, largest, longest_step, rows, kind, room), None) if room and not fits else None,
    )


def _size(searched: Search, chosen: MethodParameters, rows: int) -> tuple[int, int]:
    """(optimiser steps, trials) of a job; a run without a search is one trial."""
    steps = chosen.total_steps(rows)
    if not searched.has_trials:
        return steps, 1
    trials = len(searches.runs(searched, chosen))
    return searches.planned_steps(searches.schedule(trials, searched.factor), steps), trials


def _that_fit(found: ModelShape, chosen: MethodParameters, step: Lengths, rows: int, kind: str, room: int) -> Iterator[dict[str, Any]]:
    return (chosen.changes(less) for less in chosen.cheaper(step.example) if needs(found, less, step, rows, kind) * UNSURE <= room)


def _device(session: Session) -> tuple[str | None, int | None]:
    """(name, bytes) of the largest device of a worker that answers; a GPU before any processor."""
    there = [device for row in workers.alive(session, "gpu") for device in row.devices if device.get("memory")]
    best = max(there, key=lambda device: (device["name"].startswith("cuda"), device["memory"]), default=None)
    return (best["name"], int(best["memory"])) if best else (None, None)


def _lengths(session: Session, version: DatasetVersion, template: Template, chosen: MethodParameters, encoder_decoder: bool) -> Lengths:
    whole, answer = _longest(session, version, chosen.batch_size)
    return lengths(whole, answer, template, version.label_texts(), chosen, encoder_decoder)


def _longest(session: Session, version: DatasetVersion, batch_size: int) -> tuple[int, int]:
    """Characters of an example in a batch of the longest train rows, and of its answer: means of `batch_size` rows. Versions never change."""
    known = _KNOWN.get(version.content_hash)
    if known is None:
        if len(_KNOWN) >= KNOWN_VERSIONS:
            _KNOWN.clear()
        cells = func.coalesce(func.length(cast(Example.cells, String)), 0)
        answer = func.coalesce(func.length(Example.output), 0)
        size = func.length(Example.input) + cells + answer
        query = select(size, answer).where(Example.version_id == version.id, Example.split == "train").order_by(size.desc()).limit(LONGEST_ROWS)
        known = _KNOWN[version.content_hash] = [(int(whole), int(part)) for whole, part in session.execute(query)]
    return longest(known, batch_size)
