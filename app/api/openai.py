"""/v1: the OpenAI shapes, for the unmodified `openai` client.

A tuned model is asked through the prompt it was tuned with: the last user message is `input` (a JSON object when the
prompt declares several variables). Earlier or system turns are refused with advice, unless `raw: true` sends the messages
as they are through the model's own chat template.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import Field, ValidationError

from app.api.leaving import while_here
from app.api.openai_shapes import Shape, ends
from app.api.shapes import Body
from app.domain.generation import CONSTRAINTS, Parameters
from app.domain.rendering import LABELS, literal, unknown
from app.doors import TokenOwner
from app.errors import FettleError, Invalid
from app.services import generate, models

router = APIRouter(prefix="/v1")


class BadRequest(Invalid):
    """OpenAI clients expect 400, not 422."""

    status = 400


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str
    name: str | None = None


class JsonSchema(Body):
    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """What an answer has to be: any text, any JSON object, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @property
    def schema_of(self) -> dict[str, Any] | None:
        """The schema that the answer keeps to. Raises BadRequest when it is missing."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.json_schema is None:
            raise BadRequest("bad_parameter", "response_format: json_schema is missing.", "Send the schema with it.")
        return self.json_schema.schema_


class Sampling(Body):
    """The OpenAI sampling fields Fettle carries out, and a few of its own beside them; any other is refused rather than ignored."""

    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    user: str | None = None
    top_k: int | None = None
    min_tokens: int | None = None
    repetition_penalty: float | None = None
    choices: list[str] | None = None
    regex: str | None = None

    @property
    def alternatives(self) -> int | None:
        """How many alternatives of each token to say; none where log-probabilities were not asked for."""
        return None

    def parameters(self, usual: Mapping[str, Any]) -> Parameters:
        """What was sent, over what is usual for the model. Fettle's bounds. Raises BadRequest."""
        values = {name: getattr(self, name) for name in SAME}
        values["max_tokens"] = self.max_completion_tokens or self.max_tokens
        values["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        values["json_schema"] = self.response_format.schema_of if self.response_format else None
        values["logprobs"] = None if self.alternatives is None else max(1, self.alternatives)
        given = {key: value for key, value in values.items() if value is not None}
        if any(name in given for name in CONSTRAINTS):  # what is asked for takes the place of what is usual
            usual = {name: value for name, value in usual.items() if name not in CONSTRAINTS}
        try:
            return Parameters.model_validate({"max_tokens": 256, **usual, **given})
        except ValidationError as error:
            first = error.errors()[0]
            raise BadRequest("bad_parameter", f"{first['loc'][0] if first['loc'] else 'parameters'}: {first['msg']}", "Correct the value.") from error


SAME = (
    "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "n", "top_k", "min_tokens", "repetition_penalty", "choices", "regex",
)  # fmt: skip
"""Fields that are called the same on both sides."""


class Chat(Sampling):
    messages: list[ChatMessage] = Field(min_length=1)
    raw: bool = False
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def alternatives(self) -> int | None:
        if self.top_logprobs is not None and not self.logprobs:
            raise BadRequest("bad_parameter", "top_logprobs needs logprobs: true.", "Send both.")
        return self.top_logprobs or 0 if self.logprobs else None


class Completion(Sampling):
    prompt: str
    logprobs: int | None = None

    @property
    def alternatives(self) -> int | None:
        return self.logprobs


@router.get("/models")
def index(person: TokenOwner) -> dict[str, Any]:
    rows, _ = models.recent(person, limit=200)
    return {"object": "list", "data": [{"id": row.slug, "object": "model", "created": row.created_at // 1000, "owned_by": "fettle"} for row in rows]}


@router.post("/chat/completions", response_model=None)
async def chat(person: TokenOwner, body: Chat, http: Request) -> dict[str, Any] | Response:
    """One answer in OpenAI's chat shape, whole or streamed."""
    lineage = await to_thread.run_sync(models.find, person, body.model)
    if body.raw or lineage.prompt is None:
        # Contents go in as values, never as template text: a user's message cannot forge a turn.
        prompt: dict[str, Any] | None = {
            "mode": "chat",
            "messages": [{"role": _role(turn), "content": f"{{turn_{at}}}"} for at, turn in enumerate(body.messages)],
        }
        variables = {f"turn_{at}": turn.content for at, turn in enumerate(body.messages)}
        usual: Mapping[str, Any] = {"temperature": 1.0}
    else:
        prompt, variables = None, variables_of(body.messages, _asked(lineage))
        usual = lineage.prompt.parameters  # what was tested is what is served
    model, fields = await to_thread.run_sync(generate.fields_for, person, lineage.model.id, prompt, None)
    request = await to_thread.run_sync(generate.start, person, model, fields, variables, body.parameters(usual))
    return await _respond(http, request, body, "chat.completion")


@router.post("/completions", response_model=None)
async def completions(person: TokenOwner, body: Completion, http: Request) -> dict[str, Any] | Response:
    """Raw text in, its continuation out."""
    prompt = {"mode": "freeform", "text": literal(body.prompt)}
    model, fields = await to_thread.run_sync(generate.fields_for, person, body.model, prompt, None)
    request = await to_thread.run_sync(generate.start, person, model, fields, {}, body.parameters({"temperature": 1.0, "stop": []}))
    return await _respond(http, request, body, "text_completion")


def variables_of(messages: list[ChatMessage], names: tuple[str, ...]) -> dict[str, str]:
    """The template variables in the one user message a tuned model takes. Raises BadRequest."""
    if len(messages) != 1 or messages[0].role != "user":
        raise BadRequest(
            "one_user_message",
            "This model was tuned through a prompt, so it takes exactly one user message: its input.",
            "Leave out system and earlier turns, or send raw: true to use the model's chat template instead.",
        )
    text = messages[0].content
    if names == ("input",) or not names:
        return {"input": text}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or any(not isinstance(value, str) for value in values.values()):
        raise BadRequest("variables_needed", f"This model's prompt has several variables: {', '.join(names)}.", "Send them as one JSON object of strings.")
    return values


def _asked(lineage: models.Lineage) -> tuple[str, ...]:
    """The variables a caller has to give: not those with a default, and `{labels}` comes from the dataset that the model was tuned on."""
    names = unknown(lineage.prompt.template(), ()) if lineage.prompt else ()
    return tuple(name for name in names if name != LABELS or lineage.version is None or not lineage.version.shown_labels())


def _role(turn: ChatMessage) -> str:
    return "system" if turn.role == "developer" else turn.role


async def _respond(http: Request, request: generate.Request, body: Sampling, kind: str) -> dict[str, Any] | Response:
    head = {"id": f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{request.id}", "created": int(time.time()), "model": request.model.slug}
    shape = Shape(kind.startswith("chat"), body.alternatives)
    if not body.stream:
        answer = await while_here(http, generate.answer(request))
        return {**head, "object": kind, "choices": shape.choices(answer), "usage": _usage(answer)}
    events = generate.events(request)
    first = await while_here(http, anext(events))
    usage = bool((body.stream_options or {}).get("include_usage"))
    return EventSourceResponse(_chunks({**head, "object": f"{kind}.chunk" if shape.chat else kind}, first, events, shape, usage))


def _usage(counts: dict[str, Any]) -> dict[str, int]:
    return {
        "prompt_tokens": counts["input_tokens"],
        "completion_tokens": counts["output_tokens"],
        "total_tokens": counts["input_tokens"] + counts["output_tokens"],
    }


async def _chunks(head: dict[str, Any], first: dict[str, Any], events: AsyncIterator[dict[str, Any]], shape: Shape, usage: bool) -> AsyncIterator[bytes]:
    """OpenAI's stream: a chunk a delta, one with each finish reason, optionally the usage, then [DONE]. An error ends it without [DONE]."""

    def chunk(choice: dict[str, Any]) -> bytes:
        return format_sse_event(data_str=json.dumps({**head, "choices": [choice]}))

    try:
        event: dict[str, Any] | None = first
        while event is not None:
            if event["type"] == "token":
                yield chunk(shape.delta(event))
            elif event["type"] == "done":
                for index, reason in ends(event):
                    yield chunk(shape.last(index, reason))
                if usage:
                    yield format_sse_event(data_str=json.dumps({**head, "choices": [], "usage": _usage(event)}))
                yield b"data: [DONE]\n\n"
            event = await anext(events, None)
    except FettleError as error:
        yield format_sse_event(data_str=json.dumps({"error": {"message": error.message, "type": "server_error", "param": None, "code": error.code}}))
