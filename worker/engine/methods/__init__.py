"""The tuning methods' torch halves. Each name has its other half, the parameters, in `app/domain/methods/`."""

from collections.abc import Callable, Sequence
from typing import Any

from worker.engine.methods import full, lora, p_tuning, prefix, prompt_tuning

METHODS: dict[str, Callable[[Any, Any, Sequence[int]], Any]] = {
    "prompt_tuning": prompt_tuning.prepare,
    "p_tuning": p_tuning.prepare,
    "prefix": prefix.prepare,
    "lora": lora.prepare,
    "full": full.prepare,
}
"""prepare(model, parameters, opening) -> the model to train: its trainable parameters require gradients, and no others do.

`opening` are the token ids of the text a soft prompt starts from; methods that train weights take no notice of it.
"""
