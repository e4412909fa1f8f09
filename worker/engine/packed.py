"""Weights in the order in which the processor's kernels read them, for models that only answer.

A product with a few rows, the step of a batch that is being written, takes as long as its weights take to be read, and torch's own order for a weight
[out, in] is none that oneDNN's kernels read well: they put it into theirs for every product. Done once, the products of a step of 16 rows
take 0.6 of the time, those of a single row two thirds, of a prompt of 352 tokens 0.85 (`python -m bench.packed`). The bytes stay what they were; nothing can be trained or saved so.
"""

import platform
from typing import Any

import torch
from torch import nn

from worker.engine.batches import Example, collate, on_device
from worker.engine.forward import answer_logits

ROWS = 16
"""Rows of a product that the order is chosen for: right for a step of a batch, and no worse than another for fewer or more."""

X86 = ("x86_64", "AMD64")
"""Where it has been measured."""


class Packed(nn.Module):
    """A linear layer with its weight in oneDNN's order; float32, on a processor, without gradients."""

    weight: torch.Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS), persistent=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        if not states.numel():
            return states.new_empty((*states.shape[:-1], self.out_features))
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self.weight, self.bias, "none", [], "")
        return out

    def unpacked(self) -> nn.Linear:
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight, layer.bias = nn.Parameter(self.weight.to_dense(), requires_grad=False), self.bias
        return layer


@torch.no_grad()
def pack(model: Any) -> None:
    """Pack the linear layers of a float32 model on a processor, one after the other. Others are left as they are, and so is a model that looks into its
    weights by itself."""
    if not _can(model):
        return
    for parent, name, layer in _layers(model):
        setattr(parent, name, Packed(layer))
    try:
        answer_logits(model, on_device(collate([Example((1, 2), (3, 4))], 0, 0 if model.config.is_encoder_decoder else None), model.device))
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError):
        for parent in list(model.modules()):
            for name, layer in [*parent.named_children()]:
                if isinstance(layer, Packed):
                    setattr(parent, name, layer.unpacked())


def _can(model: Any) -> bool:
    # DoRA reckons with the length of each of a weight's columns.
    if any(getattr(adapter, "use_dora", False) for adapter in getattr(model, "peft_config", {}).values()):
        return False
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and hasattr(torch.ops.mkldnn, "_linear_pointwise") and platform.machine() in X86)


def _layers(model: Any) -> list[tuple[nn.Module, str, nn.Linear]]:
    """(parent, name, layer) of those whose weight is theirs alone: one that is the table of embeddings, too, is needed row by row."""
    used: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            used[id(parameter)] = used.get(id(parameter), 0) + 1
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children() if type(child) is nn.Linear]
    return [one for one in found if used[id(one[2].weight)] == 1 and one[2].weight.dtype == torch.float32 and one[2].weight.device.type == "cpu"]
