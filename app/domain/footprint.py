"""What a tuning run takes in memory, reckoned before it is measured: from the model's shape, the method and the lengths of its rows in characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from app.domain.methods.base import MethodParameters
from app.domain.rendering import Template, blank, render, template_variables, with_opening, without_opening
from app.domain.shape import PASS_TOKENS, Micro, ModelShape, memory

CHARACTERS_A_TOKEN = 3.5
"""English text in the vocabularies of small models: 4.1 and 4.2 on the sample tasks (`python -m bench.memory` prints it). Fewer, so that
memory is not understated."""

UNSURE = 3 / 2
"""How much more than is estimated a run may take (`python -m bench.memory` measures it)."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a run's longest step, about: of one whole example (virtual tokens not counted), of one answer, of a soft prompt's text, and
    of what all examples start with."""

    example: int
    answer: int
    text: int
    shared: int = 0


def lengths(whole: int, answer: int, template: Template, labels: Sequence[str], chosen: MethodParameters, encoder_decoder: bool) -> Lengths:
    """The same from characters: `whole` those of an example in the longest batch, its answer's among them."""
    opened = with_opening(template, ", ".join(labels))
    long, short = (blank(one).text for one in (opened, without_opening(opened)))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(long), reversed(short), strict=False)))
    read = without_opening(template) if chosen.replaces_text(encoder_decoder) else template
    text = _tokens(len(long) - same) if chosen.soft else 0
    return Lengths(_tokens(whole + len(blank(read).text)), _tokens(answer) + 1, text, int(begins(read) / CHARACTERS_A_TOKEN))


def longest(sizes: Sequence[tuple[int, int]], batch_size: int) -> tuple[int, int]:
    """Of (characters of the example, of its answer), longest first: the means of one batch, rounded up."""
    batch = sizes[:batch_size]
    count = max(1, len(batch))
    return -(-sum(whole for whole, _ in batch) // count), -(-sum(part for _, part in batch) // count)


def needs(found: ModelShape, chosen: MethodParameters, lengths: Lengths, rows: int, kind: str) -> int:
    """Bytes of the longest step on each of its "cuda" devices; on a "cpu" of all its processes together, which share that one.

    Each of several devices takes its share of the examples, and holds all of the model (DDP) or a piece of it (FSDP).
    """
    whole, examples = min(lengths.example, chosen.max_length), -(-min(chosen.batch_size, rows) // chosen.devices)
    examples = -(-examples // chosen.accumulation) if chosen.accumulation else min(examples, max(1, PASS_TOKENS[kind] // whole))
    start = chosen.virtual(lengths.text) + min(lengths.shared, whole)
    once = start if examples > 1 and chosen.shares_start and not found.encoder_decoder else 0
    micro = Micro(examples * (whole + chosen.virtual(lengths.text) - once) + once, examples * lengths.answer, examples * once)
    trainable, kept = chosen.trainable(found, lengths.text), chosen.floats_per_token(found)
    four_bit, pieces = bool(getattr(chosen, "four_bit", False)), chosen.devices if chosen.sharding == "fsdp" else 1
    sent = chosen.devices > pieces
    each = memory(found, trainable, kept, micro, checkpointing=chosen.checkpointing, four_bit=four_bit, device=kind, pieces=pieces, sent=sent)
    return each * (chosen.devices if kind == "cpu" else 1)


def begins(template: Template) -> int:
    """Characters of a prompt before the first that depends on its row."""
    one, other = (render(template, dict.fromkeys(template_variables(template), value)).text for value in ("a", "b"))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))) if one != other else 0


def _tokens(characters: int) -> int:
    return -(-characters * 10 // int(10 * CHARACTERS_A_TOKEN))
