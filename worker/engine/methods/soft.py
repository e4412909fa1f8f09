"""What the soft-prompt methods share: wrapping a model, and starting exactly where a text stands."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftConfig, TaskType, get_peft_model


def task(model: Any) -> TaskType:
    """Which of peft's wrappers fits the architecture."""
    return TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM


def width(model: Any) -> int:
    """The size of the model's hidden states."""
    return hidden_size(model.config)


def hidden_size(config: Any) -> int:
    return int(config.get_text_config(decoder=True).hidden_size)


def wrap(model: Any, config: PeftConfig) -> tuple[Any, Any]:
    """(the model with a fresh soft prompt, the module that holds it). Its precision is float32, also over a bfloat16 model."""
    peft = get_peft_model(model, config)
    return peft, peft.prompt_encoder["default"]


def fitted(opening: Sequence[int], tokens: int) -> list[int]:
    """Exactly so many ids that end as the opening ends: its last ones, or the whole of it with its end repeated before."""
    repeated = list(opening) * -(-tokens // len(opening))
    return repeated[-tokens:]


def embeddings(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[ids, width]: what the model reads for these tokens."""
    table = model.get_input_embeddings()
    with torch.no_grad():
        found: torch.Tensor = table(torch.tensor(ids, device=table.weight.device)).float()
    return found


def solve(linear: torch.nn.Linear, inputs: torch.Tensor, wanted: torch.Tensor) -> None:
    """Give a layer the smallest weights that turn `inputs` [n, in] into `wanted` [n, out] exactly, for n up to `in`.

    A network in front of a soft prompt can so begin at a text like the soft prompt itself: the layers before keep their random start.
    """
    bias = torch.zeros_like(linear.bias)
    weights = torch.linalg.lstsq(inputs.double().cpu(), wanted.double().cpu(), driver="gelsd").solution
    with torch.no_grad():
        linear.weight.copy_(weights.T.to(linear.weight))
        linear.bias.copy_(bias)
