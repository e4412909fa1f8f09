"""P-tuning: train virtual tokens through a small network that ties them together (Liu et al. 2021, arXiv 2103.10385)."""

from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.soft import SoftPrompt


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
