"""How a batch of prompts is read and its answers go on token by token, for the two families of models."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from worker.engine.batches import Example, collate, decoder_start
from worker.engine.forward import read_encoder
from worker.engine.load import Loaded
from worker.engine.prefix import Prefix, body, first_cache, read

CHUNK = 256
"""Prompt tokens read in one step: a long prompt does not keep other batches waiting."""


class Continuing:
    """A decoder-only model: the answer goes on where the prompt ends, over one key-value cache."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Sequence[int]], prefix: Prefix | None) -> None:
        self._model, self._device = body(loaded.model), loaded.device
        prefix = prefix or read(loaded.model, (), loaded.device)
        shared, start = len(prefix.ids), prefix.length
        self._cache = prefix.spread(len(prompts)) if start else prefix.cache
        width = max(map(len, prompts)) - shared
        # Padding stands left of each row's own tokens, after the shared start, and is masked.
        pads = [width + shared - len(prompt) for prompt in prompts]
        unread = [[0] * pad + list(prompt[shared:]) for pad, prompt in zip(pads, prompts, strict=True)]
        self._unread = torch.tensor(unread, device=loaded.device)
        self._mask = torch.tensor([[1] * start + [0] * pad + [1] * (width - pad) for pad in pads], device=loaded.device)
        self._read = start

    def forward(self) -> torch.Tensor | None:
        """Read the next chunk of unread tokens. Logits [rows, vocabulary] on the CPU once the last one is read, else None."""
        ids, self._unread = self._unread[:, :CHUNK], self._unread[:, CHUNK:]
        start, self._read = self._read, self._read + ids.shape[1]
        mask = self._mask[:, : self._read]
        with torch.no_grad():
            logits = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, start:],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        return None if self._unread.shape[1] else logits[:, -1].float().cpu()

    def feed(self, tokens: Sequence[int]) -> None:
        """The next token of every row."""
        self._unread = torch.tensor([[token] for token in tokens], device=self._device)
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(index)
        self._mask, self._unread = self._mask[index], self._unread[index]


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

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(index)
        self._hidden, self._mask, self._unread = self._hidden[index], self._mask[index], self._unread[index]
