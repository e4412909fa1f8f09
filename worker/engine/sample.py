"""The next token from the logits: what temperature, top_p, top_k, the penalties, min_tokens, a constraint and seed mean."""

import secrets
from collections import Counter
from collections.abc import Iterable

import torch

from app.domain.generation import Parameters
from worker.engine.constrain import Guide

LIKELY = 1024
"""Tokens that are sorted first to find those that reach top_p: nearly always enough, and ten times faster than sorting all."""


class Sampler:
    """Chooses one answer's tokens. With a seed the choices depend on nothing but the logits, whatever runs beside."""

    def __init__(self, parameters: Parameters, prompt: Iterable[int], ends: frozenset[int], guide: Guide | None = None, index: int = 0) -> None:
        """`index` is the answer's number among several to one prompt: each has a seed of its own."""
        self._parameters = parameters
        self._used = set(prompt) if parameters.repetition_penalty != 1.0 else set[int]()
        self._written = Counter[int]()
        self._ends = sorted(ends)
        self._guide = guide
        seed = parameters.seed + index if parameters.seed is not None else secrets.randbits(63)
        self._random = torch.Generator().manual_seed(seed % (1 << 63))
        self._count = 0
        self._counts_tokens = bool(parameters.frequency_penalty or parameters.presence_penalty or parameters.repetition_penalty != 1.0)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token id from logits [vocabulary], float32 on the CPU, which stay as they are."""
        chosen = self._parameters
        if self._counts_tokens:
            logits = self._penalised(logits)
        if self._guide is not None:
            logits = logits.masked_fill(self._guide.forbidden(), -torch.inf)
        if self._count < chosen.min_tokens:
            logits = self._going_on(logits)
        token = int(logits.argmax()) if chosen.temperature == 0.0 else self._draw(logits / chosen.temperature)
        if self._counts_tokens:
            self._used.add(token)
            self._written[token] += 1
        self._count += 1
        return token

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        logits, chosen = logits.clone(), self._parameters
        if chosen.repetition_penalty != 1.0:
            # Keskar et al. 2019 (CTRL), arXiv 1909.05858: divide what is positive, multiply what is negative.
            used = torch.tensor(sorted(self._used))
            values = logits[used]
            logits[used] = torch.where(values > 0, values / chosen.repetition_penalty, values * chosen.repetition_penalty)
        if self._written:
            # OpenAI's two: once for each time the answer has the token, and once for its being there; the prompt does not count.
            written = torch.tensor(list(self._written))
            times = torch.tensor(list(self._written.values()), dtype=logits.dtype)
            logits[written] -= times * chosen.frequency_penalty + chosen.presence_penalty
        return logits

    def _going_on(self, logits: torch.Tensor) -> torch.Tensor:
        """Without the end tokens, unless nothing else may come: a constraint that is satisfied outweighs the least number of tokens."""
        without = logits.clone()
        without[self._ends] = -torch.inf
        return without if self._guide is None or bool(without.isfinite().any()) else logits

    def _draw(self, logits: torch.Tensor) -> int:
        if self._parameters.top_k:
            values, ids = logits.topk(min(self._parameters.top_k, len(logits)))
            return self._drawn(values.softmax(-1), ids)
        probabilities = logits.softmax(-1)
        if self._parameters.top_p == 1.0:
            return self._multinomial(probabilities)
        likely, ids = probabilities.topk(min(LIKELY, len(logits)))
        if float(likely.sum()) < self._parameters.top_p:
            likely, ids = probabilities.sort(descending=True, stable=True)
        return self._drawn(likely, ids)

    def _drawn(self, probabilities: torch.Tensor, ids: torch.Tensor) -> int:
        # Holtzman et al. 2020, arXiv 1904.09751: the fewest tokens that reach top_p together; the first one always stays.
        before = probabilities.cumsum(-1) - probabilities
        return int(ids[self._multinomial(torch.where(before < self._parameters.top_p, probabilities, 0.0))])

    def _multinomial(self, probabilities: torch.Tensor) -> int:
        return int(torch.multinomial(probabilities, 1, generator=self._random))
