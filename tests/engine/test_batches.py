"""Which examples share a batch, and what a batch is made of."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rendering import Template, render
from app.errors import Invalid
from tests.engine.conftest import make_tokenizer
from worker.engine.batches import IGNORED, Example, collate, encode_examples, micro_batches, passes_per_step, schedule, within_tokens


@given(n=st.integers(1, 70), batch=st.integers(1, 20), accumulation=st.integers(1, 20), steps=st.integers(1, 15), seed=st.integers(0, 5))
def test_a_schedule_gives_every_step_its_parts_and_every_pass_each_example_once(n: int, batch: int, accumulation: int, steps: int, seed: int) -> None:
    lengths = [(index * 7) % 13 + 1 for index in range(n)]
    per_step = passes_per_step(n, batch, accumulation)
    micro = schedule(lengths, batch, per_step, steps, seed)
    assert len(micro) == steps * per_step
    assert all(micro)
    sizes = [sum(map(len, micro[at : at + per_step])) for at in range(0, len(micro), per_step)]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    a_pass = -(-n // batch) * per_step
    for at in range(0, len(micro) - a_pass + 1, a_pass):
        assert sorted(index for part in micro[at : at + a_pass] for index in part) == list(range(n))


def test_a_schedule_depends_on_the_seed_alone() -> None:
    lengths = list(range(1, 60))
    assert schedule(lengths, 8, 2, 20, seed=1) == schedule(lengths, 8, 2, 20, seed=1)
    assert schedule(lengths, 8, 2, 20, seed=1) != schedule(lengths, 8, 2, 20, seed=2)
    longer = schedule(lengths, 8, 2, 30, seed=1)
    assert longer[:40] == schedule(lengths, 8, 2, 20, seed=1)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_token_budgets_hold_unless_one_example_breaks_them_alone(lengths: list[int], budget: int) -> None:
    batches = list(within_tokens(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget for batch in batches)


def peak(parts: list[list[int]], lengths: list[int]) -> int:
    return max(max(lengths[index] for index in part) * len(part) for part in parts)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 9))
def test_passes_are_as_small_as_they_can_be(lengths: list[int], pieces: int) -> None:
    pieces = min(pieces, len(lengths))
    parts = micro_batches(list(range(len(lengths))), lengths, pieces)
    assert len(parts) == pieces and all(parts)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    cuts = ([0, *edges, len(order)] for edges in combinations(range(1, len(order)), pieces - 1))
    assert peak(parts, lengths) == min(peak([order[start:stop] for start, stop in pairwise(edges)], lengths) for edges in cuts)


def test_one_long_example_has_a_pass_of_its_own() -> None:
    assert micro_batches([0, 1, 2, 3], [5, 100, 5, 5], 2) == [[0, 2, 3], [1]]


def test_a_shorter_example_keeps_its_answer() -> None:
    assert Example((1, 2, 3), (4, 5)).within(3) == Example((3,), (4, 5))
    assert Example((1, 2, 3), (4, 5)).within(5) == Example((1, 2, 3), (4, 5))


def test_only_the_answer_is_labelled() -> None:
    batch = collate([Example((1, 2), (3, 4)), Example((5,), (6,))], pad=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4], [5, 6, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 4], [IGNORED, 6, IGNORED, IGNORED]]


def test_truncation_takes_prompt_tokens_from_the_left_and_never_the_answer() -> None:
    tokenizer = make_tokenizer()
    row = render(Template(), {"input": "a very very very long plot"}, "positive")
    whole, cut = encode_examples(tokenizer, [row], 512)
    short, cut_short = encode_examples(tokenizer, [row], 12)
    assert (cut, cut_short) == (0, 1)
    assert len(short[0]) == 12
    assert short[0].answer == whole[0].answer
    assert short[0].prompt == whole[0].prompt[-len(short[0].prompt) :]
    with pytest.raises(Invalid, match="answer of example 1"):
        encode_examples(tokenizer, [row], len(whole[0].answer))
