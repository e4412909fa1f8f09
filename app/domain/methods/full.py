"""Full fine-tuning: train every parameter of the model."""

from typing import ClassVar

from app.domain.methods.base import MethodParameters
from app.domain.shape import INPUTS_OF_WEIGHTS, ModelShape


class Full(MethodParameters):
    name: ClassVar[str] = "full"
    title: ClassVar[str] = "Full fine-tuning"
    summary: ClassVar[str] = "Trains every parameter. The most room to learn, the most memory, and an artefact as large as the model."
    paper: ClassVar[str] = "https://arxiv.org/abs/1801.06146"
    default_rate: ClassVar[float] = 2e-4
    width_power: ClassVar[float] = 1.0
    formats: ClassVar[tuple[str, ...]] = ("merged",)

    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        return shape.parameters

    def floats_per_token(self, shape: ModelShape) -> float:
        return shape.passed + INPUTS_OF_WEIGHTS * sum(linear.inputs for linear in shape.linear)
