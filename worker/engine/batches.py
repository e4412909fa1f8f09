"""Encoded examples into batches: which ones go together, and how they become tensors."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from app.domain.rendering import Rendered
from app.errors import Invalid
from worker.engine.encode import encode_pair
from worker.engine.prefix import common

IGNORED = -100
"""Label of a position that has no loss; the value torch's cross entropy skips."""

BUCKET = 8
"""Steps' worth of shuffled examples sorted by length together. Measured on 512 short sentences in batches of 16: 11 % padding (70 %
unsorted, 3 % with 32); few, because batches of one length only make small data sets noisy to learn from."""


@dataclass(frozen=True)
class Example:
    """One training example as token ids; the answer ends with the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    def within(self, tokens: int) -> "Example":
        """The same in at most so many tokens: what is too much is taken from the prompt's left."""
        return self if len(self) <= tokens else Example(self.prompt[len(self) - tokens :], self.answer)


def encode_examples(tokenizer: Any, rows: Iterable[Rendered], max_length: int) -> tuple[list[Example], int]:
    """The examples within `max_length` tokens, and how many of them lost prompt tokens for that."""
    examples, cut = [], 0
    for number, rendered in enumerate(rows, 1):
        prompt, answer = encode_pair(tokenizer, rendered)
        room = max_length - len(answer)
        if room < 1:
            raise Invalid("answer_too_long", f"The answer of example {number} has {len(answer)} tokens.", f"Raise max_length above {len(answer)}.")
        cut += len(prompt) > room
        examples.append(Example(tuple(prompt[-room:]), tuple(answer)))
    return examples, cut


def schedule(lengths: Sequence[int], batch_size: int, accumulation: int, steps: int, seed: int) -> list[list[int]]:
    """The indices of every micro-batch of a run, `accumulation` of them for each of its optimiser steps.

    Each pass over the data is shuffled from (seed, pass), cut into steps of nearly equal size (never a tiny last one), and
    examples of similar length share a step.
    """
    micro: list[list[int]] = []
    passes = -(-len(lengths) // batch_size)
    for epoch in range(-(-steps // passes)):
        rng = random.Random(f"{seed}/{epoch}")  # noqa: S311  # an order that must come out the same again, not a secret
        for batch in _epoch(lengths, batch_size, rng)[: steps - epoch * passes]:
            micro += micro_batches(batch, lengths, accumulation)
    return micro


def micro_batches(batch: Sequence[int], lengths: Sequence[int], pieces: int) -> list[list[int]]:
    """A step's indices in exactly so many runs of similar length, the largest padded size being as small as it can be.

    Many short examples or a few long ones take one pass, so that no pass needs more memory than it must; the step and its loss are the
    same. Measured on 2,048 rows in steps of 32 by 4 passes against equal counts of examples: the largest pass of an epoch 440 padded
    tokens instead of 832 on banking77, 819 instead of 1,040 on e2e_nlg, 480 instead of 584 on sst2; padding 3.0, 1.5 and 2.7 % instead of
    3.8, 1.6 and 3.0 %, so time hardly changes.
    """
    order = sorted(batch, key=lambda index: lengths[index])
    low, high = max(lengths[index] for index in order), lengths[order[-1]] * len(order)
    while low < high:
        budget = (low + high) // 2
        low, high = (low, budget) if len(_packed(order, lengths, budget)) <= pieces else (budget + 1, high)
    parts = _packed(order, lengths, low)
    while len(parts) < pieces:  # room was left over: the largest that can be cut is, which makes nothing larger
        at = max((index for index, part in enumerate(parts) if len(part) > 1), key=lambda index: lengths[parts[index][-1]] * len(parts[index]))
        parts[at : at + 1] = _cut(parts[at], 2)
    return parts


def _packed(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in order of length, in as few runs as stay within `budget` padded tokens each; a longer example goes alone."""
    parts: list[list[int]] = []
    for index in order:
        if not parts or lengths[index] * (len(parts[-1]) + 1) > budget:
            parts.append([])
        parts[-1].append(index)
    return parts


def padded(examples: Sequence[Example]) -> int:
    """Tokens of a batch, padding included."""
    return len(examples) * max(map(len, examples))


def passes_per_step(examples: int, batch_size: int, accumulation: int, devices: int = 1) -> int:
    """Micro-batches an optimiser step can have on each device: no more in all than its smallest batch has examples.

    Raises Invalid `too_few_examples` when not every device would have one.
    """
    smallest = examples // -(-examples // batch_size)
    if smallest < devices:
        raise Invalid("too_few_examples", f"A step of {smallest} examples cannot be spread over {devices} devices.", f"Set devices to {smallest} or fewer.")
    return min(accumulation, smallest // devices)


def within_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length whose padded size stays within `budget` tokens; a longer example goes alone."""
    yield from _packed(sorted(range(len(lengths)), key=lambda index: lengths[index]), lengths, budget)


def collate(examples: Sequence[Example], pad: int, decoder_start: int | None = None, *, share: bool = False) -> dict[str, Any]:
    """Tensors [rows, longest], padded at the right; labels only where the answer is.

    For a decoder-only model prompt and answer are one row. For an encoder-decoder, which begins its answers with the token
    `decoder_start`, the prompts are input_ids, and decoder_input_ids [rows, longest answer] are the answers one place later.
    With `share`, the number `shared` says how many ids all prompts of the batch start with (`worker/engine/forward.py` uses it).
    """
    if decoder_start is None:
        rows = _padded([example.prompt + example.answer for example in examples], pad)
        labels = _padded([(IGNORED,) * len(example.prompt) + example.answer for example in examples], IGNORED)
        shared = {"shared": common([example.prompt for example in examples])} if share else {}
        return {"input_ids": rows, "attention_mask": _mask(examples, len), "labels": labels, **shared}
    return {
        "input_ids": _padded([example.prompt for example in examples], pad),
        "attention_mask": _mask(examples, lambda example: len(example.prompt)),
        "decoder_input_ids": _padded([(decoder_start, *example.answer[:-1]) for example in examples], pad),
        "labels": _padded([example.answer for example in examples], IGNORED),
    }


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on a device."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def decoder_start(model: Any) -> int | None:
    """The token with which an encoder-decoder begins its answers; None for a decoder-only model."""
    return int(model.config.decoder_start_token_id) if model.config.is_encoder_decoder else None


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    filled = torch.full((len(rows), max(map(len, rows))), value)
    for at, row in enumerate(rows):
        filled[at, : len(row)] = torch.tensor(row)
    return filled


def _mask(examples: Sequence[Example], length: Callable[[Example], int]) -> torch.Tensor:
    lengths = torch.tensor([length(example) for example in examples])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).long()


def pad_token(tokenizer: Any) -> int:
    """An id to fill short rows with; which one does not matter, as it is masked."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0)


def _epoch(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    window = batch_size * BUCKET
    grouped = [index for at in range(0, len(order), window) for index in sorted(order[at : at + window], key=lambda index: lengths[index])]
    batches = _cut(grouped, -(-len(order) // batch_size))
    rng.shuffle(batches)
    return batches


def _cut(items: Sequence[int], pieces: int) -> list[list[int]]:
    """The items in that many runs whose sizes differ by at most one."""
    edges = [len(items) * piece // pieces for piece in range(pieces + 1)]
    return [list(items[start:stop]) for start, stop in pairwise(edges)]
