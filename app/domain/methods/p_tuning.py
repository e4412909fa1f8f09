"""P-tuning: train virtual tokens through a small network that ties them together (Liu et al. 2021, arXiv 2103.10385)."""

from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.soft import SoftPrompt
from app.domain.shape import ModelShape


class PTuning(SoftPrompt):
    name: ClassVar[str] = "p_tuning"
    title: ClassVar[str] = "P-tuning"
    summary: ClassVar[str] = (
        "Trains virtual tokens through a small network, which is folded away afterwards: a few kilobytes, like prompt tuning, with smoother learning."
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2103.10385"
    default_rate: ClassVar[float] = 3e-3
    width_power: ClassVar[float] = 0.5

    init: Literal["text", "random"] = Field(
        "text", description="Start from the embeddings of the prompt's instruction (of the labels, when it has none), or from the network's random output."
    )
    encoder: Literal["mlp", "lstm"] = Field("mlp", description="The network: three linear layers, or a bidirectional LSTM as in the paper.")
    encoder_size: int | None = Field(None, ge=8, le=8192, description="Hidden size of the network. Empty: the model's width.")

    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        width, inner = shape.width, self.encoder_size or shape.width
        embedding = self.tokens(text_tokens) * width
        if self.encoder == "mlp":
            return embedding + _linear(width, inner) + _linear(inner, inner) + _linear(inner, width)
        lstm = 2 * sum(4 * inner * (inputs + inner + 2) for inputs in (width, 2 * inner))  # both ways, two layers, four gates
        return embedding + lstm + _linear(2 * inner, 2 * inner) + _linear(2 * inner, width)


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs
