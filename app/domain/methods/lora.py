"""LoRA: train a low-rank update beside every linear layer (Hu et al. 2021, arXiv 2106.09685)."""

from typing import ClassVar

from pydantic import Field

from app.domain.methods.base import MethodParameters


class Lora(MethodParameters):
    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    summary: ClassVar[str] = "Trains two thin matrices beside every linear layer. The usual first choice: near full quality at 1 to 2 % of the parameters."
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"

    learning_rate: float = Field(5e-4, gt=0.0, le=1.0, description="Step size of the optimiser at its peak.")
    epochs: float = Field(2.0, gt=0.0, le=100.0, description="Passes over the train split. Ignored when max_steps is set.")
    rank: int = Field(16, ge=1, le=512, description="Inner size of the update: more can learn more and costs more.")
    alpha: float = Field(32.0, gt=0.0, le=4096.0, description="Scale of the update; it is multiplied by alpha / rank.")
    dropout: float = Field(0.05, ge=0.0, lt=1.0, description="Share of the update's inputs dropped while training.")
