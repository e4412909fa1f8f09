"""Models: the catalogue and the tuned ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import model as models
from app.domain.access import Who, page, visible, write
from app.domain.base import by_id
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.model import Model
from app.domain.prompt import Prompt, PromptVersion
from app.errors import Invalid
from app.settings import settings

STARTER = "starter"


@dataclass(frozen=True)
class Lineage:
    """A model with what it was made from. All but `model` are none for a foundation model."""

    model: Model
    base: Model | None
    prompt: PromptVersion | None
    prompt_name: str | None = None
    dataset: Dataset | None = None
    version: DatasetVersion | None = None


def pin(person: Who, key: int | str, on: bool) -> Model:
    """Keep a local model in the engine's memory once it is loaded, jobs or not; or let it leave again. Raises Invalid for a remote one."""
    with transaction() as session:
        model = write(session, person, Model, models.find(session, person, key).id, "model")
        if model.remote:
            raise Invalid("not_local", f"{model.name} answers at an endpoint; nothing of it is in this machine's memory.", "Pin a model that runs here.")
        model.pinned = on
        return model


def recent(person: Who, after: int | None = None, limit: int = 100) -> tuple[list[Model], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Model), Model, after, limit)
        return list(rows), following


def foundation(person: Who) -> list[Model]:
    with reading() as session:
        return list(session.scalars(visible(person, Model).where(Model.kind == "foundation")))


def remote(person: Who) -> list[Model]:
    """The models behind endpoints."""
    with reading() as session:
        return list(session.scalars(visible(person, Model).where(Model.kind == "remote")))


def find(person: Who, key: int | str) -> Lineage:
    with reading() as session:
        return _lineages(session, [models.find(session, person, key)])[0]


def lineages(person: Who, limit: int = 200) -> list[Lineage]:
    """Models with what they were made from, newest first: the same number of queries however many there are."""
    with reading() as session:
        return _lineages(session, page(session, visible(person, Model), Model, None, limit)[0])


def _lineages(session: Session, rows: Sequence[Model]) -> list[Lineage]:
    bases = by_id(session, Model, {row.base_model_id for row in rows})
    versions = by_id(session, PromptVersion, {row.prompt_version_id for row in rows})
    prompts = by_id(session, Prompt, {version.prompt_id for version in versions.values()})
    data = by_id(session, DatasetVersion, {row.dataset_version_id for row in rows})
    named = by_id(session, Dataset, {version.dataset_id for version in data.values()})
    found = []
    for row in rows:
        prompt, version = versions.get(row.prompt_version_id or 0), data.get(row.dataset_version_id or 0)
        name = prompts[prompt.prompt_id].name if prompt else None
        found.append(Lineage(row, bases.get(row.base_model_id or 0), prompt, name, named[version.dataset_id] if version else None, version))
    return found


def of_job(job: int) -> Model | None:
    with reading() as session:
        return session.scalars(select(Model).where(Model.job_id == job)).first()


def has_starter() -> bool:
    """Is the starter model registered, with its weights in place?"""
    with reading() as session:
        model = session.scalars(select(Model).where(Model.alias == STARTER).order_by(Model.id).limit(1)).first()
    return model is not None and (settings().models_folder / model.folder / "config.json").exists()
