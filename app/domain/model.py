"""Models: foundation models of the catalogue, tuned models with what they were made from, and remote ones that an endpoint answers for."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, false, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, read
from app.domain.base import Base, Owned, parse_reference
from app.errors import Invalid, NotFound


class Model(Owned, Base):
    """`kind` is foundation, tuned or remote. `folder` is relative to the models folder (foundation) or the storage (tuned).

    A remote model has no weights here: no folder, hash or parameters, but an endpoint and the name by which that knows it.
    A `pinned` model, once loaded, stays in the engine's memory; jobs wait. `encoder_decoder` says that a foundation model reads its input in one half and writes its answer in another.
    """

    __tablename__ = "model"

    name: Mapped[str]
    kind: Mapped[str]
    folder: Mapped[str]
    content_hash: Mapped[str]
    parameters: Mapped[int]
    encoder_decoder: Mapped[bool] = mapped_column(default=False, server_default=false())
    licence: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="")
    alias: Mapped[str | None]
    base_model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    method: Mapped[str | None]
    method_parameters: Mapped[dict[str, Any] | None]
    trainable_parameters: Mapped[int | None]
    training_seconds: Mapped[float | None]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), index=True)
    prompt_version_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_version.id"))
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"))
    endpoint_id: Mapped[int | None] = mapped_column(ForeignKey("endpoint.id"), index=True)
    remote_name: Mapped[str | None]
    pinned: Mapped[bool] = mapped_column(default=False, server_default=false())

    @property
    def remote(self) -> bool:
        return self.kind == "remote"

    @property
    def shown(self) -> str:
        """What it is called where models stand side by side: a remote one with its endpoint, since several may know the same name."""
        return self.slug if self.remote else self.name

    @property
    def slug(self) -> str:
        """The name by which an OpenAI client asks for this model."""
        return self.alias or f"{re.sub(r'[^a-z0-9.]+', '-', self.name.lower()).strip('-')}-{self.id}"


def find(session: Session, person: Who, key: int | str) -> Model:
    """A model by id, alias or slug. Raises NotFound."""
    text = str(key)
    parsed = parse_reference(text)
    if parsed is not None and parsed[1] is None:
        return read(session, person, Model, parsed[0], "model")
    mine = select(Model).where(Model.workspace_id == person.workspace_id)
    found = session.scalars(mine.where(Model.alias == text)).first()
    tail = parse_reference(text.rpartition("-")[2])
    if found is None and tail is not None:
        candidate = session.scalars(mine.where(Model.id == tail[0])).first()
        found = candidate if candidate is not None and candidate.slug == text else None
    if found is None:
        raise NotFound("model", text)
    return found


def folders(session: Session, model: Model, models_folder: Path, storage: Path) -> tuple[Path, Path | None]:
    """(folder of the base weights, folder of the adapter or None). A fully tuned model is its own base. Raises Invalid for a remote model."""
    if model.remote:
        raise Invalid("remote_model", f"{model.name} runs at its endpoint; its weights are not here.", "Choose a foundation or tuned model.")
    if model.kind == "foundation":
        return models_folder / model.folder, None
    if model.method == "full":
        return storage / model.folder, None
    base = session.get_one(Model, model.base_model_id)
    return folders(session, base, models_folder, storage)[0], storage / model.folder


def merged_folder(model: Model) -> str:
    """Where a tuned model lies as one plain model, each try to make it in a folder of its own; from the storage's root."""
    return f"exports/model-{model.id}"


def root(session: Session, model: Model) -> Model:
    """The foundation model under a model."""
    while model.base_model_id is not None:
        model = session.get_one(Model, model.base_model_id)
    return model


def tunable(model: Model) -> None:
    """Raises Invalid for a model that a job cannot start from."""
    if model.remote:
        raise Invalid("not_a_foundation_model", f"{model.name} runs at its endpoint, so it cannot be tuned here.", "Choose a foundation model.")
    if model.kind != "foundation":
        raise Invalid("not_a_foundation_model", f"{model.name} is already tuned.", "Start from its base model.")


def register_tuned(session: Session, person: Who, **values: Any) -> Model:
    """A new tuned model, in the transaction that finishes its job."""
    model = Model(**owned(person), kind="tuned", alias=None, **values)
    session.add(model)
    session.flush()
    return model
