"""Prefix tuning: train keys and values that every layer attends to before the input (Li and Liang 2021, arXiv 2101.00190)."""

from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.soft import SoftPrompt


class Prefix(SoftPrompt):
    name: ClassVar[str] = "prefix"
    title: ClassVar[str] = "Prefix tuning"
    summary: ClassVar[str] = (
        "Trains what every layer remembers of a soft prompt. More room than prompt tuning at a tenth of LoRA's size; the model stays as it was."
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2101.00190"
    default_rate: ClassVar[float] = 1e-2
    width_power: ClassVar[float] = 0.0

    init: Literal["text", "small", "zero"] = Field(
        "text",
        description="Start from what the model remembers of the prompt's instruction (of the labels, when it has none), from small noise, or from zeros.",
    )
    projection: bool = Field(False, description="Train through a two-layer network, as in the paper; it is folded away afterwards.")
    encoder_size: int | None = Field(None, ge=8, le=8192, description="Hidden size of that network. Empty: the model's width.")
