"""/api/v1/fits: whether the rows of a split fit a model with a prompt."""

from dataclasses import asdict
from typing import Any, Literal

from anyio import to_thread
from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.domain.shots import Fixed
from app.doors import Person
from app.services import fits

router = APIRouter(prefix="/fits")


class NewFit(shapes.Body):
    model: int | str
    dataset: int | str
    prompt_version: int | str | None = None
    split: Literal["train", "validation", "test"] = "test"
    answer: Literal["likelihood", "generate"] = "likelihood"
    shots: int | None = Field(None, ge=0, le=64, description="Drawn as a rung draws them; without it the prompt's own.")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    selection: Fixed = "balanced"
    limit: int | None = Field(None, ge=1, description="Those rows alone that an evaluation of so many takes.")
    max_length: int | None = Field(None, ge=8, le=131_072, description="How the rows fit a tuning job: its longest example in tokens, answer included.")


@router.post("")
async def create(person: Person, body: NewFit) -> dict[str, Any]:
    """Nothing is kept: how many rows do not fit, the longest in tokens, the model's window, and a sentence that says it."""
    request = await to_thread.run_sync(lambda: fits.start(person, **body.model_dump()))
    found = await fits.fit(request)
    return {**{name: value for name, value in asdict(found).items() if name != "of"}, "sentence": found.sentence}
