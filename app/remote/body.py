"""What an endpoint is asked: our parameters in the words of the OpenAI protocol, and what the protocol has no words for."""

import json
from typing import Any

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.errors import Invalid

EXTRAS = ("top_k", "min_tokens", "repetition_penalty")
"""Parameters beyond the OpenAI protocol, which vLLM and others take; sent only where they are set."""

KNOWN = ("frequency_penalty", "presence_penalty", "n")
"""Parameters that are called the same there, sent only where they are set."""

CHOICE = "answer"
"""The one property of the JSON in which an endpoint gives one of several choices: schemas are of objects there."""


def check(parameters: Parameters, name: str) -> None:
    """Raises Invalid for what cannot be asked of an endpoint. `name` is its name."""
    if parameters.regex is not None:
        raise Invalid(
            "regex_not_remote",
            f"An answer of {name} cannot be held to a regular expression: the OpenAI protocol has no field for one.",
            "Use choices or a JSON schema (a string with a pattern), or a model that runs here.",
            detail={"field": "regex"},
        )


def request(model: str, prompt: Rendered, parameters: Parameters, *, chat: bool, limit: str) -> dict[str, Any]:
    """The request: what was set, and nothing that says the same as leaving it out. `limit` is what the most tokens are called."""
    stop = list(prompt.stop if parameters.stop is None and parameters.constraint is None else parameters.stop or ())
    values: dict[str, Any] = {"model": model, "temperature": parameters.temperature, limit: parameters.max_tokens}
    values |= {"stop": stop} if stop else {}
    values |= {"top_p": parameters.top_p} if parameters.top_p < 1 else {}
    values |= {"seed": parameters.seed} if parameters.seed is not None else {}
    values |= _set(parameters, KNOWN)
    extra = _set(parameters, EXTRAS)
    if parameters.logprobs:
        values |= {"logprobs": True, "top_logprobs": parameters.logprobs} if chat else {"logprobs": parameters.logprobs}
    if (schema := schema_of(parameters)) is not None:
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        # On the route for raw text it is no field of the protocol's, though servers take it there too.
        values, extra = (values | {"response_format": form}, extra) if chat else (values, extra | {"response_format": form})
    values |= {"extra_body": extra} if extra else {}
    if not chat:
        return values | {"prompt": prompt.text}
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    return values | {"messages": turns or [{"role": "user", "content": prompt.text}]}


def schema_of(parameters: Parameters) -> dict[str, Any] | None:
    """The JSON schema that an answer is held to: the one given, or one whose only values are the choices."""
    if parameters.choices is None:
        return parameters.json_schema
    choice = {"type": "string", "enum": list(parameters.choices)}
    return {"type": "object", "properties": {CHOICE: choice}, "required": [CHOICE], "additionalProperties": False}


def read_choice(text: str, parameters: Parameters) -> str | None:
    """The choice in an answer that was to give one; None when there is none of them in it."""
    try:
        found = json.loads(text)[CHOICE]
    except (ValueError, LookupError, TypeError):
        found = text.strip()
    return found if found in (parameters.choices or ()) else None


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _set(parameters: Parameters, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(parameters, name) for name in names if getattr(parameters, name) != Parameters.model_fields[name].default}
