"""/api/v1/likelihoods: how likely a model finds each label as the answer to a prompt."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import Field

from app.api import shapes
from app.api.leaving import while_here
from app.api.prompts import PromptFields
from app.doors import Person
from app.services import likelihoods, notebook
from app.services.likelihoods import Weighed, Weighing
from app.services.to_the_end import to_the_end

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
async def create(person: Person, body: NewLikelihoods, http: Request) -> dict[str, Any]:
    """Every label, the likeliest first; `share` sums to 1 over them, `calibrated_share` after what the model favours without an input is taken out.

    An endpoint reads the prompt once for each label, and three times more without its input: `input_tokens`, `output_tokens` and `cost` say what that
    took. Whoever leaves, ends it; what was taken until then is in the notebook.
    """
    prompt = body.prompt.model_dump() if body.prompt else None
    asking = await to_thread.run_sync(likelihoods.asked, person, body.model, prompt, body.prompt_version, body.variables, body.labels, body.dataset)
    took, found = Weighing(), list[Weighed]()
    try:
        found = await while_here(http, likelihoods.weigh(asking, took))
    finally:
        if body.ticket:
            await to_the_end(asyncio.to_thread(notebook.weighed, person, body.ticket, found, took.as_json()))
    told = took.as_json() or {"input_tokens": None, "output_tokens": None, "estimated": False, "cost": 0.0}
    return {"labels": [asdict(one) for one in found], **told}
