"""LoRA: train a low-rank update beside every linear layer (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.domain.methods.base import MethodParameters, conflict
from app.domain.shape import DROPPED_INPUTS, INPUTS_OF_ADAPTERS, OUTPUTS_OF_DORA, Linear, ModelShape
from app.errors import Invalid


class Lora(MethodParameters):
    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    summary: ClassVar[str] = "Trains two thin matrices beside every linear layer. The usual first choice: near full quality at 1 to 2 % of the parameters."
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    default_rate: ClassVar[float] = 2e-3
    width_power: ClassVar[float] = 0.5
    formats: ClassVar[tuple[str, ...]] = ("adapter", "merged")
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank": (4, 16, 64)}

    rank: int = Field(16, ge=1, le=512, description="Inner size of the update: more can learn more and costs more.")
    alpha: float = Field(32.0, gt=0.0, le=4096.0, description="Scale of the update; it is multiplied by alpha / rank.")
    dropout: float = Field(0.05, ge=0.0, lt=1.0, description="Share of the update's inputs dropped while training.")
    targets: Literal["all_linear", "attention"] = Field(
        "all_linear", description="Adapt every linear layer, or only the query and value projections as in the paper: faster, smaller, a little weaker."
    )
    variant: Literal["lora", "rslora", "dora", "pissa"] = Field(
        "lora",
        description="rslora scales by alpha / sqrt(rank), for high ranks; dora also trains each column's length (slower); pissa starts from the weights' main directions.",
    )
    four_bit: bool = Field(False, description="QLoRA: hold the base model in 4 bits while training. Needs an NVIDIA GPU and bitsandbytes.")

    def _uncut(self) -> str:
        if self.four_bit:
            return "fsdp cannot cut a model held in 4 bits"
        if self.variant in ("dora", "pissa"):
            return f"fsdp cannot cut a model under {self.variant}, which starts from the whole weights"
        return ""

    @model_validator(mode="after")
    def _pissa_reads_whole_weights(self) -> Self:
        if self.four_bit and self.variant == "pissa":
            reason = "pissa starts from the main directions of the weights, which it cannot read in 4 bits; choose another variant or turn four_bit off"
            raise conflict("variant", reason)
        return self

    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        adapted = self._adapted(shape)
        matrices = sum(self.rank * (linear.inputs + linear.outputs) for linear in adapted)
        return matrices + (sum(linear.outputs for linear in adapted) if self.variant == "dora" else 0)

    def floats_per_token(self, shape: ModelShape) -> float:
        adapted = self._adapted(shape)
        share = DROPPED_INPUTS if self.dropout else INPUTS_OF_ADAPTERS
        kept = sum(share * linear.inputs + self.rank for linear in adapted)
        return shape.passed + kept + (OUTPUTS_OF_DORA * sum(linear.outputs for linear in adapted) if self.variant == "dora" else 0)

    def _adapted(self, shape: ModelShape) -> tuple[Linear, ...]:
        """The layers with an update beside them. Raises Invalid as the engine does when query and value are not known."""
        if self.targets == "all_linear":
            return shape.linear
        if not shape.attention:
            raise Invalid(
                "no_attention_targets",
                f"Which layers of {shape.family} are query and value is not known.",
                "Choose targets: all_linear.",
                detail={"field": "targets"},
            )
        return shape.attention
