"""Encoded examples into batches: which ones go together, and how they become tensors."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from app.domain.rendering import Rendered
from app.errors import Invalid
from worker.engine.encode import encode_pair

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
            micro += _cut(sorted(batch, key=lambda index: lengths[index]), accumulation)
    return micro


def passes_per_step(examples: int, batch_size: int, accumulation: int) -> int:
    """Micro-batches an optimiser step can have: no more than its smallest batch has examples."""
    return min(accumulation, examples // -(-examples // batch_size))


def within_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length whose padded size stays within `budget` tokens; a longer example goes alone."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and lengths[index] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def collate(examples: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """Tensors [rows, longest]: input_ids and attention_mask padded at the right, labels only where the answer is."""
    width = max(map(len, examples))
    input_ids = torch.full((len(examples), width), pad)
    attention_mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        length = len(example)
        input_ids[row, :length] = torch.tensor(example.prompt + example.answer)
        attention_mask[row, :length] = 1
        labels[row, len(example.prompt) : length] = torch.tensor(example.answer)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


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


def _cut(items: list[int], pieces: int) -> list[list[int]]:
    """The items in that many runs whose sizes differ by at most one."""
    edges = [len(items) * piece // pieces for piece in range(pieces + 1)]
    return [items[start:stop] for start, stop in pairwise(edges)]
