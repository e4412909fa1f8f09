"""Tensors that are cut over the devices of a run (FSDP): put together for a file, and cut again when they come back from one."""

from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel


def whole_tensor(tensor: Any) -> Any:
    """A tensor in one piece. For a cut one every rank has to ask at the same time; anything else is returned as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(tensor: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """This rank's piece of a whole tensor, cut as `pattern` is; the tensor itself when that is in one piece."""
    if not isinstance(pattern, DTensor) or isinstance(tensor, DTensor):
        return tensor
    # Every rank has read the same file, so nothing needs to be sent.
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """The parameters under training, by name; tied ones once, and those in pieces as pieces."""
    cut_again(model)
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def cut_again(model: Any) -> None:
    """Take what a pass without a way back has put together into pieces again: until then it lies there whole, a copy under each of its names."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def bare(model: Any) -> Any:
    """The model itself, of one that DDP has put its own around."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def is_cut(model: torch.nn.Module) -> bool:
    """Whether any of the model's parameters is in pieces."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole_state(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state in one piece, in the processor's memory. Every rank has to ask at the same time."""
    entries = {index: {name: _kept(value) for name, value in entry.items()} for index, entry in state["state"].items()}
    return {**state, "state": entries}


def cut_state(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The reverse: each tensor cut as the parameter is that it belongs to."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    entries = {index: {name: _cut(value, parameters[index]) for name, value in entry.items()} for index, entry in state["state"].items()}
    return {**state, "state": entries}


def _kept(value: Any) -> Any:
    return whole_tensor(value).cpu() if isinstance(value, torch.Tensor) else value


def _cut(value: Any, parameter: torch.Tensor) -> Any:
    return cut_like(value, parameter) if isinstance(value, torch.Tensor) and value.shape == parameter.shape else value
