"""What every tuning method's parameters share. No torch here: the form, the API and the worker read the same class."""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.errors import Invalid

SEARCHED_WIDTH = 576
"""Hidden size of the model the default learning rates were searched on."""


class MethodParameters(BaseModel):
    """Parameters of one tuning job. Bounds are refusals, descriptions are the form's help text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    default_rate: ClassVar[float]
    """The learning rate that worked best for a model `SEARCHED_WIDTH` wide (docs/methods.md has the search)."""
    width_power: ClassVar[float]
    """How that rate shrinks with width: by (SEARCHED_WIDTH / width) to this power."""
    soft: ClassVar[bool] = False
    """Whether it trains virtual tokens before the input instead of weights."""
    uncut: ClassVar[str] = ""
    """Why the model cannot be cut over several devices under this method; empty when it can."""

    learning_rate: float | None = Field(
        None, gt=0.0, le=1.0, description="Step size of the optimiser at its peak. Empty: the searched default, scaled to the model's width."
    )
    epochs: float = Field(2.0, gt=0.0, le=100.0, description="Passes over the train split. Ignored when max_steps is set.")
    max_steps: int | None = Field(None, ge=1, le=1_000_000, description="Stop after this many optimiser steps.")
    batch_size: int = Field(16, ge=1, le=1024, description="Examples in one optimiser step.")
    accumulation: int = Field(1, ge=1, le=256, description="Split a step's examples over this many passes to save memory.")
    max_length: int = Field(512, ge=8, le=131_072, description="Longest example in tokens, answer included; longer ones lose prompt tokens at the left.")
    warmup: float = Field(0.1, ge=0.0, lt=1.0, description="Share of the steps over which the learning rate rises from 0.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="How the learning rate goes on after the warm-up.")
    early_stopping: int = Field(0, ge=0, le=100, description="Stop after this many validations without a better result; 0 never stops early.")
    evaluations: int = Field(5, ge=1, le=100, description="How often the validation split is scored during the run.")
    validate_by: Literal["auto", "accuracy", "macro_f1", "exact_match", "rouge_l", "loss"] = Field(
        "auto",
        description="What a better result is, for the best moment of the run and for stopping early. accuracy and macro_f1 compare the labels' likelihoods; "
        "exact_match and rouge_l (words of a to z and digits) let the model write up to 64 answers, which takes longer. auto: accuracy with labels, else loss.",
    )
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="Devices of this machine the run is spread over. Without a GPU these are processes on one processor, and nothing gets faster.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none", description="Hold the whole model on every device (DDP), or cut it into pieces (FSDP) for models that do not fit on one."
    )

    @model_validator(mode="after")
    def _accumulation_divides(self) -> Self:
        if self.accumulation > self.batch_size:
            raise ValueError(f"accumulation ({self.accumulation}) cannot be larger than batch_size ({self.batch_size}); lower it.")
        return self

    @model_validator(mode="after")
    def _devices_fit(self) -> Self:
        if self.devices > self.batch_size:
            raise ValueError(f"a step of {self.batch_size} examples cannot be spread over {self.devices} devices; raise batch_size or lower devices.")
        if self.sharding == "fsdp" and self.devices == 1:
            raise ValueError("fsdp cuts the model into one piece per device and there is one device; raise devices or set sharding to none.")
        if self.sharding == "fsdp" and (reason := self._uncut()):
            raise ValueError(f"{reason}; set sharding to none.")
        return self

    def _uncut(self) -> str:
        """Why the model cannot be cut with these parameters; empty when it can."""
        return self.uncut

    @property
    def replaces_text(self) -> bool:
        """Whether what is trained stands for the text it starts from, which then leaves the input."""
        return False

    @property
    def shares_start(self) -> bool:
        """Whether what all examples of a batch start with is read once: one process alone may."""
        return self.devices == 1

    def rate(self, width: int) -> float:
        """The peak learning rate for a model whose hidden states have `width` numbers."""
        if self.learning_rate is not None:
            return self.learning_rate
        return float(f"{self.default_rate * (SEARCHED_WIDTH / width) ** self.width_power:.2g}")

    def total_steps(self, examples: int) -> int:
        """Optimiser steps of a run over so many train examples."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, round(-(-examples // self.batch_size) * self.epochs))


def parse(methods: dict[str, type[MethodParameters]], method: str, values: dict[str, Any]) -> MethodParameters:
    """Validated parameters of a method. Raises Invalid with the field and its range."""
    from pydantic import ValidationError

    if method not in methods:
        raise Invalid("unknown_method", f"There is no tuning method {method!r}.", f"Choose one of: {', '.join(methods)}.")
    try:
        return methods[method].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise Invalid("bad_parameter", f"{where}: {first['msg']}", f"See the ranges of {method}.", detail={"field": where}) from error
