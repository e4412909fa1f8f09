"""What a person may set when a model writes: parameters with their meaning and range. Shared by web and engine process."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import Invalid, first_problem

LIFE = 300
"""Seconds a generation's payload, cancel flag and token stream live in Redis."""

ENGINE_CHANNEL = "fettle:engine"
"""Every engine process listens here for as long as it runs."""

CONSTRAINTS = ("choices", "regex", "json_schema")
"""Parameters that say what an answer may be; at most one of them."""

Choice = Annotated[str, Field(min_length=1, max_length=1000)]


class Parameters(BaseModel):
    """Generation parameters. Names follow the OpenAI and transformers usage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(64, ge=1, le=4096, description="The most tokens to write.")
    min_tokens: int = Field(0, ge=0, le=4096, description="Do not stop before this many tokens.")
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="0 always takes the likeliest token (greedy); higher is more varied.")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Sample from the likeliest tokens that together reach this probability.")
    top_k: int = Field(0, ge=0, le=1000, description="Sample from this many likeliest tokens; 0 takes all.")
    repetition_penalty: float = Field(1.0, ge=0.5, le=5.0, description="Above 1 makes tokens already used less likely.")
    frequency_penalty: float = Field(0.0, ge=-2.0, le=2.0, description="Taken from a token's score for every time the answer has it; below 0 adds.")
    presence_penalty: float = Field(0.0, ge=-2.0, le=2.0, description="Taken once from the score of every token that the answer has; below 0 adds.")
    stop: list[str] | None = Field(
        None, max_length=16, description="Stop before any of these. Not set: where the next shot would start; an empty list: nowhere."
    )
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="The same seed gives the same sample on the same machine.")
    n: int = Field(1, ge=1, le=8, description="How many answers to write; each after the first has the next seed.")
    logprobs: int = Field(0, ge=0, le=5, description="Say every token's log-probability, with so many of the likeliest tokens; 0 says none.")
    choices: list[Choice] | None = Field(None, min_length=1, max_length=1000, description="The answer is one of these texts.")
    regex: str | None = Field(None, min_length=1, max_length=5000, description="The answer matches this regular expression as a whole; no look-around.")
    json_schema: dict[str, Any] | None = Field(None, description="The answer is JSON that keeps to this schema.")

    @model_validator(mode="after")
    def _one_constraint(self) -> Self:
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"an answer is constrained in one way only, not by {' and '.join(given)}")
        return self

    @property
    def constraint(self) -> str | None:
        """Which parameter constrains the answer."""
        return next((name for name in CONSTRAINTS if getattr(self, name) is not None), None)


def parameters_of(given: Mapping[str, Any], advice: str = "Correct it, or leave it out.") -> Parameters:
    """Values as somebody gave them. Raises Invalid `bad_parameter` naming the first that is wrong."""
    try:
        return Parameters.model_validate(given)
    except ValidationError as error:
        place, message = first_problem(error)
        raise Invalid("bad_parameter", f"{place or 'parameters'}: {message}.", advice, detail={"field": place}) from error


SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""White space inside JSON is given, not chosen: small models that may choose it write it for ever."""


def grammar_of(parameters: Parameters, *, gap: bool) -> tuple[str, str]:
    """What an answer is held to, as llguidance reads it: ("regex" or "lark", text). With `gap` one space may stand before the answer."""
    if parameters.json_schema is not None:
        schema = {**parameters.json_schema, "x-guidance": {**SPACING, **(parameters.json_schema.get("x-guidance") or {})}}
        return "lark", f"start: {'/ ?/ ' if gap else ''}body\nbody: %json {json.dumps(schema)}\n"
    expression = parameters.regex if parameters.regex is not None else "|".join(map(re.escape, parameters.choices or ()))
    return "regex", f" ?(?:{expression})" if gap else expression


def payload_key(request: str) -> str:
    return f"fettle:generate:{request}:payload"


def cancel_key(request: str) -> str:
    return f"fettle:generate:{request}:cancel"


def stream_key(request: str) -> str:
    return f"fettle:generate:{request}:stream"
