"""Ask a model for an answer: the lab and /v1 share this. For a local model the engine process does the work and this is its waiting room."""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CancelScope, to_thread

from app import queue
from app.db import reading
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.generation import Parameters
from app.domain.model import Model
from app.domain.rendering import DEFAULT, LABELS, check, render, template_variables
from app.errors import FettleError, Invalid, Unavailable
from app.services import endpoints, remote_answers
from app.services.remote_answers import Asked

FIRST_EVENT_SECONDS = 20
SILENCE_SECONDS = 120
POLL_MS = 1000


@dataclass(frozen=True)
class Request:
    """One accepted generation: its id, the model that answers and, when that is at an endpoint, what to ask there."""

    id: str
    model: Model
    asked: Asked | None = None


class EngineError(FettleError):
    """What the engine process said went wrong."""

    status = 502


def fields_for(person: Who, model: int | str, prompt: Mapping[str, Any] | None, prompt_version: int | str | None) -> tuple[Model, dict[str, Any]]:
    """The model, and the prompt's fields: those given, else those of the version named, else those the model was tuned through."""
    with reading() as session:
        row = models.find(session, person, model)
        if prompt is not None:
            return row, {**prompts.fields_of(prompts.template_of(prompt)), "parameters": dict(prompt.get("parameters") or {})}
        if prompt_version is not None:
            version = prompts.find(session, person, prompt_version)
        elif row.prompt_version_id is not None:
            version = session.get_one(prompts.PromptVersion, row.prompt_version_id)
        else:
            return row, prompts.fields_of(DEFAULT)
        return row, {**prompts.fields_of(version.template()), "parameters": dict(version.parameters)}


def start(
    person: Who, model: Model, fields: Mapping[str, Any], variables: Mapping[str, str], parameters: Parameters | None, count_only: bool = False
) -> Request:
    """Check a generation and hand it to the engine process, or get it ready for its endpoint. Raises Invalid or Unavailable."""
    template = prompts.template_of(fields)
    if LABELS in template_variables(template):
        variables = {**_book_of(model), **variables}
    check(template, variables)
    rendered = render(template, variables)
    chosen = parameters or Parameters.model_validate(fields.get("parameters") or {})
    with reading() as session:
        remote = endpoints.remote(session, model)
    if remote is not None:
        return Request(secrets.token_urlsafe(16), model, remote_answers.prepare(remote, rendered, chosen))
    return hand(model, fields, {"variables": dict(variables), "parameters": chosen.model_dump(), "count_only": count_only})


def hand(model: Model, fields: Mapping[str, Any], wanted: Mapping[str, Any]) -> Request:
    """Put a request for a model and a prompt into the engine process's hands. Raises Unavailable when nobody is there, Invalid for a remote model."""
    if model.remote:
        raise Invalid("not_local", f"{model.name} answers at an endpoint, and this needs a model that runs here.", "Choose a local model.")
    with reading() as session:
        if not workers.alive(session, "interactive"):
            raise Unavailable(
                "engine_away", "The engine process is not running, so no local model can answer.", "Start it: `fettle engine` (or `fettle up` for everything)."
            )
    request = secrets.token_urlsafe(16)
    template = {name: fields[name] for name in prompts.FIELDS if name != "parameters"}
    queue.ask_engine(request, {"model": model.id, "template": template, **wanted})
    return Request(request, model)


def _book_of(model: Model) -> dict[str, str]:
    """`{labels}` for whoever does not say it: the labels of the dataset version that the model was tuned on."""
    if model.dataset_version_id is None:
        return {}
    with reading() as session:
        return session.get_one(DatasetVersion, model.dataset_version_id).shown_labels()


def events(request: Request) -> AsyncIterator[dict[str, Any]]:
    """What happens until `done`: {type: token, text} and other news, then {type: done, reason, input_tokens, output_tokens, latency_ms, cost}.

    Raises EngineError or RemoteError when it fails, Unavailable when nobody answers. Leaving the iterator early cancels the generation.
    """
    return _engine_events(request) if request.asked is None else remote_answers.events(request.id, request.asked)


async def _engine_events(request: Request) -> AsyncIterator[dict[str, Any]]:
    stream = queue.EngineStream(request.id)
    finished, waited, patience = False, 0, FIRST_EVENT_SECONDS
    try:
        while not finished:
            batch = await stream.read(POLL_MS)
            waited = 0 if batch else waited + POLL_MS // 1000
            if waited >= patience:
                raise Unavailable(
                    "engine_silent", f"The engine process has not answered for {patience} s.", "It may be busy loading a model; try again, or read its log."
                )
            for event in batch:
                patience = SILENCE_SECONDS
                finished = event["type"] in ("done", "error")
                if event["type"] == "error":
                    raise EngineError(event["code"], event["message"], event.get("advice", ""))
                yield {**event, "cost": 0.0} if finished else event
    finally:
        with CancelScope(shield=True):  # the client may be gone and this task cancelled; the engine has to hear of it all the same
            if not finished:
                await to_thread.run_sync(queue.cancel_generation, request.id)
            await stream.close()


async def answer(request: Request) -> dict[str, Any]:
    """The whole answer at once: {text, input_tokens, output_tokens, latency_ms, cost, finish_reason}."""
    text, done = "", {}
    async for event in events(request):
        if event["type"] == "token":
            text += event["text"]
        elif event["type"] == "done":
            done = {key: value for key, value in event.items() if key != "type"}
    return {"text": text, **done}


async def count(request: Request) -> dict[str, Any]:
    """Token counts of a prompt, as the model sees it; `estimated` where only an endpoint could count."""
    if request.asked is not None:
        return remote_answers.count(request.asked)
    async for event in events(request):
        if event["type"] == "done":
            return event
    raise Invalid("no_count", "The engine did not count.", "Try again.")


def stop(person: Who, request: str) -> None:
    """End a generation early. Request ids cannot be guessed: 128 random bits."""
    del person
    queue.cancel_generation(request)
