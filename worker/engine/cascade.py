"""Attention behind a start that all rows of a batch share: its keys and values lie there once, and are read once for all rows.

Copied into every row, they are much of what a step reads: 16 rows behind 334 tokens of the starter model hold 246 MB of them, nearly half of what its weights
take. The queries of all rows meet the start in one product, each row's own keys in another; one softmax over both makes it the attention it was
(Hydragen: Juravsky et al., 2024, arXiv:2402.05099; there the two parts are softened apart and summed by their weight, which saves memory that short
questions do not need). On a processor only, where it has been measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engine.prefix import Prefix, begin, body, plain

NAME = "fettle_cascade"

LEAST_ROWS, LEAST_COPIES = 4, 2048
"""Fewer rows, or fewer tokens of all their copies together, are read as fast with a copy each, or faster (`python -m bench.cascade`)."""

MOST_SCORES = 1 << 24
"""Scores of one layer that are held at once, 64 MB, and three times that while they become weights; where there are more, the start is copied into the rows, one layer at
a time."""

LIKE_NO_OTHER = ("softcap", "position_bias", "s_aux", "sliding_window")
"""What some models ask of attention beside the usual."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    shared_start: Any = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Query [rows, heads, new, width], the rows' own key and value [rows, groups, own, width], and which own tokens each new one sees [rows, 1, new, own]; it sees
    all of `shared_start`, a plain cache of one row. Returns [rows, new, heads, width]. Raises NotImplementedError for attention of another kind.

    As transformers calls an attention function.
    """
    if any(others.get(name) is not None for name in LIKE_NO_OTHER):
        raise NotImplementedError
    start = shared_start.layers[module.layer_idx]
    rows, heads, new, width = query.shape
    groups, own, before = key.shape[1], key.shape[2], start.keys.shape[2]
    if rows * heads * new * (before + own) > MOST_SCORES:
        whole = [torch.cat([one.expand(rows, -1, -1, -1), mine], 2) for one, mine in ((start.keys, key), (start.values, value))]
        out, _ = sdpa_attention_forward(module, query, *whole, pad(attention_mask, (before, 0), value=True), scaling=scaling)
        return out, None
    query = query * (width**-0.5 if scaling is None else scaling)
    grouped = query.reshape(rows, groups, -1, width)
    together = grouped.transpose(0, 1).reshape(groups, -1, width)
    far = (together @ start.keys[0].mT).view(groups, rows, -1, before).transpose(0, 1)
    seen = attention_mask.expand(-1, heads // groups, -1, -1).reshape(rows, 1, -1, own)
    near = (grouped @ key.mT).masked_fill(~seen, -torch.inf)
    weights = torch.cat([far, near], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
    of_start = weights[..., :before].transpose(0, 1).reshape(groups, -1, before) @ start.values[0]
    out = of_start.view(groups, rows, -1, width).transpose(0, 1) + weights[..., before:] @ value
    return out.reshape(rows, heads, new, width).transpose(1, 2), None


AttentionInterface.register(NAME, attend)


def worth(rows: int, start: Prefix) -> bool:
    """Whether so many rows are better read behind one copy of a start."""
    return rows >= LEAST_ROWS and rows * start.length >= LEAST_COPIES and plain(start.cache)


@contextmanager
def behind(model: Any, start: Prefix, mask: torch.Tensor, new: int) -> Iterator[dict[str, Any]]:
    """While the block runs, the model attends behind `start`. Gives what its call takes for that: `mask` [rows, own tokens] is 0 where there is padding, and the last
    `new` of them are being read."""
    own = mask.shape[1]
    seen = mask.bool()[:, None, None] & torch.ones(new, own, dtype=torch.bool, device=mask.device).tril(own - new)
    config = model.config
    usual, config._attn_implementation = config._attn_implementation, NAME
    try:
        yield {"attention_mask": seen, "shared_start": start.cache}
    finally:
        config._attn_implementation = usual


def cascades(model: Any) -> bool:
    """Whether a model on a processor answers behind a start that is read so as it does behind copies of it: found out by a small trial."""
    base = body(model)
    if model.config.is_encoder_decoder or base.device.type != "cpu" or base.config._attn_implementation != "sdpa":
        return False
    if not getattr(base, "_supports_attention_backend", False):
        return False
    try:
        with torch.no_grad():
            return _same(model)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError):
        return False


def _same(model: Any) -> bool:
    """The same logits for two rows of different length, read at once and, by one more token, over a cache."""
    base, ids = body(model), tuple(range(4, 36))
    start = Prefix(ids, begin(model, torch.tensor([ids])))
    if not plain(start.cache):
        return False
    mask, rows = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]), torch.tensor([[0, 9, 5, 7], [8, 6, 4, 3]])
    places = start.length + (mask.cumsum(1) - 1).clamp(min=0)
    whole = torch.cat([mask.new_ones(2, start.length), mask], 1)
    copied, apart = start.spread(2), DynamicCache(config=base.config)
    for new in (slice(0, 3), slice(3, 4)):
        asked = {"input_ids": rows[:, new], "position_ids": places[:, new], "use_cache": True, "logits_to_keep": 1}
        wanted = base(**asked, past_key_values=copied, attention_mask=whole[:, : start.length + new.stop]).logits
        with behind(base, start, mask[:, : new.stop], new.stop - new.start) as seen:
            found = base(**asked, past_key_values=apart, **seen).logits
        # Rounding grows with the logits; a token that sees the wrong ones is off by a large part of them.
        if float((found - wanted).abs().max()) > (1e-3 if base.dtype == torch.float32 else 1e-2) * float(wanted.abs().max()):
            return False
    return True
