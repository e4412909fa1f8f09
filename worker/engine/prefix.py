"""Reading the start that many prompts share only once. It is the longest common start of their token ids, never of their text."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache


@dataclass(frozen=True)
class Prefix:
    """Token ids a model has read, and its key-value cache of them (batch of one)."""

    ids: tuple[int, ...]
    cache: Any

    def spread(self, rows: int) -> Any:
        """A cache for so many rows, each starting with this prefix; the prefix itself stays as it is."""
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(rows)
        return cache


def common(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows start with, leaving at least one id of each row to read. 0 for a single row."""
    if len(rows) < 2:
        return 0
    low, high = min(map(list, rows)), max(map(list, rows))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return min(same, min(map(len, rows)) - 1)


def read(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """Read the ids once. Without ids the cache is empty."""
    cache: Any = DynamicCache(config=model.config)
    if ids:
        with torch.no_grad():
            model(input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    return Prefix(tuple(ids), cache)
