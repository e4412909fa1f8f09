"""Full fine-tuning: every parameter of the model (Howard and Ruder 2018, arXiv 1801.06146)."""

from collections.abc import Sequence
from typing import Any

import torch

from app.domain.methods.full import Full


def prepare(model: Any, parameters: Full, opening: Sequence[int]) -> Any:
    """The model with every parameter trainable, in float32: a small step is lost when it is added to a bfloat16 weight."""
    return model.to(torch.float32).requires_grad_(True)
