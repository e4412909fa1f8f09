"""Models: the catalogue and the tuned ones."""

from dataclasses import dataclass

from sqlalchemy import select

from app.db import reading
from app.domain import model as models
from app.domain.access import Who, page, visible
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.settings import settings

STARTER = "starter"


@dataclass(frozen=True)
class Lineage:
    """A model with what it was made from."""

    model: Model
    base: Model | None
    prompt: PromptVersion | None


def recent(person: Who, after: int | None = None, limit: int = 100) -> tuple[list[Model], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Model), Model, after, limit)
        return list(rows), following


def foundation(person: Who) -> list[Model]:
    with reading() as session:
        return list(session.scalars(visible(person, Model).where(Model.kind == "foundation")))


def find(person: Who, key: int | str) -> Lineage:
    with reading() as session:
        model = models.find(session, person, key)
        base = session.get(Model, model.base_model_id) if model.base_model_id else None
        prompt = session.get(PromptVersion, model.prompt_version_id) if model.prompt_version_id else None
        return Lineage(model, base, prompt)


def of_job(job: int) -> Model | None:
    with reading() as session:
        return session.scalars(select(Model).where(Model.job_id == job)).first()


def has_starter() -> bool:
    """Is the starter model registered, with its weights in place?"""
    with reading() as session:
        model = session.scalars(select(Model).where(Model.alias == STARTER).order_by(Model.id).limit(1)).first()
    return model is not None and (settings().models_folder / model.folder / "config.json").exists()
