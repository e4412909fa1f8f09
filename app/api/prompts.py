"""/api/v1/prompts"""

import json
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from app.api import shapes
from app.domain.generation import Parameters
from app.domain.prompt import PromptVersion
from app.domain.wording import By
from app.doors import Person
from app.services import prompt_removal, prompts

router = APIRouter(prefix="/prompts")


class ShotBody(shapes.Body):
    input: str
    output: str


class MessageBody(shapes.Body):
    role: Literal["system", "user", "assistant"]
    content: str


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]


class PromptFields(shapes.Body):
    """A prompt version's wording; which fields count depends on the mode. `defaults` are the variables it declares, each with its default value."""

    mode: Literal["structured", "freeform", "chat"] = "structured"
    instruction: str = ""
    input_prefix: str = "Input:"
    output_prefix: str = "Output:"
    shots: list[ShotBody] = Field([], max_length=200)
    text: str = ""
    messages: list[MessageBody] = Field([], max_length=200)
    defaults: dict[Name, str] = Field({}, max_length=100)
    parameters: Parameters = Parameters()


class NewPrompt(PromptFields):
    name: str = Field(min_length=1, max_length=200)
    message: str = Field("", max_length=500)


class NewVersion(PromptFields):
    """`based_on` is the version that was edited: when another is the newest by now, it is not saved over unseen."""

    message: str = Field("", max_length=500)
    based_on: int | None = None


class FileVersion(PromptFields):
    message: str = Field("", max_length=500)


class PromptFile(shapes.Body):
    """What an export holds."""

    format: Literal["fettle.prompt/1"]
    name: str = Field(min_length=1, max_length=200)
    versions: list[FileVersion] = Field(min_length=1, max_length=10_000)
    aliases: dict[str, int] = Field({}, max_length=200)


class Restored(shapes.Body):
    version: int


class Copied(shapes.Body):
    name: str = Field("", max_length=200)


class Renamed(shapes.Body):
    name: str = Field(min_length=1, max_length=200)


class AliasBody(shapes.Body):
    """The version an alias shall name: a number, or another alias; without one, the newest."""

    version: int | str | None = None


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = prompts.recent(person, after, limit)
    return shapes.listing([shapes.prompt(row, version) for row, version in rows], following)


@router.post("", status_code=201)
def create(person: Person, body: NewPrompt) -> dict[str, Any]:
    return _made(prompts.create(person, body.name, body.model_dump(exclude={"name", "message"}), body.message))


@router.post("/import", status_code=201)
def import_file(person: Person, body: PromptFile) -> dict[str, Any]:
    """A new prompt out of an exported one, with all its versions, messages and aliases."""
    return _made(prompts.import_file(person, body.name, [version.model_dump() for version in body.versions], body.aliases))


@router.get("/{reference}")
def show(person: Person, reference: str) -> dict[str, Any]:
    """A version by `ID` (the newest), `ID@N` or `ID@ALIAS`."""
    return shapes.prompt(*prompts.find(person, reference))


@router.patch("/{key}")
def rename(person: Person, key: shapes.Key, body: Renamed) -> dict[str, Any]:
    prompts.rename(person, key, body.name)
    return shapes.prompt(*prompts.find(person, key))


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Refused with 409 `in_use` while experiments, models or waiting jobs are built on it."""
    prompt_removal.remove(person, key)


@router.get("/{key}/versions")
def versions(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.listing(shapes.versions(prompts.history(person, key)), None)


@router.post("/{key}/versions", status_code=201)
def add_version(person: Person, key: shapes.Key, body: NewVersion) -> dict[str, Any]:
    return _made(prompts.add_version(person, key, body.model_dump(exclude={"message", "based_on"}), body.message, body.based_on))


@router.get("/{key}/diff")
def diff(
    person: Person,
    key: shapes.Key,
    older: Annotated[str, Query(alias="from", max_length=40)],
    newer: Annotated[str, Query(alias="to", max_length=40)],
    by: By = "word",
) -> dict[str, Any]:
    """What differs between two versions, by words or by lines: `?from=1&to=3`."""
    return shapes.compared(prompts.compare(person, key, older, newer, by))


@router.post("/{key}/restore", status_code=201)
def restore(person: Person, key: shapes.Key, body: Restored) -> dict[str, Any]:
    """An old version as the newest one again."""
    return _made(prompts.restore(person, key, body.version))


@router.post("/{reference}/duplicate", status_code=201)
def duplicate(person: Person, reference: str, body: Copied | None = None) -> dict[str, Any]:
    """A new prompt that begins with this version."""
    return _made(prompts.duplicate(person, reference, body.name if body else ""))


@router.get("/{key}/export")
def export(person: Person, key: shapes.Key) -> Response:
    """The whole prompt as a JSON file that `POST /import` reads."""
    found = prompts.export(person, key)
    name = re.sub(r"[^A-Za-z0-9]+", "-", found["name"]).strip("-").lower() or "prompt"
    headers = {"Content-Disposition": f'attachment; filename="{name}.prompt.json"'}
    return Response(json.dumps(found, ensure_ascii=False, indent=1), media_type="application/json", headers=headers)


@router.get("/{key}/aliases")
def aliases(person: Person, key: shapes.Key) -> dict[str, Any]:
    """Version numbers by alias, and every move of one, newest first."""
    found = prompts.history(person, key)
    return {"aliases": found.aliases, "moves": shapes.moves(found)}


@router.put("/{key}/aliases/{name}")
def set_alias(person: Person, key: shapes.Key, name: str, body: AliasBody) -> dict[str, Any]:
    return _made(prompts.set_alias(person, key, name, body.version)) | {"alias": name}


@router.delete("/{key}/aliases/{name}", status_code=204)
def drop_alias(person: Person, key: shapes.Key, name: str) -> None:
    prompts.drop_alias(person, key, name)


def _made(version: PromptVersion) -> dict[str, Any]:
    return {"id": version.prompt_id, "version": version.number}
