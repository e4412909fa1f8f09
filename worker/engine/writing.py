"""One answer while it is being written: token by token into text, until something ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from app.domain.generation import Parameters
from app.errors import Invalid
from worker.engine.constrain import Guide
from worker.engine.sample import Sampler
from worker.engine.text import Decoder, Gate, token_text

Reason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Prompt:
    """One prompt to complete: its ids, its parameters, the strings and ids that end it, and whether its asker has left.

    `guide` makes what holds an answer to its constraint. `bare` says that white space before the answer is not part of it.
    """

    ids: tuple[int, ...]
    parameters: Parameters
    stops: tuple[str, ...]
    ends: frozenset[int]
    cancelled: Callable[[], bool] = lambda: False
    guide: Callable[[], Guide | None] = lambda: None
    bare: bool = False


@dataclass(frozen=True)
class Logprob:
    """A token of an answer, with the natural logarithm of the probability that the model by itself gives it: before temperature,
    penalties and constraint. `top` are the likeliest tokens in its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


class Answer:
    """One row of a batch. `index` is its number among the answers to the same prompt."""

    def __init__(self, row: int, prompt: Prompt, room: int, tokenizer: Any, index: int = 0, began: float = 0.0) -> None:
        self.row, self.index, self.prompt, self.began = row, index, prompt, began
        self.token, self.count = -1, 0
        self._most = min(prompt.parameters.max_tokens, room)
        self._tokenizer = tokenizer
        self._guide = prompt.guide()
        self._sampler = Sampler(prompt.parameters, prompt.ids, prompt.ends, self._guide, index)
        self._decoder, self._gate = Decoder(tokenizer, prompt.ids), Gate(prompt.stops)
        self._begun = not prompt.bare
        self._ids: list[int] = []
        self._decoded = self._passed = 0
        self._reported: list[tuple[int, Logprob]] = []
        """Log-probabilities not told yet, each with the length of the answer's text at its end."""

    def copies(self, room: int) -> "list[Answer]":
        """This answer and the others to the same prompt, none of them begun."""
        return [self, *(Answer(self.row, self.prompt, room, self._tokenizer, index, self.began) for index in range(1, self.prompt.parameters.n))]

    def take(self, logits: torch.Tensor) -> tuple[str, Reason | None]:
        """Choose the next token: its text, and why it is the last one, if it is. Raises Invalid when a constraint cannot be followed."""
        self.token = self._sampler.choose(logits)
        self.count += 1
        if self.token in self.prompt.ends:
            return self._last_text(), "stop"
        if self._guide is not None:
            self._guide.take(self.token)
        piece = self._decoder.push(self.token)
        self._decoded += len(piece)
        if self.prompt.parameters.logprobs:
            self._report(logits)
        text = self._gate.push(piece, armed=self.count >= self.prompt.parameters.min_tokens)
        if self._gate.closed:
            return self._own(text), "stop"
        if self._guide is not None and self._guide.done:
            return self._own(text) + self._last_text(), "stop"
        if self.count >= self._most:
            return self._own(text) + self._last_text(), "length"
        return self._own(text), None

    def reported(self) -> tuple[Logprob, ...]:
        """The log-probabilities of tokens whose text is told by now. What a stop string took away is never told."""
        count = next((at for at, (end, _) in enumerate(self._reported) if end > self._passed), len(self._reported))
        told, self._reported = self._reported[:count], self._reported[count:]
        return tuple(value for _, value in told)

    def _own(self, text: str) -> str:
        self._passed += len(text)
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text

    def _last_text(self) -> str:
        return self._own(self._gate.push(self._decoder.rest()) + self._gate.rest())

    def _report(self, logits: torch.Tensor) -> None:
        values = logits.log_softmax(-1)
        best, ids = values.topk(self.prompt.parameters.logprobs)
        before = [*self.prompt.ids[-4:], *self._ids][-4:]
        top = tuple((token_text(self._tokenizer, before, int(token)), float(value)) for value, token in zip(best, ids, strict=True))
        self._reported.append((self._decoded, Logprob(token_text(self._tokenizer, before, self.token), float(values[self.token]), top)))
        self._ids.append(self.token)


def check_room(ids: Sequence[int], window: int) -> None:
    """Raises Invalid for a prompt that is empty or leaves no room for an answer."""
    if not ids:
        raise Invalid("empty_prompt", "The prompt is empty.", "Write something into it.")
    if len(ids) >= window:
        raise Invalid(
            "prompt_too_long",
            f"The prompt has {len(ids)} tokens; this model takes {window} with the answer.",
            "Use fewer or shorter shots, or a model with a larger window.",
        )
