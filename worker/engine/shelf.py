"""Models kept in memory within a budget; the least recently used leaves first, and never one that is answering."""

import gc
from collections.abc import Callable, Collection
from pathlib import Path

import torch

from app.errors import TooLarge
from worker.engine.load import Loaded, load, needed_bytes


class Shelf:
    """Loaded models by key. Used from one thread; `sizes()` may be read from any."""

    def __init__(self, budget_bytes: int, device: str = "auto") -> None:
        self._budget, self._device = budget_bytes, device
        self._models: dict[str, Loaded] = {}
        """Least recently used first."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every model in memory, least recently used first."""
        return {key: model.bytes for key, model in self._models.copy().items()}

    def take(self, key: str, folder: Path, adapter: Path | None, busy: Collection[str], announce: Callable[[], None]) -> Loaded | None:
        """The model, loaded if need be (`announce` is called before that). None when it has no room until a busy model is done.

        Raises TooLarge when it would not fit alone, and Invalid when it cannot be loaded.
        """
        if key not in self._models:
            needed = needed_bytes(folder, adapter=adapter, device=self._device)
            if needed > self._budget:
                raise TooLarge(
                    "model_too_large",
                    f"The model needs {needed / 1e9:.1f} GB; the engine may use {self._budget / 1e9:.1f} GB.",
                    "Give the engine a larger memory budget, or use a smaller model.",
                )
            if needed + sum(self._models[other].bytes for other in busy) > self._budget:
                return None
            self._make_room(needed, busy)
            announce()
            self._models[key] = load(folder, adapter=adapter, device=self._device)
        self._models[key] = self._models.pop(key)
        return self._models[key]

    def drop_idle(self, busy: Collection[str]) -> None:
        """Give back the memory of every model that is not busy."""
        self._make_room(self._budget, busy)

    def _make_room(self, needed: int, busy: Collection[str]) -> None:
        for key in [key for key in self._models if key not in busy]:
            if sum(model.bytes for model in self._models.values()) + needed <= self._budget:
                return
            del self._models[key]
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
