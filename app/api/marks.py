"""/api/v1/marks"""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.api.prompts import PromptFields
from app.domain.generation import Parameters
from app.domain.mark import Mark
from app.doors import Person
from app.services import marks

router = APIRouter(prefix="/marks")


class NewMark(shapes.Body):
    """What was asked, as POST /api/v1/generate takes it, what came back, and what to think of it."""

    model: int | str
    prompt: PromptFields | None = None
    prompt_version: int | str | None = None
    parameters: Parameters | None = None
    variables: dict[str, str] = {}
    text: str = Field(max_length=100_000)
    thumb: Literal["up", "down", ""] = ""
    note: str = Field("", max_length=10_000)


def _shape(row: Mark) -> dict[str, Any]:
    names = ("id", "prompt", "variables", "text", "thumb", "note", "created_at")
    return {"model": row.model_id, **{name: getattr(row, name) for name in names}}


@router.put("")
def put(person: Person, body: NewMark) -> dict[str, Any]:
    """Mark an answer, or change its mark: {id}. Without thumb and note the mark is taken back and `id` is null."""
    given = body.model_dump(exclude={"prompt", "parameters"})
    prompt = body.prompt.model_dump() if body.prompt else None
    row = marks.put(person, prompt=prompt, parameters=body.parameters.model_dump() if body.parameters else None, **given)
    return {"id": row.id if row else None}


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    rows, following = marks.recent(person, after, limit)
    return shapes.listing([{**_shape(view.mark), "author": view.author} for view in rows], following)


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    marks.delete(person, key)
