"""Prefix tuning: trainable keys and values before the input's, in every layer (Li and Liang 2021, arXiv 2101.00190)."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PrefixTuningConfig
from peft.tuners.cartridge.utils import prompt_embeddings_from_past_key_values

from app.domain.methods.prefix import Prefix
from worker.engine.methods.soft import fitted, solve, task, width, wrap
from worker.engine.prefix import read

SMALL = 0.02
"""Standard deviation of small noise. peft's own, 1, begins far from anything the model ever saw and is slow to come back."""


def prepare(model: Any, parameters: Prefix, opening: Sequence[int]) -> Any:
    """The model with a prefix in every layer. An encoder-decoder has it in its decoder, where no text of the input ever stood."""
    tokens = parameters.tokens(len(opening))
    wanted = _remembered(model, fitted(opening, tokens)) if parameters.init == "text" and opening and not model.config.is_encoder_decoder else None
    config = PrefixTuningConfig(
        task_type=task(model),
        num_virtual_tokens=tokens,
        prefix_projection=parameters.projection,
        encoder_hidden_size=parameters.encoder_size or width(model),
        init_weights="zero" if parameters.init == "zero" else "default",
    )
    peft, encoder = wrap(model, config)
    with torch.no_grad():
        if not parameters.projection and parameters.init != "zero":
            encoder.embedding.weight.copy_(torch.randn_like(encoder.embedding.weight) * SMALL if wanted is None else wanted)
        elif wanted is not None:
            solve(encoder.transform[-1], encoder.transform[:-1](encoder.embedding.weight), wanted)
    return peft


def _remembered(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[ids, layers * 2 * key width]: the keys and values of a text, as a prefix holds them."""
    cache = read(model.eval(), ids, model.device).cache
    found: torch.Tensor = prompt_embeddings_from_past_key_values(cache, num_virtual_tokens=len(ids)).float()
    return found
