"""Full fine-tuning: train every parameter of the model."""

from typing import ClassVar

from pydantic import Field

from app.domain.methods.base import MethodParameters


class Full(MethodParameters):
    name: ClassVar[str] = "full"
    title: ClassVar[str] = "Full fine-tuning"
    summary: ClassVar[str] = "Trains every parameter. The most room to learn, the most memory, and an artefact as large as the model."
    paper: ClassVar[str] = "https://arxiv.org/abs/1801.06146"

    learning_rate: float = Field(2e-5, gt=0.0, le=1.0, description="Step size of the optimiser at its peak.")
    epochs: float = Field(2.0, gt=0.0, le=100.0, description="Passes over the train split. Ignored when max_steps is set.")
