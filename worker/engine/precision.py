"""In which precision a training step computes: bfloat16 over float32 parameters where the device multiplies it much faster."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from app.domain.methods.base import MethodParameters

WIDE = 256
"""Hidden size from which bfloat16 gains on a processor: of a narrower model the conversions cost more than the products."""

MULTIPLIES = ("amx_bf16", "avx512_bf16")
"""What a processor has that multiplies bfloat16: tiles (Intel), or vectors, which take half the time of float32's (AMD since Zen 4)."""

_frozen: MutableMapping[torch.Tensor, tuple[int, torch.Tensor]] = WeakTensorKeyDictionary()
"""Weights that no step changes, in bfloat16, with the version they were converted in: as long as their model lives. torch would convert them in every pass,
and keep what it made until the way back."""


def is_mixed(model: Any, parameters: MethodParameters) -> bool:
    """Whether a run of this model computes in bfloat16: on GPUs that can, and on processors that multiply it in hardware (`python -m bench.parts`).

    Compiled layers on a processor are left in float32, in which they were tried.
    """
    if parameters.precision == "float32":
        return False
    if model.device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    width = getattr(model.config.get_text_config(decoder=True), "hidden_size", 0)
    return not parameters.compile and width >= WIDE and any(torch.cpu.get_capabilities().get(name) for name in MULTIPLIES)


def computing(device: torch.device, *, mixed: bool) -> AbstractContextManager[Any]:
    """The precision inside: of a forward pass, and so of its way back."""
    if not mixed:
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else _on_processor()


def again() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """For activation checkpointing: (around a layer, around its recomputation), which happens on the way back, outside of `computing`.

    torch restores autocast by itself, and knows nothing of what is done beside it.
    """
    return nullcontext(), _Processor() if torch.is_autocast_enabled("cpu") else nullcontext()


@contextmanager
def _on_processor() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16), _Processor():
        yield


class _Processor(TorchFunctionMode):
    """What autocast on a processor leaves to be done (torch 2.13, SmolLM2-135M, 16 rows of 34 tokens, one thread).

    Attention stays in float32: on the way back torch's kernel takes 22 ms in bfloat16 where it takes 3.6 in float32, and the same at 512
    tokens. What several linear layers read (query, key and value; gate and up; adapters) is converted and kept once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if func is torch.nn.functional.linear and len(args) > 1:
            read, weight, *bias = args
            return func(self._narrow(read), _kept(weight), *bias, **given)
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **given)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_exact, args), **{name: _exact(value) for name, value in given.items()})

    def _narrow(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        if self.read is None or self.read[0] is not tensor or self.read[1] != tensor._version:
            self.read = (tensor, tensor._version, tensor.to(torch.bfloat16))
        return self.read[2]


def give_back() -> None:
    """Forget the converted weights; they are made again where they are needed."""
    _frozen.clear()


def _kept(weight: torch.Tensor) -> torch.Tensor:
    """A weight as it is read: a frozen one converted, once for all passes."""
    if weight.requires_grad or not weight.is_leaf or weight.dtype != torch.float32:
        return weight
    known = _frozen.get(weight)
    if known is None or known[0] != weight._version:
        known = _frozen[weight] = weight._version, weight.to(torch.bfloat16)
    return known[1]


def _exact(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
