"""The same seed draws the same shots, whatever the database does with the rows."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.shots import Candidate, Selection, draw
from app.errors import Invalid

ROWS = [Candidate(number, f"text {number}", "abc"[number % 3] if number % 10 else "rare") for number in range(60)]


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63), st.sampled_from(["random", "balanced"]))
def test_the_order_of_the_rows_does_not_matter(shuffler: random.Random, seed: int, selection: Selection) -> None:
    shuffled = ROWS[:]
    shuffler.shuffle(shuffled)
    assert draw(shuffled, 8, seed, selection) == draw(ROWS, 8, seed, selection)


@pytest.mark.parametrize("selection", ["random", "balanced"])
def test_a_larger_draw_begins_with_the_smaller_one(selection: Selection) -> None:
    assert draw(ROWS, 16, 3, selection)[:4] == draw(ROWS, 4, 3, selection)


def test_the_draw_itself_is_fixed_for_ever() -> None:
    assert [shot.id for shot in draw(ROWS, 4, 0, "random")] == [49, 57, 14, 8]
    assert [shot.id for shot in draw(ROWS, 4, 0, "balanced")] == [14, 40, 57, 49]


def test_balanced_takes_different_labels_first_and_each_in_turn() -> None:
    for seed in range(20):
        shots = draw(ROWS, 8, seed)
        assert len({shot.output for shot in shots[:4]}) == 4
        assert set(Counter(shot.output for shot in shots).values()) == {2}


def test_seeds_differ() -> None:
    assert len({tuple(draw(ROWS, 4, seed)) for seed in range(30)}) > 25


def test_every_row_is_drawn_about_equally_often() -> None:
    drawn = Counter(shot.id for seed in range(600) for shot in draw(ROWS, 6, seed, "random"))
    assert min(drawn.values()) > 30 and max(drawn.values()) < 95


def test_rows_that_cannot_teach_are_passed_over() -> None:
    rows = [Candidate(1, "same", "a"), Candidate(2, "same", "a"), Candidate(3, "unlabelled", ""), Candidate(4, "other", "b")]
    assert {shot.input for shot in draw(rows, 2, 0, "random")} == {"same", "other"}
    with pytest.raises(Invalid, match="has 2 different labelled rows") as error:
        draw(rows, 3, 0)
    assert error.value.code == "too_few_shots"


def test_no_shots_of_no_rows() -> None:
    assert draw([], 0, 0) == []
