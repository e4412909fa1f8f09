"""Dropout as LoRA's adapters need it on a processor: seven masks a layer, each the size of its input.

torch draws one float a number there. Here 64 random bits give four decisions, and what is kept for the way back is a byte a number
and not four (`python -m bench.parts`: a step of LoRA took 1.24 times as long with torch's).
"""

import torch
from torch import nn

FINE = 1 << 16
"""A number is dropped with a probability of whole 65,536ths."""


class BitDropout(nn.Dropout):
    """The same as nn.Dropout (Srivastava et al. 2014), from torch's generator of the processor, four decisions a draw."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  # torch's name for it
        below = round(self.p * FINE)
        if not self.training or not below:
            return input
        # Under autocast the adapter is about to convert what is left anyway; so the mask and the copy are of half the size.
        return _dropped(input.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else input, below)


def _dropped(numbers: torch.Tensor, below: int) -> torch.Tensor:
    bits = torch.empty(-(-numbers.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    dropped = bits.view(torch.int16)[: numbers.numel()].view(numbers.shape) < below - FINE // 2
    return numbers.masked_fill(dropped, 0) * (FINE / (FINE - below))


def replace_dropout(model: nn.Module) -> None:
    """Give every adapter of a model on the processor this dropout."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout and ".lora_dropout." in name:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, BitDropout(module.p))
