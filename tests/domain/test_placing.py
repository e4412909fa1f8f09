"""Where new rows go: after their content, after what they resemble, as they were given, and only then by seed."""

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from app.domain import placing
from app.domain.cutting import content_key
from app.domain.placing import ALONE, FREE, HELD_OUT, Ties, Waiting

SHARES = (0.7, 0.1, 0.2)

Group = tuple[Sequence[int], str | None]
"""Rows by their numbers, and the split of the older rows that belong to them."""


@dataclass(frozen=True)
class New:
    input: str
    output: str | None
    split: str | None


def row(text: str, output: str | None = "a", split: str | None = None) -> New:
    return New(text, output, split)


def ties(count: int, groups: Sequence[Group]) -> Ties:
    """Groups as they are handed over."""
    import numpy as np

    of = np.full(count, ALONE)
    for number, (members, _) in enumerate(groups):
        of[list(members)] = number
    return Ties(of, np.array([FREE if split is None else HELD_OUT.index(split) for _, split in groups]))


def place(
    rows: Sequence[New],
    known: Mapping[int, str],
    shares: tuple[float, float, float],
    seed: int,
    alike: Sequence[Group] | None = None,
    together: Sequence[Group] | None = None,
) -> list[str]:
    waiting = Waiting()
    for one in rows:
        waiting.add(one.output, content_key(one.input), one.split)

    def firsts(lists: Iterable[Sequence[int]]) -> Iterator[str]:
        return (min(rows[number].input for number in numbers) for numbers in lists)

    tied = [None if groups is None else ties(len(rows), groups) for groups in (alike, together)]
    return list(placing.place(waiting, known, shares, seed, firsts, tied[0], None, tied[1]))


def test_known_content_wins_over_what_a_row_was_given() -> None:
    rows = [row("Hello", split="train"), row("other", split="validation"), row("hello "), row("nobody knows", None, "test")]
    assert place(rows, {content_key("hello"): "test"}, SHARES, 0) == ["test", "validation", "test", "unlabelled"]


def test_equal_texts_given_two_splits_go_to_the_protected_one() -> None:
    assert place([row("x", split="train"), row("X", split="test"), row(" x")], {}, SHARES, 0) == ["test", "test", "test"]


def test_near_duplicates_go_where_the_rows_are_that_they_resemble() -> None:
    rows = [row("a1"), row("a2"), row("b1"), row("b2", split="validation"), row("c1"), row("c2")]
    groups: list[Group] = [([0, 1], "test"), ([2, 3], "train"), ([4, 5], None)]
    splits = place(rows, {}, SHARES, 0, groups)
    assert splits[:4] == ["test", "test", "validation", "validation"] and splits[4] == splits[5]


def test_the_rest_is_cut_in_the_same_shares_and_stratified() -> None:
    rows = [row(f"text number {number}", "ab"[number % 2]) for number in range(200)]
    counts = Counter(zip(place(rows, {}, SHARES, 0), (one.output for one in rows), strict=True))
    assert counts == {("train", "a"): 70, ("train", "b"): 70, ("validation", "a"): 10, ("validation", "b"): 10, ("test", "a"): 20, ("test", "b"): 20}
    assert set(place(rows, {}, (1.0, 0.0, 0.0), 0)) == {"train"}


def test_a_text_decides_before_its_group() -> None:
    rows = [row("known"), row("a1"), row("both"), row("b1"), row("Both"), row("c1"), row("known")]
    # Group A stands in train, B in validation; C is new, and one of its rows is known in test.
    together: list[Group] = [([0, 1, 2], "train"), ([3, 4], "validation"), ([5, 6], None)]
    alike: list[Group] = [([0, 6], None), ([2, 4], None)]
    splits = place(rows, {content_key("known"): "test"}, SHARES, 0, alike, together)
    assert splits == ["test", "train", "validation", "validation", "validation", "test", "test"]


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 9)), min_size=1, max_size=60), st.integers(0, 3))
def test_new_texts_and_new_groups_stay_on_one_side(picks: list[tuple[int, int]], seed: int) -> None:
    rows = [row(f"text number {text}") for text, _ in picks]
    texts = [[number for number, pick in enumerate(picks) if pick[0] == text] for text in range(26)]
    groups = [[number for number, pick in enumerate(picks) if pick[1] == group] for group in range(1, 10)]
    known = {content_key(f"text number {text}"): HELD_OUT[text] for text in range(4)}
    alike: list[Group] = [(numbers, None) for numbers in texts if len(numbers) > 1]
    together: list[Group] = [(numbers, "train" if numbers[0] % 4 == 0 else None) for numbers in groups if numbers]
    splits = place(rows, known, SHARES, seed, alike, together)
    assert all(len({splits[number] for number in numbers}) <= 1 for numbers in texts)
    assert all(splits[number] == HELD_OUT[text] for number, (text, _) in enumerate(picks) if text < 4)
    shared = {text for text, numbers in enumerate(texts) if len({picks[number][1] for number in numbers}) > 1}
    for numbers, stands in together:
        # A group without a row that is known, or is another group's too, stands where its older rows do, or on one side.
        if not any(picks[number][0] < 4 or picks[number][0] in shared for number in numbers):
            assert {splits[number] for number in numbers} == {stands or splits[numbers[0]]}


def test_older_rows_say_where_a_group_stands() -> None:
    """What new rows resemble says it by its most protected row, what a column keeps together by most of its rows."""
    new, older, splits = (
        [7, ALONE, 8, 7, 9],
        [7, 7, 7, 8, 5, ALONE],
        [HELD_OUT.index(split) for split in ("train", "train", "test", "validation", "test", "test")],
    )
    for found, stands in (
        (placing.resembling(new, older, splits), ["test", "validation", ""]),
        (placing.grouped(new, older, splits), ["train", "validation", ""]),
    ):
        assert [*found.of] == [0, ALONE, 1, 0, 2] and [placing.NAMES[split] for split in found.stands] == stands


def test_a_hundred_thousand_rows_are_placed_in_few_bytes_each() -> None:
    rows = 100_000
    waiting = Waiting()
    for number in range(rows):
        waiting.add(f"label {number % 70}", number * 7919, "train" if number % 100 == 0 else None)
    alike = ties(rows, [((number, number + 1), None) for number in range(0, rows, 20)])

    def firsts(lists: Iterable[Sequence[int]]) -> Iterator[str]:
        return (f"text {min(numbers)}" for numbers in lists)

    tracemalloc.start()
    counts = Counter(placing.place(waiting, {}, SHARES, 0, firsts, alike))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts.total() == rows and abs(counts["test"] - 0.2 * rows) < 0.01 * rows
    assert peak < 150 * rows, f"{peak / rows:.0f} bytes a row"
