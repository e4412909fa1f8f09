"""Ask a model for an answer: the lab and /v1 share this. For a local model the engine process does the work and this is its waiting room."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from anyio import to_thread

from app import queue
from app.db import reading
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.generation import Parameters
from app.domain.model import Model
from app.domain.rendering import DEFAULT, LABELS, Template, check, render, template_variables
from app.errors import FettleError, Invalid, Unavailable
from app.services import endpoints, remote_answers
from app.services.remote_answers import Asked
from app.services.to_the_end import to_the_end

FIRST_EVENT_SECONDS = 20
SILENCE_SECONDS = 120
GONE_SECONDS = 2
"""So long nothing is heard of an answer that had begun before it is asked whether the engine process is still there."""
POLL_MS = 1000


@dataclass(frozen=True)
class Request:
    """One accepted generation: its id, the model that answers and, when that is at an endpoint, what to ask there."""

    id: str
    model: Model
    asked: Asked | None = None


class EngineError(FettleError):
    """What the engine process said went wrong, with the status that it has there: a prompt that is too long is the asker's to shorten."""

    status = 502

    @classmethod
    def told(cls, event: Mapping[str, Any]) -> Self:
        error = cls(event["code"], event["message"], event.get("advice", ""), detail={key: event[key] for key in ("field",) if key in event})
        error.status = event.get("status", cls.status)
        return error


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
    variables = with_labels(model, template, variables)
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
    template = {name: fields[name] for name in prompts.FIELDS if name in fields and name != "parameters"}
    queue.ask_engine(request, {"model": model.id, "template": template, **wanted})
    return Request(request, model)


def with_labels(model: Model, template: Template, variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, with `{labels}` from what the model was tuned on where the prompt asks for it."""
    return {**_book_of(model), **variables} if LABELS in template_variables(template) else variables


def _book_of(model: Model) -> dict[str, str]:
    """`{labels}` for whoever does not say it: the labels of the dataset version that the model was tuned on."""
    if model.dataset_version_id is None:
        return {}
    with reading() as session:
        return session.get_one(DatasetVersion, model.dataset_version_id).shown_labels()


def drop(request: Request) -> None:
    """Nobody will read the events of a generation. One for an endpoint begins only when they are read."""
    if request.asked is None:
        queue.cancel_generation(request.id)


def events(request: Request) -> AsyncIterator[dict[str, Any]]:
    """What happens until `done`: {type: loading, fraction}, {type: token, text} with `index` and `logprobs` where they were asked for, then
    {type: done, reason, input_tokens, output_tokens, latency_ms, cost} with `answers` when there are several.

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
            if waited >= GONE_SECONDS and patience == SILENCE_SECONDS and not await to_thread.run_sync(queue.engine_listens):
                raise Unavailable("engine_gone", "The engine process ended in the middle of the answer.", "It starts again by itself; then ask again.")
            if waited >= patience:
                raise Unavailable(
                    "engine_silent", f"The engine process has not answered for {patience} s.", "It may be busy loading a model; try again, or read its log."
                )
            for event in batch:
                patience = SILENCE_SECONDS
                finished = event["type"] in ("done", "error")
                if event["type"] == "error":
                    raise EngineError.told(event)
                yield {**event, "cost": 0.0} if finished else event
    finally:
        await to_the_end(_leave(stream, None if finished else request.id))


async def _leave(stream: queue.EngineStream, unfinished: str | None) -> None:
    """Nobody reads a generation's events any more; the engine hears of it while it is unfinished."""
    try:
        if unfinished is not None:
            await to_thread.run_sync(queue.cancel_generation, unfinished)
    finally:
        await stream.close()


async def answer(request: Request) -> dict[str, Any]:
    """The whole answer at once: {text, input_tokens, output_tokens, latency_ms, cost, reason}, with `texts` of several answers, and `logprobs`
    (a list for each of several) where they were asked for."""
    texts, logprobs, done = dict[int, str](), dict[int, list[Any]](), dict[str, Any]()
    async for event in events(request):
        if event["type"] == "token":
            index = event.get("index", 0)
            texts[index] = texts.get(index, "") + event["text"]
            logprobs.setdefault(index, []).extend(event.get("logprobs", ()))
        elif event["type"] == "done":
            done = {key: value for key, value in event.items() if key != "type"}
    count = len(done.get("answers", ())) or 1
    more: dict[str, Any] = {"texts": [texts.get(at, "") for at in range(count)]} if "answers" in done else {}
    if any(logprobs.values()):
        more["logprobs"] = logprobs[0] if count == 1 else [logprobs.get(at, []) for at in range(count)]
    return {"text": texts.get(0, ""), **more, **done}


async def count(request: Request) -> dict[str, Any]:
    """Token counts of a prompt, as the model sees it; `estimated` where only an endpoint could count."""
    if request.asked is not None:
        return remote_answers.count(request.asked)
    async for event in events(request):
        if event["type"] == "done":
            return event
    raise Invalid("no_count", "The engine did not count.", "Try again.")


def stop_columns(person: Who, ticket: str, columns: Sequence[int]) -> None:
    """End columns of a person's table: what still waits there is never asked. Those cells that are asked have requests of their own to stop."""
    for column in columns:
        queue.cancel_generation(_column(person, ticket, column))


def stopped(person: Who, ticket: str, column: int) -> bool:
    """Whether somebody has ended a column of their table."""
    return queue.is_cancelled(_column(person, ticket, column))


async def until_stopped(person: Who, ticket: str, column: int) -> None:
    """Return when somebody ends a column of their table."""
    await queue.until_cancelled(_column(person, ticket, column))


def _column(person: Who, ticket: str, column: int) -> str:
    return f"{person.user_id}:{ticket}:{column}"


def stop(person: Who, request: str) -> None:
    """End a generation early. Request ids cannot be guessed: 128 random bits."""
    del person
    queue.cancel_generation(request)
