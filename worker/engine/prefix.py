"""Reading the start that many prompts share only once. It is the longest common start of their token ids, never of their text.

A soft prompt is such a start too: what every layer remembers of its virtual tokens goes into the cache, and everything after it is
read by the base model alone.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from worker.engine.growing import GrowingLayer

PLAIN = (DynamicLayer, GrowingLayer)


@dataclass(frozen=True)
class Prefix:
    """Token ids a model has read, and its key-value cache of them (batch of one), which begins with the model's soft prompt if it has one."""

    ids: tuple[int, ...]
    cache: Any

    @property
    def length(self) -> int:
        """Tokens in the cache, virtual ones included."""
        return int(self.cache.get_seq_length())

    def spread(self, rows: int) -> Any:
        """A cache for so many rows, each starting with this prefix; the prefix itself stays as it is."""
        if plain(self.cache):
            return shaped(self.cache, lambda tensor: tensor.expand(rows, -1, -1, -1))
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def first(self, count: int) -> "Prefix":
        """The same as far as its first `count` ids. Only of a plain cache."""
        kept = self.length - len(self.ids) + count
        return Prefix(self.ids[:count], shaped(self.cache, lambda tensor: tensor[:, :, :kept]))

    @property
    def bytes(self) -> int:
        """Memory of a plain cache."""
        return sum(tensor.numel() * tensor.element_size() for layer in self.cache.layers for tensor in (layer.keys, layer.values))


def plain(cache: Any) -> bool:
    """Whether every layer keeps the keys and values of all tokens and nothing else, so that a cache can be cut and joined as tensors."""
    return isinstance(cache, DynamicCache) and bool(cache.layers) and all(type(layer) in PLAIN and layer.is_initialized for layer in cache.layers)


def shaped(cache: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A plain cache whose keys and values [rows, heads, tokens, width] are changed. Nothing is copied where the change gives a view: the
    first token that is appended makes room of its own."""
    return joined([cache], lambda tensors: change(tensors[0]))


def joined(caches: Sequence[Any], change: Callable[[list[torch.Tensor]], torch.Tensor]) -> Any:
    """One plain cache out of several, layer by layer."""
    made = DynamicCache()
    for same in zip(*(cache.layers for cache in caches), strict=True):
        made.layers.append(GrowingLayer(change([one.keys for one in same]), change([one.values for one in same])))
    return made


def common(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows start with, leaving at least one id of each row to read. 0 for a single row."""
    if len(rows) < 2:
        return 0
    low, high = min(map(list, rows)), max(map(list, rows))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return min(same, min(map(len, rows)) - 1)


def soft_prompt(model: Any) -> Any:
    """The configuration of the model's soft prompt, or None when it has none."""
    config = getattr(model, "active_peft_config", None)
    return config if config is not None and config.is_prompt_learning else None


def virtual_tokens(model: Any) -> int:
    """How many virtual tokens stand before what this model reads."""
    soft = soft_prompt(model)
    return soft.num_virtual_tokens if soft else 0


def body(model: Any) -> Any:
    """What reads the tokens that follow a soft prompt: the base model. Any other model is its own body."""
    return model.get_base_model() if soft_prompt(model) else model


def remembers(model: Any) -> bool:
    """Whether the soft prompt is keys and values in every layer (prefix tuning), not embeddings before the input."""
    soft = soft_prompt(model)
    return bool(soft) and soft.peft_type == "PREFIX_TUNING"


def read(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """Read the soft prompt and the ids once. Without either the cache is empty. For decoder-only models."""
    with torch.no_grad():
        return Prefix(tuple(ids), begin(model, torch.tensor([list(ids)], device=device, dtype=torch.long)))


def begin(model: Any, ids: torch.Tensor) -> Any:
    """The cache after the soft prompt and the ids [1, tokens]; gradients flow back through it where they are recorded."""
    base, virtual = body(model), bool(soft_prompt(model)) and not remembers(model)
    cache: Any = model.get_prompt(1) if remembers(model) else DynamicCache(config=model.config)
    if virtual:
        # One pass for both: a pass costs reading all weights, however few the tokens.
        embeds = torch.cat([model.get_prompt(1).to(base.dtype), base.get_input_embeddings()(ids)], 1)
        base(inputs_embeds=embeds, past_key_values=cache, use_cache=True, logits_to_keep=1)
    elif ids.shape[1]:
        base(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def first_cache(model: Any, rows: int) -> Any:
    """The cache with which an encoder-decoder begins so many answers."""
    if not remembers(model):
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        return model.get_prompt(rows)
