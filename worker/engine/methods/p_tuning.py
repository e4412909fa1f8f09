"""P-tuning: virtual tokens that come out of a small trainable network (Liu et al. 2021, arXiv 2103.10385)."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PromptEncoderConfig

from app.domain.methods.p_tuning import PTuning
from worker.engine.methods.soft import embeddings, fitted, solve, task, width, wrap


def prepare(model: Any, parameters: PTuning, opening: Sequence[int]) -> Any:
    """The model with virtual tokens and their network before its input. What is saved in the end are the tokens alone."""
    tokens = parameters.tokens(len(opening))
    lstm = parameters.encoder == "lstm"
    config = PromptEncoderConfig(
        task_type=task(model),
        num_virtual_tokens=tokens,
        num_transformer_submodules=1,
        encoder_reparameterization_type=parameters.encoder.upper(),
        encoder_hidden_size=parameters.encoder_size or width(model),
        encoder_num_layers=2,
        encoder_dropout=0.0,
    )
    peft, encoder = wrap(model, config)
    if parameters.init == "text" and opening:
        with torch.no_grad():
            drawn = encoder.embedding.weight[None]
            inner = encoder.mlp_head[:-1](encoder.lstm_head(drawn)[0] if lstm else drawn)[0]
        solve(encoder.mlp_head[-1], inner, embeddings(model, fitted(opening, tokens)))
    return peft
