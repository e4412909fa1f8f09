"""What can be asked of a model's layers besides their result: to recompute instead of remembering, and to be compiled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from app.domain.methods.base import MethodParameters
from app.errors import Invalid
from worker.engine.precision import again

BACKEND = "inductor"


def arrange(model: Any, parameters: MethodParameters) -> None:
    """Do to a prepared model what its parameters ask for."""
    if parameters.compile:
        compile_layers(model)
    if parameters.checkpointing:
        recompute(model)


def recompute(model: Any) -> None:
    """Activation checkpointing: each layer keeps its input alone and computes the rest again on the way back.

    Not reentrant: the reentrant form gives a frozen base no gradients, and its random numbers are ours to restore. Raises Invalid for an
    architecture without it.
    """
    # The compiler takes no contexts, and needs none: what it compiles for a processor computes in float32, and a GPU's autocast torch restores.
    contexts = {} if is_compiled(model) else {"context_fn": again}
    try:
        _base(model).activation_checkpointing_enable({"use_reentrant": False, **contexts})
    except ValueError as error:
        raise Invalid("no_checkpointing", "This architecture has no activation checkpointing.", "Turn it off and raise accumulation instead.") from error


def compile_layers(model: Any) -> None:
    """Compile layer by layer, for any length: one layer is compiled and all of its kind reuse it, where a whole model would take as many
    times longer and break at the answers' positions, whose number differs in every batch. Names of parameters stay as they are.

    Under every method, recomputed or not, losses and gradients of a Llama are those of the plain layers (tests/engine/test_layers.py); a T5, whose
    tracing takes minutes, was tried by hand under the soft prompts and LoRA.
    """
    for layer in _layers(_base(model)):
        layer.compile(dynamic=True, backend=BACKEND)


def uncompiled(model: Any) -> AbstractContextManager[Any]:
    """Inside, compiled layers run as they are written: a validation would have them compiled again for its own few passes."""
    return torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()


def is_compiled(model: Any) -> bool:
    return any(layer._compiled_call_impl is not None for layer in _layers(model))


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _layers(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
