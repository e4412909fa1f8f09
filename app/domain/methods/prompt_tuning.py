"""Prompt tuning: train the embeddings of virtual tokens before the input (Lester et al. 2021, arXiv 2104.08691)."""

from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.soft import SoftPrompt
from app.domain.shape import ModelShape


class PromptTuning(SoftPrompt):
    name: ClassVar[str] = "prompt_tuning"
    title: ClassVar[str] = "Prompt tuning"
    summary: ClassVar[str] = (
        "Trains a few virtual tokens in place of the instruction. The smallest artefact there is: some kilobytes, and the model stays as it was."
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2104.08691"
    default_rate: ClassVar[float] = 3e-2
    width_power: ClassVar[float] = 0.0

    init: Literal["text", "vocabulary", "random"] = Field(
        "text", description="Start from the embeddings of the prompt's instruction (of the labels, when it has none), of words drawn at random, or from noise."
    )

    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        return self.tokens(text_tokens) * shape.width
