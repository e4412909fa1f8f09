"""View code: the snippets for what stands in the Lab."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy.orm import Session

from app.db import reading
from app.domain import model as models
from app.domain import snippets, snippets_local
from app.domain.access import Who
from app.domain.generation import Parameters
from app.domain.model import Model
from app.domain.prompt import template_of
from app.domain.rendering import check, render
from app.domain.snippets import Asked, Weights
from app.services import generate
from app.settings import settings


@dataclass(frozen=True)
class Snippet:
    """One way to ask; `missing` says why there is none."""

    key: str
    title: str
    text: str
    missing: str = ""


def snippets_for(
    person: Who, model: int | str, prompt: Mapping[str, Any] | None, variables: Mapping[str, str], parameters: Parameters, version: str | None = None
) -> list[Snippet]:
    """curl, `openai` and transformers for one run of a prompt or a saved version. Raises Invalid for a prompt that cannot be rendered, NotFound for what is missing."""
    row, fields = generate.fields_for(person, model, prompt, version)
    template = template_of(fields)
    values = generate.with_labels(row, template, variables)
    check(template, values)
    with reading() as session:
        weights = None if row.remote else _weights(session, session.get_one(Model, row.id))
    asked = Asked(settings().address, row.slug, fields, values, render(template, values), parameters, weights, tuned=row.prompt_version_id is not None)
    libraries = "transformers + peft" if weights and weights.adapter else "transformers"
    missing = snippets_local.why_not(asked) if weights else f"{row.shown} answers at its endpoint; its weights are not here."
    return [
        Snippet("curl", "curl", snippets.curl(asked)),
        Snippet("openai", "Python openai", snippets.openai(asked)),
        Snippet("transformers", f"Python {libraries}", snippets_local.transformers(asked), missing),
    ]


def _weights(session: Session, model: Model) -> Weights:
    """A fully tuned model is one folder, an adapter is a second one beside its base."""
    base = models.root(session, model)
    if model.kind == "foundation" or model.method == "full":
        return Weights(_folder(model), model.id, encoder_decoder=base.encoder_decoder)
    under = session.get_one(Model, model.base_model_id)
    return Weights(_folder(under), under.id, _folder(model), model.id, base.encoder_decoder)


def _folder(model: Model) -> str:
    return PurePosixPath(model.folder).name if model.kind == "foundation" else model.slug
