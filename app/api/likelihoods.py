"""/api/v1/likelihoods: how likely a model finds each label as the answer to a prompt."""

from dataclasses import asdict
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.api.prompts import PromptFields
from app.doors import Person
from app.services import likelihoods, notebook

router = APIRouter(prefix="/likelihoods")


class NewLikelihoods(shapes.Body):
    """Either `labels` or a `dataset` that has some; the prompt is said as for a generation."""

    model: int | str
    prompt: PromptFields | None = None
    prompt_version: int | str | None = None
    variables: dict[str, str] = {}
    labels: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=likelihoods.MOST_LABELS)] | None = None
    dataset: int | str | None = None
    ticket: str | None = Field(None, max_length=64, description="Of a run of one's notebook that asked the same: the labels are kept with it.")


@router.post("")
async def create(person: Person, body: NewLikelihoods) -> dict[str, Any]:
    """Every label, the likeliest first; `share` sums to 1 over them, `calibrated_share` after what the model favours without an input is taken out."""
    prompt = body.prompt.model_dump() if body.prompt else None
    asking = await to_thread.run_sync(likelihoods.asked, person, body.model, prompt, body.prompt_version, body.variables, body.labels, body.dataset)
    found = await likelihoods.weigh(asking)
    if body.ticket:
        await to_thread.run_sync(notebook.weighed, person, body.ticket, found)
    return {"labels": [asdict(one) for one in found]}
