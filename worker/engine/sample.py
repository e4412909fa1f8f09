"""The next token from the logits: what temperature, top_p, top_k, repetition_penalty, min_tokens and seed mean."""

import secrets
from collections.abc import Iterable

import torch

from app.domain.generation import Parameters


class Sampler:
    """Chooses one answer's tokens. With a seed the choices depend on nothing but the logits, whatever runs beside."""

    def __init__(self, parameters: Parameters, prompt: Iterable[int], ends: frozenset[int]) -> None:
        self._parameters = parameters
        self._used = set(prompt)
        self._ends = sorted(ends)
        seed = parameters.seed if parameters.seed is not None else secrets.randbits(63)
        self._random = torch.Generator().manual_seed(seed)
        self._count = 0

    def choose(self, logits: torch.Tensor) -> int:
        """The next token id from logits [vocabulary], float32 on the CPU."""
        logits = logits.clone()
        chosen = self._parameters
        if chosen.repetition_penalty != 1.0:
            # Keskar et al. 2019 (CTRL), arXiv 1909.05858: divide what is positive, multiply what is negative.
            used = torch.tensor(sorted(self._used))
            values = logits[used]
            logits[used] = torch.where(values > 0, values / chosen.repetition_penalty, values * chosen.repetition_penalty)
        if self._count < chosen.min_tokens:
            logits[self._ends] = -torch.inf
        token = int(logits.argmax()) if chosen.temperature == 0.0 else self._draw(logits / chosen.temperature)
        self._used.add(token)
        self._count += 1
        return token

    def _draw(self, logits: torch.Tensor) -> int:
        values, ids = logits.sort(descending=True, stable=True)
        if self._parameters.top_k:
            values, ids = values[: self._parameters.top_k], ids[: self._parameters.top_k]
        probabilities = values.softmax(-1)
        # Holtzman et al. 2020, arXiv 1904.09751: the fewest tokens that reach top_p together; the first one always stays.
        before = probabilities.cumsum(-1) - probabilities
        probabilities = torch.where(before < self._parameters.top_p, probabilities, 0.0)
        return int(ids[torch.multinomial(probabilities, 1, generator=self._random)])
