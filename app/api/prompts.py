"""/api/v1/prompts"""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.domain.generation import Parameters
from app.doors import Person
from app.services import prompts

router = APIRouter(prefix="/prompts")


class ShotBody(shapes.Body):
    input: str
    output: str


class MessageBody(shapes.Body):
    role: Literal["system", "user", "assistant"]
    content: str


class PromptFields(shapes.Body):
    """A prompt version's wording; which fields count depends on the mode."""

    mode: Literal["structured", "freeform", "chat"] = "structured"
    instruction: str = ""
    input_prefix: str = "Input:"
    output_prefix: str = "Output:"
    shots: list[ShotBody] = Field([], max_length=200)
    text: str = ""
    messages: list[MessageBody] = Field([], max_length=200)
    parameters: Parameters = Parameters()


class NewPrompt(PromptFields):
    name: str = Field(min_length=1, max_length=200)


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = prompts.recent(person, after, limit)
    return shapes.listing([shapes.prompt(row, version) for row, version in rows], following)


@router.post("", status_code=201)
def create(person: Person, body: NewPrompt) -> dict[str, Any]:
    version = prompts.create(person, body.name, body.model_dump(exclude={"name"}))
    return {"id": version.prompt_id, "version": version.number}


@router.get("/{reference}")
def show(person: Person, reference: str) -> dict[str, Any]:
    return shapes.prompt(*prompts.find(person, reference))


@router.post("/{key}/versions", status_code=201)
def add_version(person: Person, key: shapes.Key, body: PromptFields) -> dict[str, Any]:
    version = prompts.add_version(person, key, body.model_dump())
    return {"id": version.prompt_id, "version": version.number}
