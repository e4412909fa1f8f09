"""LoRA: train a low-rank update beside every linear layer (Hu et al. 2021, arXiv 2106.09685)."""

from typing import ClassVar, Literal

from pydantic import Field

from app.domain.methods.base import MethodParameters


class Lora(MethodParameters):
    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    summary: ClassVar[str] = "Trains two thin matrices beside every linear layer. The usual first choice: near full quality at 1 to 2 % of the parameters."
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    default_rate: ClassVar[float] = 2e-3
    width_power: ClassVar[float] = 0.5

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
