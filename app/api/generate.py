"""/api/v1/generate"""

import json
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import Field

from app.api import shapes
from app.api.leaving import while_here
from app.api.prompts import PromptFields
from app.domain.access import Who
from app.domain.generation import Parameters
from app.doors import Person
from app.errors import FettleError
from app.services import generate, notebook

router = APIRouter(prefix="/generate")


class NewGeneration(shapes.Body):
    """Either `prompt` (a draft) or `prompt_version`; without both, the prompt the model was tuned through."""

    model: int | str
    prompt: PromptFields | None = None
    prompt_version: int | str | None = None
    variables: dict[str, str] = {}
    parameters: Parameters | None = None
    stream: bool = False
    session: str | None = Field(None, max_length=64, description="The run is written into the notebook, under this session.")
    ticket: str | None = Field(None, max_length=64, description="A word of one's own to find the notebook's run by; one is made up otherwise.")


@router.post("", response_model=None)
async def create(person: Person, body: NewGeneration, http: Request) -> dict[str, Any] | Response:
    """An answer at once, or as server-sent events. The first event decides the status. Whoever leaves, ends the work."""
    request, entry = await accepted(person, body)
    if not body.stream:
        return await while_here(http, notebook.noted(entry, generate.answer(request)))
    events = notebook.recorded(entry, generate.events(request))
    first = await while_here(http, anext(events))
    return EventSourceResponse(stream(request.id, _after(first, events)), headers={"X-Accel-Buffering": "no"})


async def accepted(person: Who, body: NewGeneration) -> tuple[generate.Request, notebook.Entry | None]:
    """A generation that is on its way, and its entry in the notebook."""
    prompt = body.prompt.model_dump() if body.prompt else None
    model, fields = await to_thread.run_sync(generate.fields_for, person, body.model, prompt, body.prompt_version)
    request = await to_thread.run_sync(generate.start, person, model, fields, body.variables, body.parameters)
    asked = model, fields, body.prompt_version, body.variables, body.parameters
    return request, await to_thread.run_sync(notebook.begin, person, body.session, *asked, body.ticket)


async def left(accepted: tuple[generate.Request, notebook.Entry | None]) -> None:
    """End a generation whose events nobody reads: its engine is told, and the notebook. An endpoint has not been asked by then."""
    request, entry = accepted
    await to_thread.run_sync(generate.drop, request)
    if entry is not None:
        await to_thread.run_sync(entry.write)


async def _after(first: dict[str, Any], events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    yield first
    async for event in events:
        yield event


async def stream(request: str, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """The contract's events: unnamed {text, index?, logprobs?}, `loading` {fraction}, then `done` {counts} or `error` {error}. `accepted` names the request, to stop it by."""
    yield format_sse_event(event="accepted", data_str=json.dumps({"request": request}))
    try:
        async for event in events:
            yield encode(event)
    except FettleError as error:
        yield format_sse_event(event="error", data_str=json.dumps({"error": error.as_dict()}))


def encode(event: dict[str, Any]) -> bytes:
    values = {key: value for key, value in event.items() if key != "type"}
    if event["type"] == "token":
        return format_sse_event(data_str=json.dumps(values))
    return format_sse_event(event=event["type"], data_str=json.dumps(values))


@router.post("/count")
async def count(person: Person, body: NewGeneration) -> dict[str, Any]:
    """How many tokens the prompt has, as this model's tokenizer cuts it."""
    prompt = body.prompt.model_dump() if body.prompt else None
    model, fields = await to_thread.run_sync(generate.fields_for, person, body.model, prompt, body.prompt_version)
    request = await to_thread.run_sync(lambda: generate.start(person, model, fields, body.variables, body.parameters, count_only=True))
    return await generate.count(request)


@router.post("/{request}/stop", status_code=204)
def stop(person: Person, request: str) -> None:
    generate.stop(person, request)
