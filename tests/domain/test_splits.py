"""Splits keep every label's share, keep look-alikes together, and do not move when rows do."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.splits import assign_splits, joined
from app.errors import Invalid
from app.readers import Example, Split


def rows(count: int, labels: str = "aaab", split: Split | None = None) -> list[Example]:
    return [Example(number, f"text number {number}", labels[number % len(labels)], split) for number in range(count)]


def test_every_label_has_its_share_of_every_split() -> None:
    table = rows(1000)
    counts = Counter(zip(assign_splits(table, 0), (row.output for row in table), strict=True))
    assert counts == {
        ("train", "a"): 525, ("train", "b"): 175, ("validation", "a"): 75, ("validation", "b"): 25, ("test", "a"): 150, ("test", "b"): 50,
    }  # fmt: skip


def test_many_small_labels_do_not_all_round_the_same_way() -> None:
    table = [Example(number, f"text number {number}", f"label {number % 77}") for number in range(77 * 4)]
    counts = Counter(assign_splits(table, 0))
    assert abs(counts["validation"] - 31) <= 4 and abs(counts["test"] - 62) <= 6


def test_free_text_outputs_are_split_too() -> None:
    table = [Example(number, f"question {number}", f"answer {number}") for number in range(200)]
    assert Counter(assign_splits(table, 0)) == {"train": 140, "validation": 20, "test": 40}


@settings(deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_a_row_goes_where_it_goes_whatever_the_order(seed: int, shuffler: random.Random) -> None:
    table = rows(60)
    order = list(range(60))
    shuffler.shuffle(order)
    splits = assign_splits(table, seed)
    assert assign_splits([table[number] for number in order], seed) == [splits[number] for number in order]


def test_seeds_differ() -> None:
    assert len({tuple(assign_splits(rows(60), seed)) for seed in range(10)}) == 10


def test_groups_stay_together_and_so_do_equal_texts() -> None:
    table = rows(300)
    groups = [[number, number + 100, number + 200] for number in range(0, 100, 7)]
    splits = assign_splits(table, 0, groups=lambda: groups)
    assert all(len({splits[number] for number in group}) == 1 for group in groups)
    twice = [Example(number, f"Text  NUMBER {number % 50}" if number < 50 else f"text number {number % 50}", "a") for number in range(100)]
    splits = assign_splits(twice, 0)
    assert all(splits[number] == splits[number + 50] for number in range(50))
    assert set(splits) == {"train", "validation", "test"}


def test_given_splits_are_kept_and_a_missing_validation_is_cut_from_train() -> None:
    table = rows(1000, split="train") + [Example(number, f"test number {number}", "a", "test") for number in range(100)]
    splits = assign_splits(table, 0)
    assert splits[1000:] == ["test"] * 100
    assert Counter(splits[:1000]) == {"train": 900, "validation": 100}
    assert sum(split == "validation" and row.output == "b" for split, row in zip(splits, table, strict=True)) == 25
    small = assign_splits(rows(200, split="train"), 0)
    assert Counter(small)["validation"] == 50
    tiny = assign_splits(rows(20, split="train"), 0)
    assert Counter(tiny)["validation"] == 10


def test_groups_stay_together_where_only_validation_is_cut() -> None:
    table = rows(300, split="train") + [Example(number, f"test number {number}", "a", "test") for number in range(30)]
    groups = [[number, number + 100, number + 200, 300 + number % 30] for number in range(100)]
    splits = assign_splits(table, 0, groups=lambda: groups)
    assert all(len({splits[number] for number in group[:3]}) == 1 for group in groups) and splits[300:] == ["test"] * 30
    assert 50 <= Counter(splits)["validation"] <= 100


def test_nothing_is_cut_when_validation_is_there() -> None:
    table = rows(20, split="train") + rows(5, split="validation")
    assert assign_splits(table, 0) == ["train"] * 20 + ["validation"] * 5


@pytest.mark.parametrize(
    ("given", "cut"),
    [
        (rows(20), True),
        (rows(20, split="train"), True),
        ([*rows(20, split="train"), Example(20, "a row without an output", None, "validation")], True),
        ([*rows(20, split="train"), *rows(5, split="validation")], False),
        (rows(20, split="test"), False),
        (rows(20, split="reserve"), False),
        ([Example(0, "a row without an output", None)], False),
    ],
)
def test_groups_are_looked_for_only_where_something_is_cut(given: list[Example], cut: bool) -> None:
    asked = list[int]()

    def groups() -> list[list[int]]:
        asked.append(1)
        return [[0]]

    assign_splits(given, 0, groups=groups)
    assert bool(asked) is cut


def test_one_row_at_a_time_comes_to_the_shares_all_the_same() -> None:
    standing: Counter[str] = Counter()
    for number in range(100):
        standing.update(assign_splits([Example(number, f"text number {number}", "ab"[number % 2])], 0, standing=standing))
    assert standing == {"train": 70, "validation": 10, "test": 20}


def test_a_few_rows_that_come_later_stay_together_as_many_would() -> None:
    """What is too much for one split is measured by all rows, not by those that came."""
    table = [Example(0, "same", "a"), Example(1, "same", "a"), Example(2, "another one of that author", "b")]
    splits = assign_splits(table, 0, standing={"train": 700, "validation": 100, "test": 200}, together=[[1, 2]])
    assert len(set(splits)) == 1


@pytest.mark.parametrize("standing", [{"unlabelled": 100_000}, {"train": 700, "validation": 100, "test": 200, "reserve": 90_000}])
def test_rows_that_are_in_no_split_make_no_split_larger(standing: dict[str, int]) -> None:
    table = [Example(number, "thanks" if number % 10 == 0 else f"text number {number}", "a") for number in range(600)]
    together = [list(range(first, first + 20)) for first in range(0, 600, 20)]
    splits = Counter(assign_splits(table, 0, standing=standing, together=together))
    assert splits["test"] > 60 and splits["validation"] > 30


def test_what_somebody_changed_on_purpose_is_not_filled_up_again() -> None:
    assert Counter(assign_splits(rows(100), 0, standing={"train": 10_000})) == {"train": 69, "validation": 11, "test": 20}


def test_unlabelled_rows_are_kept_apart() -> None:
    table = [*rows(40), Example(40, "nobody knows", None)]
    assert assign_splits(table, 0)[40] == "unlabelled"
    assert assign_splits([Example(0, "alone", None)], 0) == ["unlabelled"]
    assert assign_splits([], 0) == []


def test_splits_for_some_rows_only_are_refused() -> None:
    with pytest.raises(Invalid, match="5 labelled rows have no split"):
        assign_splits([*rows(20, split="train"), *rows(5)], 0)


def test_shares_must_add_up() -> None:
    with pytest.raises(Invalid, match="add up to 1"):
        assign_splits(rows(10), 0, (0.7, 0.1, 0.1))
    assert Counter(assign_splits(rows(100), 0, (0.5, 0.0, 0.5))) == {"train": 50, "test": 50}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.sampled_from(["a", "b", None])), min_size=1, max_size=60), st.integers(0, 5))
def test_what_a_column_keeps_together_takes_equal_texts_along(picks: list[tuple[int, int, str | None]], seed: int) -> None:
    table = [Example(number, f"text {text}", output) for number, (text, _, output) in enumerate(picks)]
    together = [[number for number, pick in enumerate(picks) if pick[1] == author] for author in range(1, 13)]
    splits = assign_splits(table, seed, together=[numbers for numbers in together if numbers])
    labelled = [number for number, row in enumerate(table) if row.output is not None]
    ties = [*together, *([number for number, pick in enumerate(picks) if pick[0] == text] for text in range(31))]
    tied = joined(len(table), ties)
    largest = max(Counter(tied[number] for number in labelled).values(), default=0)
    # Texts never stand on two sides; groups do only where they and the texts would leave too few rows for another split.
    for numbers in ties if largest <= 0.7 * len(labelled) else ties[len(together) :]:
        assert len({splits[number] for number in numbers if table[number].output is not None}) <= 1


def test_a_text_that_everybody_writes_does_not_tie_all_groups_to_each_other() -> None:
    table = [Example(number, "thanks" if number % 10 == 0 else f"text number {number}", "a") for number in range(600)]
    together = [list(range(first, first + 20)) for first in range(0, 600, 20)]
    splits = assign_splits(table, 0, together=together)
    counts = Counter(splits)
    assert abs(counts["train"] - 420) <= 60 and abs(counts["test"] - 120) <= 60 and counts["validation"]
    assert len({splits[number] for number in range(0, 600, 10)}) == 1
    assert all(len({splits[number] for number in numbers if number % 10}) == 1 for numbers in together)


def test_a_missing_validation_is_cut_by_groups_too() -> None:
    table = [*rows(200, split="train"), *rows(20, split="test")]
    together = [list(range(first, first + 10)) for first in range(0, 200, 10)]
    splits = assign_splits(table, 0, together=together)
    assert splits.count("validation") == 50 and all(len({splits[number] for number in numbers}) == 1 for numbers in together)
