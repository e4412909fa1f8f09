"""Models: the catalogue and the tuned ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import reading
from app.domain import model as models
from app.domain.access import Who, page, visible
from app.domain.base import Owned
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.model import Model
from app.domain.prompt import Prompt, PromptVersion
from app.settings import settings

T = TypeVar("T", bound=Owned)

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


def recent(person: Who, after: int | None = None, limit: int = 100) -> tuple[list[Model], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Model), Model, after, limit)
        return list(rows), following


def foundation(person: Who) -> list[Model]:
    with reading() as session:
        return list(session.scalars(visible(person, Model).where(Model.kind == "foundation")))


def find(person: Who, key: int | str) -> Lineage:
    with reading() as session:
        return _lineages(session, [models.find(session, person, key)])[0]


def lineages(person: Who, limit: int = 200) -> list[Lineage]:
    """Models with what they were made from, newest first: the same number of queries however many there are."""
    with reading() as session:
        return _lineages(session, page(session, visible(person, Model), Model, None, limit)[0])


def _lineages(session: Session, rows: Sequence[Model]) -> list[Lineage]:
    bases = _by_id(session, Model, {row.base_model_id for row in rows})
    versions = _by_id(session, PromptVersion, {row.prompt_version_id for row in rows})
    prompts = _by_id(session, Prompt, {version.prompt_id for version in versions.values()})
    data = _by_id(session, DatasetVersion, {row.dataset_version_id for row in rows})
    named = _by_id(session, Dataset, {version.dataset_id for version in data.values()})
    found = []
    for row in rows:
        prompt, version = versions.get(row.prompt_version_id or 0), data.get(row.dataset_version_id or 0)
        name = prompts[prompt.prompt_id].name if prompt else None
        found.append(Lineage(row, bases.get(row.base_model_id or 0), prompt, name, named[version.dataset_id] if version else None, version))
    return found


def _by_id(session: Session, table: type[T], keys: set[int | None]) -> dict[int, T]:
    wanted = keys - {None}
    return {row.id: row for row in session.scalars(select(table).where(table.id.in_(wanted)))} if wanted else {}


def of_job(job: int) -> Model | None:
    with reading() as session:
        return session.scalars(select(Model).where(Model.job_id == job)).first()


def has_starter() -> bool:
    """Is the starter model registered, with its weights in place?"""
    with reading() as session:
        model = session.scalars(select(Model).where(Model.alias == STARTER).order_by(Model.id).limit(1)).first()
    return model is not None and (settings().models_folder / model.folder / "config.json").exists()
