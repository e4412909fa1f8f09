"""Weights in the order in which the processor's kernels read them, for models that only answer.

A product with a few rows, the step of a batch that is being written, takes as long as its weights take to be read, and torch's own order for a weight
[out, in] is none that oneDNN's kernels read well: they put it into theirs for every product. Done once, the products of a step of 16 rows
take 0.6 of the time, those of a single row two thirds, of a prompt of 352 tokens 0.85 (`python -m bench.prepacked`). The bytes stay what they were; nothing can be trained or saved so.
"""

import platform
from collections import Counter
from typing import Any

import torch
from torch import nn

from worker.engine.batches import Example, collate
from worker.engine.forward import answer_logits
from worker.engine.prefix import begin, body

ROWS = 16
"""Rows of a product that the order is chosen for: right for a step of a batch, and no worse than another for fewer or more."""

X86 = ("x86_64", "AMD64")
"""Where it has been measured."""


class Prepacked(nn.Module):
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

    def plain(self) -> nn.Linear:
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight, layer.bias = nn.Parameter(self.weight.to_dense(), requires_grad=False), self.bias
        return layer


@torch.no_grad()
def prepack(model: Any) -> None:
    """Prepack the linear layers of a float32 model on a processor, one after the other: at most one has its weight twice. Others are left as they are, and so is
    a model that looks into its weights by itself."""
    places = _places(model) if _can(model) else []
    if not places:
        return
    before = _trial(model)
    for parent, name in places:
        setattr(parent, name, Prepacked(getattr(parent, name)))
    try:
        same = _alike(before, _trial(model))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        same = False
    if not same:
        for parent, name in places:
            setattr(parent, name, getattr(parent, name).plain())


def _can(model: Any) -> bool:
    # DoRA reckons with the length of each of a weight's columns.
    if any(getattr(adapter, "use_dora", False) for adapter in getattr(model, "peft_config", {}).values()):
        return False
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and hasattr(torch.ops.mkldnn, "_linear_pointwise") and platform.machine() in X86)


def _places(model: Any) -> list[tuple[nn.Module, str]]:
    """(parent, name) of the layers whose weight is theirs alone, in one place: one that is the table of embeddings, too, is needed row by row."""
    every = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    layers = Counter(id(child) for _, _, child in every)
    weights = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    found = [(parent, name, child) for parent, name, child in every if type(child) is nn.Linear and layers[id(child)] == 1 and weights[id(child.weight)] == 1]
    return [(parent, name) for parent, name, child in found if child.weight.dtype == torch.float32 and child.weight.device.type == "cpu"]


def _trial(model: Any) -> list[torch.Tensor]:
    """Logits of a few tokens, read at once and, by a decoder-only model, as a step over a cache."""
    encoder_decoder = model.config.is_encoder_decoder
    read = answer_logits(model, collate([Example((1, 2), (3, 4))], 0, 0 if encoder_decoder else None))[0]
    if encoder_decoder:
        return [read]
    ids = torch.tensor([[1, 2, 3]])
    return [read, body(model)(input_ids=ids[:, 2:], past_key_values=begin(model, ids[:, :2]), use_cache=True).logits]


def _alike(before: list[torch.Tensor], after: list[torch.Tensor]) -> bool:
    return all(float((one - other).abs().max()) <= 1e-3 * float(one.abs().max()) for one, other in zip(before, after, strict=True))
