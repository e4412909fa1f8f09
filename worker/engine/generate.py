"""Writing answers token by token: several prompts as one batch over one key-value cache, each with its own parameters."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.errors import Invalid
from worker.engine.batches import within_tokens
from worker.engine.encode import encode_prompt, end_token
from worker.engine.load import Loaded, window
from worker.engine.prefix import Prefix, common, read
from worker.engine.reading import Continuing, Decoding
from worker.engine.reporting import Stopped
from worker.engine.sample import Sampler
from worker.engine.text import Decoder, Gate

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Prompt and answer tokens of one batch when many prompts are completed: bounds the cache."""

Reason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Prompt:
    """One prompt to complete: its ids, its parameters, the strings and ids that end it, and whether its asker has left."""

    ids: tuple[int, ...]
    parameters: Parameters
    stops: tuple[str, ...]
    ends: frozenset[int]
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Finish:
    """How an answer ended. `output_tokens` counts every token the model wrote, an end token included."""

    reason: Reason
    input_tokens: int
    output_tokens: int
    latency_ms: float


@dataclass(frozen=True)
class Delta:
    """New text of answer `row`; the last delta of a row carries its finish."""

    row: int
    text: str
    finish: Finish | None = None


@dataclass(frozen=True)
class Completion:
    text: str
    finish: Finish


def prepare(loaded: Loaded, rendered: Rendered, parameters: Parameters, cancelled: Callable[[], bool] = lambda: False) -> Prompt:
    """A rendered prompt ready to be completed. Raises Invalid `prompt_too_long` when the model's window leaves no room for an answer."""
    ids = encode_prompt(loaded.tokenizer, rendered)
    if not ids:
        raise Invalid("empty_prompt", "The prompt is empty.", "Write something into it.")
    if len(ids) >= window(loaded.model):
        raise Invalid(
            "prompt_too_long",
            f"The prompt has {len(ids)} tokens; this model takes {window(loaded.model)} with the answer.",
            "Use fewer or shorter shots, or a model with a larger window.",
        )
    return from_ids(loaded, ids, rendered, parameters, cancelled)


def from_ids(loaded: Loaded, ids: Sequence[int], rendered: Rendered, parameters: Parameters, cancelled: Callable[[], bool] = lambda: False) -> Prompt:
    """The same for a prompt that is encoded already, shortened perhaps: `rendered` says only where an answer to it ends."""
    stops = rendered.stop if parameters.stop is None else tuple(parameters.stop)
    return Prompt(tuple(ids), parameters, stops, _ends(loaded, rendered), cancelled)


def complete(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    *,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    batch_tokens: int | None = None,
) -> list[Completion]:
    """Complete many prompts, in batches of similar length after reading their common start once. Raises Stopped when asked to stop.

    A batch has at most `batch_tokens` prompt and answer tokens (None: BATCH_TOKENS). A completion's latency is that of its batch up to its own end.
    """
    shared = () if loaded.encoder_decoder or not prompts else prompts[0].ids[: common([prompt.ids for prompt in prompts])]
    prefix = None if loaded.encoder_decoder else read(loaded.model, shared, loaded.device)
    lengths = [len(prompt.ids) + prompt.parameters.max_tokens for prompt in prompts]
    texts, finishes = [""] * len(prompts), dict[int, Finish]()
    for rows in within_tokens(lengths, batch_tokens or BATCH_TOKENS.get(loaded.device.type, BATCH_TOKENS["cpu"])):
        for delta in Generation(loaded, [prompts[row] for row in rows], prefix).deltas(should_stop):
            texts[rows[delta.row]] += delta.text
            if delta.finish:
                finishes[rows[delta.row]] = delta.finish
                if progress:
                    progress(len(finishes), len(prompts))
    return [Completion(text, finishes[row]) for row, text in enumerate(texts)]


class _Answer:
    """One row of a batch while it is being written."""

    def __init__(self, row: int, prompt: Prompt, room: int, tokenizer: Any) -> None:
        self.row, self.prompt = row, prompt
        self._most = min(prompt.parameters.max_tokens, room)
        self._sampler = Sampler(prompt.parameters, prompt.ids, prompt.ends)
        self._decoder, self._gate = Decoder(tokenizer, prompt.ids), Gate(prompt.stops)
        self.token, self.count = -1, 0

    def take(self, logits: torch.Tensor) -> tuple[str, Reason | None]:
        """Choose the next token: its text, and why it is the last one, if it is."""
        self.token = self._sampler.choose(logits)
        self.count += 1
        if self.token in self.prompt.ends:
            return self.last_text(), "stop"
        text = self._gate.push(self._decoder.push(self.token), armed=self.count >= self.prompt.parameters.min_tokens)
        if self._gate.closed:
            return text, "stop"
        if self.count >= self._most:
            return text + self.last_text(), "length"
        return text, None

    def last_text(self) -> str:
        return self._gate.push(self._decoder.rest()) + self._gate.rest()


class Generation:
    """A batch of answers in the making. Each `step()` reads a chunk of the prompts or writes one token of every answer."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Prompt], prefix: Prefix | None = None) -> None:
        self._began = time.perf_counter()
        room = window(loaded.model)
        self._answers = [_Answer(row, prompt, room - len(prompt.ids), loaded.tokenizer) for row, prompt in enumerate(prompts)]
        rows = [prompt.ids for prompt in prompts]
        self._reading: Decoding | Continuing = Decoding(loaded, rows) if loaded.encoder_decoder else Continuing(loaded, rows, prefix)

    @property
    def done(self) -> bool:
        return not self._answers

    def deltas(self, should_stop: Callable[[], bool] | None = None) -> Iterator[Delta]:
        """Everything until the end. Raises Stopped between two steps when asked to stop."""
        while not self.done:
            if should_stop and should_stop():
                raise Stopped
            yield from self.step()

    def step(self) -> list[Delta]:
        """Go on by one step and return what became known by it; rows that ended leave the batch."""
        deltas = self._drop_cancelled()
        if self.done:
            return deltas
        logits = self._reading.forward()
        if logits is None:
            return deltas
        stays = []
        for index, answer in enumerate(self._answers):
            text, reason = answer.take(logits[index])
            if text or reason:
                deltas.append(Delta(answer.row, text, self._finish(answer, reason) if reason else None))
            if reason is None:
                stays.append(index)
        self._keep(stays)
        if self._answers:
            self._reading.feed([answer.token for answer in self._answers])
        return deltas

    def _drop_cancelled(self) -> list[Delta]:
        gone = [answer for answer in self._answers if answer.prompt.cancelled()]
        if gone:
            self._keep([index for index, answer in enumerate(self._answers) if answer not in gone])
        return [Delta(answer.row, "", self._finish(answer, "cancelled")) for answer in gone]

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self._answers):
            return
        self._answers = [self._answers[row] for row in rows]
        if rows:
            self._reading.keep(rows)

    def _finish(self, answer: _Answer, reason: Reason) -> Finish:
        return Finish(reason, len(answer.prompt.ids), answer.count, (time.perf_counter() - self._began) * 1000)


def _ends(loaded: Loaded, rendered: Rendered) -> frozenset[int]:
    """Ids that end an answer: the one it is trained to end with, and those the model's own configuration names."""
    named = getattr(loaded.model, "generation_config", None)
    others = getattr(named, "eos_token_id", None)
    every = others if isinstance(others, list) else [others]
    return frozenset({end_token(loaded.tokenizer, rendered), *(token for token in every if token is not None)})
