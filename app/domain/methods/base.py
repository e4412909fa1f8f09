"""What every tuning method's parameters share. No torch here: the form, the API and the worker read the same class."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.domain.fitting import Policy
from app.domain.listing import listed
from app.domain.shape import PASS_TOKENS, ModelShape
from app.errors import Invalid, first_problem

SEARCHED_WIDTH = 576
"""Hidden size of the model the default learning rates were searched on."""

SHORTEST = 32
"""Tokens below which no shorter example is suggested: a prompt that is cut so much says nothing any more."""


CANNOT_CUT = ("cannot_cut", "FSDP cuts decoder-only models, and this is an encoder-decoder.", "Set sharding to none.")
"""Code, sentence and advice of that refusal, by whom it may be."""


def conflict(field: str, reason: str) -> PydanticCustomError:
    """Why parameters that are each right are wrong together, as a refusal of the `field` at which a form shows it."""
    return PydanticCustomError("conflict", "{reason}", {"reason": reason, "field": field})


class MethodParameters(BaseModel, ABC):
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
    impossible: ClassVar[Mapping[str, str]] = {}
    """Shared parameters this method cannot have, each with the reason: refused here, disabled in the form."""
    formats: ClassVar[tuple[str, ...]] = ("adapter",)
    """What a tuned model can be handed out as: `adapter` beside its base, `merged` as one plain model."""
    unmergeable: ClassVar[str] = ""
    """Why there is no merged form."""
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """What a search varies besides the learning rate when nobody says otherwise: the method's main setting, with values worth trying."""

    learning_rate: float | None = Field(
        None, gt=0.0, le=1.0, description="Step size of the optimiser at its peak. Empty: the searched default, scaled to the model's width."
    )
    epochs: float = Field(2.0, gt=0.0, le=100.0, description="Passes over the train split. Ignored when max_steps is set.")
    max_steps: int | None = Field(None, ge=1, le=1_000_000, description="Stop after this many optimiser steps.")
    batch_size: int = Field(16, ge=1, le=1024, description="Examples in one optimiser step.")
    accumulation: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Split every step's examples over this many passes to save memory; the result is the same. Empty: a long step takes as many as "
        f"keep a pass within about {PASS_TOKENS['cpu']:,} tokens on a processor, {PASS_TOKENS['cuda']:,} on a GPU.",
    )
    max_length: int = Field(512, ge=8, le=131_072, description="Longest example in tokens, answer included; `fit` says what happens to longer ones.")
    fit: Policy = Field(
        "refuse",
        description="Examples longer than max_length. refuse: say how many and do not start. fewer_shots: leave out shots of the prompt, the last ones first. "
        "cut_head, cut_middle, cut_tail: cut that part of the input. Their number stands beside the result.",
    )
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
    checkpointing: bool = Field(
        False, description="Activation checkpointing: recompute what the layers computed instead of remembering it. Far less memory, a third more time."
    )
    precision: Literal["auto", "float32"] = Field(
        "auto",
        description="auto: compute in bfloat16, over weights and sums in float32, where that is much faster: on GPUs and on processors that multiply it (AMX, AVX-512 BF16). "
        "float32: everywhere, to compare with other programs number by number.",
    )
    compile: bool = Field(
        False, description="Compile the layers (torch.compile): a minute or more before the first step, faster steps after it. For long runs, mostly on GPUs."
    )

    @field_validator("*")
    @classmethod
    def _possible(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        if name in cls.impossible and value != cls.model_fields[name].default:
            raise ValueError(cls.impossible[name])
        return value

    @model_validator(mode="after")
    def _accumulation_divides(self) -> Self:
        if self.accumulation and self.accumulation > self.batch_size:
            told = f"a step of {self.batch_size} examples cannot be split over {self.accumulation} passes; raise batch_size or lower accumulation"
            raise conflict("accumulation", told)
        return self

    @model_validator(mode="after")
    def _devices_fit(self) -> Self:
        if self.devices > self.batch_size:
            raise conflict("devices", f"a step of {self.batch_size} examples cannot be spread over {self.devices} devices; raise batch_size or lower devices")
        if self.sharding == "fsdp" and self.devices == 1:
            raise conflict("sharding", "fsdp cuts the model into one piece per device and there is one device; raise devices or set sharding to none")
        if self.sharding == "fsdp" and (reason := self._uncut()):
            raise conflict("sharding", f"{reason}; set sharding to none")
        if self.compile and self.devices > 1:
            raise conflict("compile", "compiled layers are only known to work on one device; turn compile off or set devices to 1")
        return self

    def _uncut(self) -> str:
        """Why the model cannot be cut with these parameters; empty when it can."""
        return self.uncut

    def check_model(self, encoder_decoder: bool) -> None:
        """Raises Invalid for what such a model cannot have."""
        if encoder_decoder and self.sharding == "fsdp":
            raise Invalid(*CANNOT_CUT, detail={"field": "sharding"})

    def replaces_text(self, encoder_decoder: bool) -> bool:
        """Whether what is trained stands for the text it starts from, which then leaves the input of such a model."""
        return False

    @property
    def shares_start(self) -> bool:
        """Whether what all examples of a batch start with is read once: not when layers are read again, compiled, or spread over processes."""
        return self.devices == 1 and not (self.checkpointing or self.compile)

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

    def rows_read(self, examples: int, steps: int | None = None) -> int:
        """Distinct examples that so many steps read, without a number those of the whole run: each pass is shuffled and cut into steps of about equal size,
        so within the first one no example comes twice."""
        made = self.total_steps(examples) if steps is None else steps
        a_pass = -(-examples // self.batch_size)
        return examples if made >= a_pass else -(-examples * made // a_pass)

    @abstractmethod
    def trainable(self, shape: ModelShape, text_tokens: int = 0) -> int:
        """Parameters this trains on a model of that shape; `text_tokens` are those of the text a soft prompt starts from."""

    def floats_per_token(self, shape: ModelShape) -> float:
        """Numbers kept per token for the way back, all layers together (see `app.domain.shape`)."""
        return shape.passed

    def virtual(self, text_tokens: int = 0) -> int:
        """Virtual tokens read before every example."""
        return 0

    def cheaper(self, longest: int) -> Iterator[Self]:
        """The same run in less memory, the cheapest change first, each on top of those before: more accumulation down to single
        examples, then activation checkpointing where the method can, then half the length of the longest example, `longest` tokens, again and again, with inputs cut to it."""
        now, length = self, min(longest, self.max_length)
        while (passes := now.accumulation or 1) < now.batch_size:
            now = now.model_copy(update={"accumulation": min(2 * passes, now.batch_size)})
            yield now
        if not now.checkpointing and "checkpointing" not in self.impossible:
            now = now.model_copy(update={"checkpointing": True})
            yield now
        while (length := length // 2) >= SHORTEST:
            now = now.model_copy(update={"max_length": length, "fit": "cut_tail" if now.fit in ("refuse", "fewer_shots") else now.fit})
            yield now

    def changes(self, other: "MethodParameters") -> dict[str, Any]:
        """What `other` has different, by name."""
        own = self.model_dump()
        return {name: value for name, value in other.model_dump().items() if value != own[name]}


def in_words(changes: Mapping[str, Any]) -> str:
    """Changed parameters as a person says them: "accumulation 4, max length 128 and inputs cut to it"."""
    known = {"checkpointing": "activation checkpointing", "fit": "inputs cut to it"}
    words = [known.get(name, f"{name.replace('_', ' ')} {value}") for name, value in changes.items()]
    return listed(words)


def parse(methods: dict[str, type[MethodParameters]], method: str, values: dict[str, Any]) -> MethodParameters:
    """Validated parameters of a method. Raises Invalid with the field and its range."""
    from pydantic import ValidationError

    if method not in methods:
        raise Invalid("unknown_method", f"There is no tuning method {method!r}.", f"Choose one of: {', '.join(methods)}.")
    try:
        return methods[method].model_validate(values)
    except ValidationError as error:
        place, said = first_problem(error)
        where = place or "parameters"
        raise Invalid("bad_parameter", f"{where}: {said}", f"See the ranges of {method}.", detail={"field": where}) from error
