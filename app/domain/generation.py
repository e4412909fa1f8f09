"""What a person may set when a model writes: parameters with their meaning and range. Shared by web and engine process."""

from pydantic import BaseModel, ConfigDict, Field

LIFE = 300
"""Seconds a generation's payload, cancel flag and token stream live in Redis."""


class Parameters(BaseModel):
    """Generation parameters. Names follow the OpenAI and transformers usage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(64, ge=1, le=4096, description="The most tokens to write.")
    min_tokens: int = Field(0, ge=0, le=4096, description="Do not stop before this many tokens.")
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="0 always takes the likeliest token (greedy); higher is more varied.")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Sample from the likeliest tokens that together reach this probability.")
    top_k: int = Field(0, ge=0, le=1000, description="Sample from this many likeliest tokens; 0 takes all.")
    repetition_penalty: float = Field(1.0, ge=0.5, le=5.0, description="Above 1 makes tokens already used less likely.")
    stop: list[str] | None = Field(None, max_length=16, description="Stop before any of these. Empty: where the next shot would start.")
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="The same seed gives the same sample on the same machine.")


def payload_key(request: str) -> str:
    return f"fettle:generate:{request}:payload"


def cancel_key(request: str) -> str:
    return f"fettle:generate:{request}:cancel"


def stream_key(request: str) -> str:
    return f"fettle:generate:{request}:stream"
