"""A prompt out of JSON that somebody copied elsewhere: a watsonx.ai prompt, or an OpenAI chat request. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from app.domain.generation import parameters_of
from app.domain.prompt import fields_of
from app.domain.rendering import Shot, Template, literal
from app.errors import Invalid

# Theirs to ours. Sources: the watsonx.ai text generation API (model parameters), the OpenAI API reference (chat).
_PARAMETERS = {
    "max_new_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "stop": "stop",
    "random_seed": "seed",
    "seed": "seed",
}

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def read(text: str) -> dict[str, Any]:
    """{fields, input}: a prompt version's fields and the input that stood in the JSON. Raises Invalid when it is none of the known shapes."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid("not_json", f"This is not JSON: {error}.", "Copy the whole object, from its first { to its last }.") from error
    for shape in (_watsonx, _chat):
        found = shape(value) if isinstance(value, dict) else None
        if found is not None:
            template, given, settings = found
            return {"fields": fields_of(template, _parameters(settings)), "input": given}
    raise Invalid(
        "unknown_shape",
        "This JSON is no prompt that Fettle knows.",
        "It reads watsonx.ai prompts (`instruction`, `input_prefix`, `examples`) and OpenAI `messages`. A single text goes into Instruction by hand.",
    )


Found = tuple[Template, str, Mapping[str, Any]] | None


def _watsonx(value: Mapping[str, Any]) -> Found:
    """A prompt of the Prompt Lab: {prompt: {data: {instruction, input_prefix, output_prefix, examples}, input, model_parameters}}, or its parts alone."""
    body = value["prompt"] if isinstance(value.get("prompt"), dict) else value
    data = body["data"] if isinstance(body.get("data"), dict) else body
    if not {"instruction", "examples", "input_prefix", "output_prefix"} & data.keys():
        return None
    pairs = [pair for pair in data.get("examples") or [] if isinstance(pair, list) and len(pair) == 2]
    template = Template(
        instruction=_text(data.get("instruction")),
        input_prefix=_text(data.get("input_prefix", "Input:")),
        output_prefix=_text(data.get("output_prefix", "Output:")),
        shots=tuple(Shot(_text(shown), _text(answer)) for shown, answer in pairs),
    )
    given = body.get("input")
    first = given[0] if isinstance(given, list) and given else given
    return template, _text(first[0] if isinstance(first, list) and first else first), body.get("model_parameters") or body.get("parameters") or {}


def _chat(value: Mapping[str, Any]) -> Found:
    """Chat turns, as they are. Raises Invalid for a role that a prompt's turns cannot have."""
    turns = value.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and "role" in turn for turn in turns):
        return None
    for number, turn in enumerate(turns, 1):
        if str(turn["role"]) not in ROLES:
            raise Invalid(
                "unknown_role", f"Turn {number} has the role {turn['role']!r}.", "Fettle has system, user and assistant turns: take the others out of the JSON."
            )
    said = tuple((ROLES[turn["role"]], literal(_content(turn.get("content")))) for turn in turns)
    return Template("chat", messages=said), "", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _content(value: Any) -> str:
    """A turn's text: a string, or the text pieces of a list."""
    if isinstance(value, list):
        return "".join(_text(piece.get("text")) for piece in value if isinstance(piece, dict))
    return _text(value)


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings we have too, by our names; values outside our ranges are refused like typed ones."""
    named = {ours: given[theirs] for theirs, ours in _PARAMETERS.items() if given.get(theirs) is not None}
    if isinstance(named.get("stop"), str):
        named["stop"] = [named["stop"]]
    if given.get("decoding_method") == "greedy":
        named["temperature"] = 0.0
    return parameters_of(named, "Correct it in the JSON, or take it out.").model_dump(exclude_defaults=True)
