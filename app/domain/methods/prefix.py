"""Prefix tuning: train keys and values that every layer attends to before the input (Li and Liang 2021, arXiv 2101.00190)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.soft import SoftPrompt
from app.domain.shape import ModelShape


class Prefix(SoftPrompt):
    name: ClassVar[str] = "prefix"
    title: ClassVar[str] = "Prefix tuning"
    summary: ClassVar[str] = (
        "Trains what every layer remembers of a soft prompt. More room than prompt tuning at a tenth of LoRA's size; the model stays as it was."
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2101.00190"
    default_rate: ClassVar[float] = 1e-2
    width_power: ClassVar[float] = 0.0
    impossible: ClassVar[Mapping[str, str]] = {
        "checkpointing": "A prefix reaches the layers through their cache, and recomputed layers have none (peft issue 869): raise accumulation instead."
    }

    init: Literal["text", "small", "zero"] = Field(
        "text",
        description="Start from what the model remembers of the prompt's instruction (of the labels, when it has none), from small noise, or from zeros. "
        "An encoder-decoder's prefix is in its decoder, where no text stood: it starts from noise, and the instruction stays in the input.",
    )
    projection: bool = Field(False, description="Train through a two-layer network, as in the paper; it is folded away afterwards.")
    encoder_size: int | None = Field(None, ge=8, le=8192, description="Hidden size of that network. Empty: the model's width.")

    def replaces_text(self, encoder_decoder: bool) -> bool:
        # There the prefix is in the decoder, which never read the input: it cannot start from its text.
        return super().replaces_text(encoder_decoder) and not encoder_decoder

    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        remembered = shape.layers * 2 * shape.key_value_width
        if not self.projection:
            return self.tokens(text_tokens) * remembered
        inner = self.encoder_size or shape.width
        return self.tokens(text_tokens) * shape.key_value_width + (shape.key_value_width + 1) * inner + (inner + 1) * remembered
