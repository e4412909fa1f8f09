"""Encoded examples into batches: which ones go together, and how they become tensors."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import chain, pairwise
from typing import Any

import torch

from app.errors import Invalid
from worker.engine.prefix import common

IGNORED = -100
"""Label of a position that has no loss; the value torch's cross entropy skips."""

BUCKET = 8
"""Steps' worth of shuffled examples sorted by length together where examples cannot be packed (`python -m bench.padding`); few, because
batches of one length only make small data sets noisy to learn from."""

LEAST_SHARED = 64
"""Reading a shared start apart is worth its fixed cost (all weights are read once more, forward and backward) from so many token readings
saved. `python -m bench.shared` measures it; docs/benchmarks.md has the table."""

ATTENTION = 1 / 2000
"""Of what else a token costs on a processor, about what each token of its row adds to it, seen or masked (`python -m bench.padding`)."""


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


def schedule(lengths: Sequence[int], batch_size: int, steps: int, seed: int, bucket: int = 1) -> list[list[int]]:
    """The indices of every optimiser step of a run.

    Each pass over the data is shuffled from (seed, pass) and cut into steps of nearly equal size, never a tiny last one. With a `bucket`
    above 1, examples of similar length share a step: those of so many steps are sorted together.
    """
    order: list[list[int]] = []
    a_pass = -(-len(lengths) // batch_size)
    for epoch in range(-(-steps // a_pass)):
        rng = random.Random(f"{seed}/{epoch}")  # noqa: S311  # an order that must come out the same again, not a secret
        order += _epoch(lengths, batch_size, rng, bucket)[: steps - epoch * a_pass]
    return order


def divided(step: Sequence[int], lengths: Sequence[int], accumulation: int | None, budget: int, devices: int = 1, *, pack: bool = False) -> list[list[int]]:
    """A step's micro-batches, the same number for every device: `accumulation` each, or with None as few as keep each within `budget`
    tokens (see `_cut_at`). Never more than one an example; a step has at least an example for every device (see `enough_for`).
    """
    order = sorted(step, key=lambda index: lengths[index])
    passes = accumulation or -(-len(_cut_at(order, lengths, budget, pack=pack)) // devices)
    return micro_batches(order, lengths, min(passes, len(order) // devices) * devices, pack=pack)


def micro_batches(batch: Sequence[int], lengths: Sequence[int], pieces: int, *, pack: bool = False) -> list[list[int]]:
    """A step's indices in exactly so many runs of similar length, the largest size being as small as it can be (see `_cut_at`).

    Many short examples or a few long ones take one pass, so that no pass needs more memory than it must; the step and its loss are the same.
    """
    order = sorted(batch, key=lambda index: lengths[index])
    if pieces == 1:
        return [order]
    low, high = max(lengths[index] for index in order), lengths[order[-1]] * len(order)
    while low < high:
        budget = (low + high) // 2
        low, high = (low, budget) if len(_cut_at(order, lengths, budget, pack=pack)) <= pieces else (budget + 1, high)
    parts = _cut_at(order, lengths, low, pack=pack)
    while len(parts) < pieces:  # room was left over: the largest that can be cut is, which makes nothing larger
        at = max((index for index, part in enumerate(parts) if len(part) > 1), key=lambda index: lengths[parts[index][-1]] * len(parts[index]))
        parts[at : at + 1] = _cut(parts[at], 2)
    return parts


def _cut_at(order: Sequence[int], lengths: Sequence[int], budget: int, *, pack: bool = False) -> list[list[int]]:
    """Indices in order of length, in as few runs as stay within `budget` tokens each; a longer example goes alone.

    Padding counts, but for packed examples, which have hardly any (see `lanes`).
    """
    parts: list[list[int]] = []
    tokens = 0
    for index in order:
        tokens += lengths[index]
        if not parts or (tokens if pack else lengths[index] * (len(parts[-1]) + 1)) > budget:
            parts.append([])
            tokens = lengths[index]
        parts[-1].append(index)
    return parts


def lanes(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in rows in which they lie one behind the other: as many rows of equal length as cost least, padding and attention together.

    The longest first, each into the row that is shortest so far (Graham 1969, doi 10.1137/0117039).
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    fullest, best = sum(lengths) // max(lengths), [[index] for index in order]
    least = _cost(best, lengths)
    for count in sorted({max(1, fullest // wider) for wider in (1, 2, 3, 4)}):
        found: list[list[int]] = [[] for _ in range(count)]
        filled = [(0, at) for at in range(count)]
        for index in order:
            tokens, at = filled[0]
            found[at].append(index)
            heapreplace(filled, (tokens + lengths[index], at))
        if (cost := _cost(found, lengths)) < least:
            best, least = found, cost
    return best


def _cost(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """Of reading such rows, in tokens."""
    width = max(sum(lengths[index] for index in row) for row in rows)
    return len(rows) * width * (1 + ATTENTION * width)


def size(examples: Sequence[Example], *, pack: bool = False) -> int:
    """Tokens of a batch, padding included."""
    lengths = list(map(len, examples))
    if not pack:
        return len(lengths) * max(lengths)
    rows = lanes(lengths)
    return len(rows) * max(sum(lengths[index] for index in row) for row in rows)


def enough_for(devices: int, examples: int, batch_size: int) -> None:
    """Raises Invalid `too_few_examples` when a step would not have one for every device."""
    smallest = examples // -(-examples // batch_size)
    if smallest < devices:
        raise Invalid("too_few_examples", f"A step of {smallest} examples cannot be spread over {devices} devices.", f"Set devices to {smallest} or fewer.")


def within_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length whose padded size stays within `budget` tokens; a longer example goes alone."""
    yield from _cut_at(sorted(range(len(lengths)), key=lambda index: lengths[index]), lengths, budget)


def collate(examples: Sequence[Example], pad: int, decoder_start: int | None = None, *, share: bool = False, pack: bool = False) -> dict[str, Any]:
    """Tensors [rows, longest], padded at the right; labels only where the answer is.

    For a decoder-only model prompt and answer are one row. For an encoder-decoder, which begins its answers with the token
    `decoder_start`, the prompts are input_ids, and decoder_input_ids [rows, longest answer] are the answers one place later.
    With `share`, `start` [1, tokens] is what all prompts begin with where that is worth reading apart, and the rows go on behind it. With
    `pack`, short examples share a row where that makes rows fewer: `owners` says which example a token is of, counted from 1 (0 is
    padding), and `positions` its place in what that example reads behind the start.
    """
    if decoder_start is not None:
        return {
            "input_ids": _padded([example.prompt for example in examples], pad),
            "attention_mask": _mask([len(example.prompt) for example in examples]),
            "decoder_input_ids": _padded([(decoder_start, *example.answer[:-1]) for example in examples], pad),
            "labels": _padded([example.answer for example in examples], IGNORED),
        }
    start = _start(examples) if share else 0
    batch = {"start": torch.tensor([examples[0].prompt[:start]], dtype=torch.long)} if share and len(examples) > 1 else {}
    ids = [example.prompt[start:] + example.answer for example in examples]
    labels = [(IGNORED,) * (len(example.prompt) - start) + example.answer for example in examples]
    together = lanes(list(map(len, ids))) if pack else []
    if not pack or len(together) == len(ids):
        return batch | {"input_ids": _padded(ids, pad), "attention_mask": _mask(list(map(len, ids))), "labels": _padded(labels, IGNORED)}
    # Nothing predicts the first token of an example, least of all what lies before it in its lane.
    targets = [(IGNORED, *own[1:]) for own in labels]
    return batch | {
        "input_ids": _padded([_joined(ids[row] for row in lane) for lane in together], pad),
        "labels": _padded([_joined(targets[row] for row in lane) for lane in together], IGNORED),
        "positions": _padded([_joined(range(len(ids[row])) for row in lane) for lane in together], 0),
        "owners": _padded([_joined((row + 1,) * len(ids[row]) for row in lane) for lane in together], 0),
    }


def _start(examples: Sequence[Example]) -> int:
    """How many ids all prompts start with, 0 where reading them apart would not be worth it."""
    start = common([example.prompt for example in examples])
    return start if (len(examples) - 1) * start >= LEAST_SHARED else 0


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


def _joined(rows: Iterable[Iterable[int]]) -> list[int]:
    return list(chain.from_iterable(rows))


def _mask(lengths: Sequence[int]) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def pad_token(tokenizer: Any) -> int:
    """An id to fill short rows with; which one does not matter, as it is masked."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0)


def _epoch(lengths: Sequence[int], batch_size: int, rng: random.Random, bucket: int) -> list[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if bucket > 1:
        window = batch_size * bucket
        order = [index for at in range(0, len(order), window) for index in sorted(order[at : at + window], key=lambda index: lengths[index])]
    batches = _cut(order, -(-len(order) // batch_size))
    rng.shuffle(batches)
    return batches


def _cut(items: Sequence[int], pieces: int) -> list[list[int]]:
    """The items in that many runs whose sizes differ by at most one."""
    edges = [len(items) * piece // pieces for piece in range(pieces + 1)]
    return [list(items[start:stop]) for start, stop in pairwise(edges)]
