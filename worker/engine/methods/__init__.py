"""The tuning methods' torch halves. Each name has its other half, the parameters, in `app/domain/methods/`."""

from collections.abc import Callable
from typing import Any

from worker.engine.methods import full, lora

METHODS: dict[str, Callable[[Any, Any], Any]] = {"lora": lora.prepare, "full": full.prepare}
"""prepare(model, parameters) -> the model to train: its trainable parameters require gradients, and no others do."""
