"""How a batch of prompts is read and its answers go on token by token, for the two families of models."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from worker.engine import cascade
from worker.engine.batches import Example, collate, decoder_start
from worker.engine.forward import read_encoder
from worker.engine.load import Loaded
from worker.engine.prefix import Prefix, body, first_cache, joined, plain, read, shaped

CHUNK = 384
"""Prompt tokens of a batch that are read in one step: a long prompt does not keep other batches waiting."""

LEAST_ROW = 16
"""The fewest of each row in one step, however many rows there are."""


class Continuing:
    """A decoder-only model: the answer goes on where the prompt ends, over one key-value cache."""

    _cache: Any
    _unread: torch.Tensor
    """[rows, tokens] that come next."""
    _mask: torch.Tensor
    """[rows, tokens]: 0 where there is padding; what is unread is in it, a start that is apart is not."""
    _padded: bool
    _read: int
    """Tokens of every row in the cache."""
    _apart: bool = False
    """Whether the start is read where it lies, and not copied into the rows (worker/engine/cascade.py)."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Sequence[int]], prefix: Prefix | None = None, shared: int = 0) -> None:
        """`prefix` is what all prompts start with and has been read. When they share more ids than it has, `shared` of them, these are read
        first, and once."""
        self._model, self._device, self._cascades = body(loaded.model), loaded.device, loaded.cascades
        self._prompts = [tuple(prompt) for prompt in prompts]
        self.start = prefix or read(loaded.model, (), loaded.device)
        self._common = shared if shared > len(self.start.ids) and len(prompts) > 1 else 0
        if self._common:
            self._cache = self._copied(1)
            self._lay([self._prompts[0][: self._common]])
        else:
            self._spread()

    @property
    def rows(self) -> int:
        return len(self._mask)

    @property
    def width(self) -> int:
        """Tokens of every row, padding and those not read yet included; without a start that is apart."""
        return int(self._mask.shape[1])

    @property
    def _before(self) -> int:
        """Tokens that stand before the rows' own."""
        return self.start.length if self._apart else 0

    def forward(self) -> torch.Tensor | None:
        """Read the next chunk of unread tokens. Logits [rows, vocabulary] on the CPU once the last one is read, else None."""
        chunk = max(LEAST_ROW, CHUNK // self.rows)
        ids, self._unread = self._unread[:, :chunk], self._unread[:, chunk:]
        start, self._read = self._read, self._read + ids.shape[1]
        mask = self._mask[:, : self._read]
        plainly = nullcontext({"attention_mask": mask if self._padded else None})
        with torch.no_grad(), cascade.behind(self._model, self.start, mask, ids.shape[1]) if self._apart else plainly as seen:
            logits: torch.Tensor = self._model(
                input_ids=ids,
                position_ids=self._before + (mask.cumsum(1) - 1).clamp(min=0)[:, start:],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                **seen,
            ).logits
        if self._unread.shape[1]:
            return None
        if self._common:
            self.start = Prefix(self._prompts[0][: self._common], self._cache)
            self._common = 0
            self._spread()
            return None
        if ids.shape[1] > 1 and plain(self._cache):
            self._cache = shaped(self._cache, lambda tensor: tensor)  # from here on it grows token by token, in place
        return logits[:, -1].float().cpu()

    def feed(self, tokens: Sequence[int]) -> None:
        """The next token of every row."""
        self._unread = torch.tensor([[token] for token in tokens], device=self._device)
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only; a row named several times becomes several."""
        index = torch.tensor(rows, device=self._device)
        self._prompts = [self._prompts[row] for row in rows]
        if self._common:  # one row is being read for all of them
            return
        self._cache.batch_select_indices(index)
        self._mask, self._unread = self._mask[index], self._unread[index]
        self._trim()

    def take_in(self, other: "Continuing") -> None:
        """Go on with the rows of another batch as well, behind the own ones. Both have plain caches and wait for one token a row."""
        start = self._start_with(other)
        for one in (self, other):
            one._stand_behind(start)
        width = max(self.width, other.width)
        pads = [width - self.width, width - other.width]
        self._cache = joined([self._cache, other._cache], lambda pair: _stacked(pair, pads))
        self._mask = _stacked([self._mask, other._mask], pads, dim=1)
        self._unread = torch.cat([self._unread, other._unread])
        self._read = width - 1
        self._padded = self._padded or other._padded or any(pads)
        self._prompts += other._prompts

    def can_join(self) -> bool:
        """Whether batches of this model can become one."""
        return plain(self._cache)

    def read_row(self, row: int, ids: tuple[int, ...]) -> Prefix:
        """What was read of a row as a prefix of its own, which shares no memory with the batch; `ids` are its ids. Only of a plain cache."""
        places = self._mask[row, : self._read].nonzero()[:, 0]
        count = self.start.length - len(self.start.ids) + len(ids)
        if self._apart:
            caches = [self.start.cache, self._cache]
            return Prefix(ids, joined(caches, lambda pair: torch.cat([pair[0], pair[1][row : row + 1, :, places]], 2)[:, :, :count]))
        return Prefix(ids, shaped(self._cache, lambda tensor: tensor[row : row + 1, :, places[:count]]))

    def _start_with(self, other: "Continuing") -> Prefix | None:
        """What stands apart once both are one batch: a start that does already, or one that is worth it for so many rows."""
        apart = [one.start for one in (self, other) if one._apart]
        known = max(apart or (self.start, other.start), key=lambda start: start.length)
        fits = apart or (self._cascades and cascade.worth(self.rows + other.rows, known))
        return known if fits and all(one._begins_with(known) for one in (self, other)) else None

    def _begins_with(self, start: Prefix) -> bool:
        """Whether every row begins with a start, and has something of its own behind it."""
        count = len(start.ids)
        return all(len(prompt) > count and prompt[:count] == start.ids for prompt in self._prompts)

    def _stand_behind(self, start: Prefix | None) -> None:
        """Go on behind this start, which is apart, or with all of every row in the cache."""
        if self._apart and start is not None and (start is self.start or start.ids == self.start.ids):
            return
        if self._apart:
            before = self.start.length
            self._cache = joined([self.start.cache, self._cache], lambda pair: torch.cat([pair[0].expand(self.rows, -1, -1, -1), pair[1]], 2))
            self._mask = torch.cat([self._mask.new_ones(self.rows, before), self._mask], 1)
            self._read, self._apart = self._read + before, False
        if start is not None:
            self.start, self._apart = start, True
            self._mask = self._mask * (self._mask.cumsum(1) > start.length)
            self._padded = True
            self._trim()

    def _spread(self) -> None:
        """Begin with the rows themselves, behind what they share."""
        shared = len(self.start.ids)
        self._apart = self._cascades and cascade.worth(len(self._prompts), self.start)
        self._cache = self._empty() if self._apart else self._copied(len(self._prompts))
        self._lay([prompt[shared:] for prompt in self._prompts])

    def _copied(self, rows: int) -> Any:
        """A cache for so many rows, each with the start in it. Never the start's own: it must not grow with what the rows read."""
        return self.start.spread(rows) if self.start.length else self._empty()

    def _empty(self) -> Any:
        return DynamicCache(config=self._model.config)

    def _lay(self, rows: Sequence[Sequence[int]]) -> None:
        """The ids to read next, behind the start. Padding stands left of each row's own ids, after the start, and is masked."""
        width, start = max(map(len, rows)), 0 if self._apart else self.start.length
        pads = [width - len(row) for row in rows]
        self._unread = torch.tensor([[0] * pad + list(row) for pad, row in zip(pads, rows, strict=True)], device=self._device)
        self._mask = torch.tensor([[1] * start + [0] * pad + [1] * (width - pad) for pad in pads], device=self._device)
        self._padded = any(pads)
        self._read = start

    def _trim(self) -> None:
        """Drop what is padding in every row."""
        lead = int(self._mask.argmax(1).min())
        if not self._padded or not lead or not plain(self._cache) or self._unread.shape[1] > 1:
            return
        self._cache = shaped(self._cache, lambda tensor: tensor[:, :, lead:])
        self._mask, self._read = self._mask[:, lead:], self._read - lead
        self._padded = not bool(self._mask.all())


def _stacked(tensors: Sequence[torch.Tensor], pads: Sequence[int], dim: int = 2) -> torch.Tensor:
    """The tensors' rows in one, each with so many zeros before dimension `dim`."""
    shape = [0, 0] * (tensors[0].dim() - 1 - dim)
    return torch.cat([functional.pad(tensor, (*shape, count, 0)) if count else tensor for tensor, count in zip(tensors, pads, strict=True)])


class Decoding:
    """An encoder-decoder: the encoder reads the prompts once, the decoder writes over its own cache."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Sequence[int]]) -> None:
        self._model, self._device = body(loaded.model), loaded.device
        start = decoder_start(loaded.model)
        batch = collate([Example(tuple(prompt), (0,)) for prompt in prompts], 0, start)
        with torch.no_grad():
            self._hidden, self._mask = read_encoder(loaded.model, batch["input_ids"].to(self._device), batch["attention_mask"].to(self._device))
        self._cache: Any = first_cache(loaded.model, len(prompts))
        self._unread = batch["decoder_input_ids"].to(self._device)

    def forward(self) -> torch.Tensor:
        """Logits [rows, vocabulary] on the CPU of the next token of every row."""
        with torch.no_grad():
            logits: torch.Tensor = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
                attention_mask=self._mask,
                decoder_input_ids=self._unread,
                past_key_values=self._cache,
                use_cache=True,
            ).logits
        return logits[:, -1].float().cpu()

    def feed(self, tokens: Sequence[int]) -> None:
        """The next token of every row."""
        self._unread = torch.tensor([[token] for token in tokens], device=self._device)

    def can_join(self) -> bool:
        """Whether batches of this model can become one."""
        return False

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(index)
        self._hidden, self._mask, self._unread = self._hidden[index], self._mask[index], self._unread[index]
