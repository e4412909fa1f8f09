"""Which examples share a batch, and what a batch is made of."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine import batches
from worker.engine.batches import ATTENTION, BUCKET, IGNORED, Example, collate, divided, lanes, micro_batches, schedule, size, within_tokens


@given(n=st.integers(1, 70), batch=st.integers(1, 20), steps=st.integers(1, 15), seed=st.integers(0, 5), bucket=st.sampled_from([1, BUCKET]))
def test_a_schedule_gives_every_step_its_size_and_every_pass_each_example_once(n: int, batch: int, steps: int, seed: int, bucket: int) -> None:
    planned = schedule([(index * 7) % 13 + 1 for index in range(n)], batch, steps, seed, bucket)
    sizes = list(map(len, planned))
    assert len(planned) == steps and max(sizes) <= batch and max(sizes) - min(sizes) <= 1
    a_pass = -(-n // batch)
    for at in range(0, steps - a_pass + 1, a_pass):
        assert sorted(index for step in planned[at : at + a_pass] for index in step) == list(range(n))


@given(st.lists(st.integers(1, 60), min_size=4, max_size=20), st.none() | st.integers(1, 20), st.integers(1, 200), st.integers(1, 4))
def test_a_step_is_divided_as_its_length_asks(lengths: list[int], accumulation: int | None, budget: int, devices: int) -> None:
    step = list(range(len(lengths)))
    parts = divided(step, lengths, accumulation, budget, devices)
    assert sorted(index for part in parts for index in part) == step and all(parts)
    passes, odd = divmod(len(parts), devices)
    assert not odd and 1 <= passes <= len(step) // devices
    if accumulation:
        assert passes == min(accumulation, len(step) // devices)
    elif passes < len(step) // devices:
        assert peak(parts, lengths) <= max(budget, *lengths)
    if accumulation is None and passes > 1 and budget >= max(lengths):
        assert peak(micro_batches(step, lengths, (passes - 1) * devices), lengths) > budget


def test_a_schedule_depends_on_the_seed_alone() -> None:
    lengths = list(range(1, 60))
    assert schedule(lengths, 8, 20, seed=1) == schedule(lengths, 8, 20, seed=1)
    assert schedule(lengths, 8, 20, seed=1) != schedule(lengths, 8, 20, seed=2)
    assert schedule(lengths, 8, 30, seed=1)[:20] == schedule(lengths, 8, 20, seed=1)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_token_budgets_hold_unless_one_example_breaks_them_alone(lengths: list[int], budget: int) -> None:
    found = list(within_tokens(lengths, budget))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget for batch in found)


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


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_shared_rows_hold_every_example_once_and_never_cost_more_than_rows_of_their_own(lengths: list[int]) -> None:
    found, width = lanes(lengths), max(lengths)
    assert sorted(index for row in found for index in row) == list(range(len(lengths)))
    wide = max(sum(lengths[index] for index in row) for row in found)
    assert width <= wide
    assert len(found) * wide * (1 + ATTENTION * wide) <= len(lengths) * width * (1 + ATTENTION * width)
    assert size([Example((1,) * length, ()) for length in lengths], pack=True) == len(found) * wide


def test_a_long_row_is_not_made_for_little_padding() -> None:
    assert lanes([50] * 16) == [[index] for index in range(16)]
    assert sorted(map(len, lanes([10, 30, 40, 20, 30, 10, 20, 40]))) == [1, 1, 2, 2, 2]


@given(st.lists(st.integers(1, 60), min_size=2, max_size=20), st.integers(1, 200))
def test_packed_passes_are_fewer_and_hold_no_more_tokens_than_asked(lengths: list[int], budget: int) -> None:
    step = list(range(len(lengths)))
    parts, padded = (divided(step, lengths, None, budget, pack=pack) for pack in (True, False))
    assert sorted(index for part in parts for index in part) == step and len(parts) <= len(padded)
    assert all(sum(lengths[index] for index in part) <= max(budget, *lengths) for part in parts)


def test_packed_examples_lie_one_behind_the_other_and_the_first_token_of_none_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ATTENTION", 0.5)
    examples = [Example((1, 2), (3,)), Example((4, 5, 6, 7), (8, 9)), Example((), (3, 3)), Example((1, 1, 1), (2,))]
    batch = collate(examples, pad=0, pack=True)
    assert batch["input_ids"].tolist() == [[4, 5, 6, 7, 8, 9, 3, 3], [1, 1, 1, 2, 1, 2, 3, 0]]
    assert batch["owners"].tolist() == [[2, 2, 2, 2, 2, 2, 3, 3], [4, 4, 4, 4, 1, 1, 1, 0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1], [0, 1, 2, 3, 0, 1, 2, 0]]
    none = IGNORED
    assert batch["labels"].tolist() == [[none, none, none, none, 8, 9, none, 3], [none, none, none, 2, none, none, 3, none]]


def test_examples_of_one_length_have_rows_of_their_own() -> None:
    examples = [Example((1, 2), (3, 4)), Example((5, 6), (7, 8))]
    assert {name: value.tolist() for name, value in collate(examples, 0, pack=True).items()} == {
        name: value.tolist() for name, value in collate(examples, 0).items()
    }
