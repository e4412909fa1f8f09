"""Prompts: save, list, read."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import prompt as prompts
from app.domain.access import Who, page, visible, write
from app.domain.generation import Parameters
from app.domain.prompt import Prompt, PromptVersion, fields_of, template_of


def normal_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """A version's fields, complete and checked."""
    parameters = Parameters.model_validate(values.get("parameters") or {}).model_dump(exclude_defaults=True)
    return fields_of(template_of(values), parameters)


def create(person: Who, name: str, values: Mapping[str, Any]) -> PromptVersion:
    with transaction() as session:
        return prompts.create(session, person, name, normal_form(values))


def add_version(person: Who, key: int, values: Mapping[str, Any]) -> PromptVersion:
    with transaction() as session:
        return prompts.add_version(session, person, write(session, person, Prompt, key, "prompt"), normal_form(values))


def find(person: Who, reference: int | str) -> tuple[Prompt, PromptVersion]:
    with reading() as session:
        version = prompts.find(session, person, reference)
        return session.get_one(Prompt, version.prompt_id), version


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[tuple[Prompt, PromptVersion]], int | None]:
    """Prompts with their newest version, newest first."""
    with reading() as session:
        rows, following = page(session, visible(person, Prompt), Prompt, after, limit)
        newest = {row.id: prompts.latest(session, row.id) for row in rows}
        return [(row, version) for row in rows if (version := newest[row.id])], following


def versions(person: Who, key: int) -> list[PromptVersion]:
    with reading() as session:
        prompt = write(session, person, Prompt, key, "prompt")
        return list(session.scalars(select(PromptVersion).where(PromptVersion.prompt_id == prompt.id).order_by(PromptVersion.number.desc())))
