"""Full fine-tuning: train every parameter of the model."""

from typing import ClassVar

from app.domain.methods.base import MethodParameters


class Full(MethodParameters):
    name: ClassVar[str] = "full"
    title: ClassVar[str] = "Full fine-tuning"
    summary: ClassVar[str] = "Trains every parameter. The most room to learn, the most memory, and an artefact as large as the model."
    paper: ClassVar[str] = "https://arxiv.org/abs/1801.06146"
    default_rate: ClassVar[float] = 2e-4
    width_power: ClassVar[float] = 1.0
