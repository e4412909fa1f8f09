"""Prompt tuning: trainable embeddings before the input's (Lester et al. 2021, arXiv 2104.08691)."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PromptTuningConfig

from app.domain.methods.prompt_tuning import PromptTuning
from worker.engine.methods.soft import embeddings, fitted, task, wrap


def prepare(model: Any, parameters: PromptTuning, opening: Sequence[int]) -> Any:
    """The model with virtual tokens before its input; an encoder-decoder reads them before its encoder's input."""
    tokens = parameters.tokens(len(opening))
    config = PromptTuningConfig(task_type=task(model), num_virtual_tokens=tokens, num_transformer_submodules=1)
    peft, encoder = wrap(model, config)
    if parameters.init == "random":
        return peft
    ids = fitted(opening, tokens) if parameters.init == "text" and opening else _drawn(model, tokens)
    with torch.no_grad():
        encoder.embedding.weight.copy_(embeddings(model, ids))
    return peft


def _drawn(model: Any, tokens: int) -> list[int]:
    return torch.randint(model.get_input_embeddings().num_embeddings, (tokens,)).tolist()
