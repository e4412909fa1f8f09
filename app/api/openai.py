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
from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import Field, ValidationError

from app.api.shapes import Body
from app.domain.generation import Parameters
from app.domain.rendering import LABELS, literal, template_variables
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


class Sampling(Body):
    """The OpenAI sampling fields Fettle carries out; any other is refused rather than ignored."""

    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    user: str | None = None
    n: Literal[1] = 1

    def parameters(self, usual: Mapping[str, Any]) -> Parameters:
        """What was sent, over what is usual for the model. Fettle's bounds. Raises BadRequest."""
        values: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
        }
        values["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        try:
            return Parameters.model_validate({"max_tokens": 256, **usual, **{key: value for key, value in values.items() if value is not None}})
        except ValidationError as error:
            first = error.errors()[0]
            raise BadRequest("bad_parameter", f"{first['loc'][0]}: {first['msg']}", "Correct the value.") from error


class Chat(Sampling):
    messages: list[ChatMessage] = Field(min_length=1)
    raw: bool = False


class Completion(Sampling):
    prompt: str


@router.get("/models")
def index(person: TokenOwner) -> dict[str, Any]:
    rows, _ = models.recent(person, limit=200)
    return {"object": "list", "data": [{"id": row.slug, "object": "model", "created": row.created_at // 1000, "owned_by": "fettle"} for row in rows]}


@router.post("/chat/completions", response_model=None)
async def chat(person: TokenOwner, body: Chat) -> dict[str, Any] | Response:
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
    return await _respond(request, body, "chat.completion")


@router.post("/completions", response_model=None)
async def completions(person: TokenOwner, body: Completion) -> dict[str, Any] | Response:
    """Raw text in, its continuation out."""
    prompt = {"mode": "freeform", "text": literal(body.prompt)}
    model, fields = await to_thread.run_sync(generate.fields_for, person, body.model, prompt, None)
    request = await to_thread.run_sync(generate.start, person, model, fields, {}, body.parameters({"temperature": 1.0, "stop": []}))
    return await _respond(request, body, "text_completion")


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
    """The variables a caller has to give: `{labels}` comes from the dataset that the model was tuned on."""
    names = template_variables(lineage.prompt.template()) if lineage.prompt else ()
    return tuple(name for name in names if name != LABELS or lineage.version is None or not lineage.version.shown_labels())


def _role(turn: ChatMessage) -> str:
    return "system" if turn.role == "developer" else turn.role


async def _respond(request: generate.Request, body: Sampling, kind: str) -> dict[str, Any] | Response:
    head = {"id": f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{request.id}", "created": int(time.time()), "model": request.model.slug}
    if not body.stream:
        answer = await generate.answer(request)
        text = answer["text"].lstrip() if kind.startswith("chat") else answer["text"]
        choice: dict[str, Any] = {"index": 0, "finish_reason": answer["reason"], "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if kind.startswith("chat") else {"text": text}
        return {**head, "object": kind, "choices": [choice], "usage": _usage(answer)}
    events = generate.events(request)
    first = await anext(events)
    usage = bool((body.stream_options or {}).get("include_usage"))
    return EventSourceResponse(_chunks({**head, "object": f"{kind}.chunk" if kind.startswith("chat") else kind}, first, events, usage))


def _usage(counts: dict[str, Any]) -> dict[str, int]:
    return {
        "prompt_tokens": counts["input_tokens"],
        "completion_tokens": counts["output_tokens"],
        "total_tokens": counts["input_tokens"] + counts["output_tokens"],
    }


async def _chunks(head: dict[str, Any], first: dict[str, Any], events: AsyncIterator[dict[str, Any]], usage: bool) -> AsyncIterator[bytes]:
    """OpenAI's stream: a chunk a delta, one with the finish reason, optionally the usage, then [DONE]. An error ends it without [DONE]."""
    chat, begun = head["object"].startswith("chat"), False

    def chunk(text: str | None, finish: str | None) -> bytes:
        part: dict[str, Any] = {"delta": {"content": text} if text is not None else {}} if chat else {"text": text or ""}
        return format_sse_event(data_str=json.dumps({**head, "choices": [{"index": 0, "finish_reason": finish, "logprobs": None, **part}]}))

    try:
        event: dict[str, Any] | None = first
        while event is not None:
            if event["type"] == "token":
                text = event["text"] if begun or not chat else event["text"].lstrip()
                begun = begun or bool(text)
                yield chunk(text, None)
            elif event["type"] == "done":
                yield chunk(None, event["reason"])
                if usage:
                    yield format_sse_event(data_str=json.dumps({**head, "choices": [], "usage": _usage(event)}))
                yield b"data: [DONE]\n\n"
            event = await anext(events, None)
    except FettleError as error:
        yield format_sse_event(data_str=json.dumps({"error": {"message": error.message, "type": "server_error", "param": None, "code": error.code}}))
