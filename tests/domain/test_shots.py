"""The same seed draws the same shots, whatever the database does with the rows."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.shots import Candidate, Fixed, Nearest, draw
from app.errors import Invalid

ROWS = [Candidate(number, f"text {number}", "abc"[number % 3] if number % 10 else "rare") for number in range(60)]


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63), st.sampled_from(["random", "balanced", "diverse"]))
def test_the_order_of_the_rows_does_not_matter(shuffler: random.Random, seed: int, selection: Fixed) -> None:
    shuffled = ROWS[:]
    shuffler.shuffle(shuffled)
    assert draw(shuffled, 8, seed, selection) == draw(ROWS, 8, seed, selection)


@pytest.mark.parametrize("selection", ["random", "balanced", "diverse"])
def test_a_larger_draw_begins_with_the_smaller_one(selection: Fixed) -> None:
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


MAILS = [
    Candidate(1, "my parcel is late", "delivery"), Candidate(2, "the bill is wrong", "billing"), Candidate(3, "parcel lost", "delivery"),
    Candidate(4, "a card was charged twice", "billing"), Candidate(5, "parcel lost", "delivery"), Candidate(6, "nobody answers", ""),
]  # fmt: skip


def test_the_nearest_stand_last_right_before_the_input() -> None:
    index = Nearest(MAILS, 0)
    assert [shot.input for shot in index.draw("Lost PARCEL!", 2)] == ["my parcel is late", "parcel lost"]
    assert index.draw("wrong bill", 1)[0].id == 2 and index.knows("BILL") and not index.knows("😀")


def test_the_input_itself_is_no_shot_of_its_own() -> None:
    found = Nearest(MAILS, 0).draw(" parcel lost\n", 3)
    assert found[-1].id == 1 and "parcel lost" not in {shot.input for shot in found}
    with pytest.raises(Invalid, match="has 4 different labelled rows"):
        Nearest(MAILS, 0).draw("parcel lost", 4)


def test_without_a_common_word_the_seed_decides() -> None:
    assert len({tuple(shot.id for shot in Nearest(MAILS, seed).draw("😀", 2)) for seed in range(12)}) > 4
    assert [shot.id for shot in Nearest(MAILS, 3).draw("😀", 4)] == [shot.id for shot in Nearest(MAILS[::-1], 3).draw("😀", 4)]


def test_diverse_shots_are_unlike_each_other() -> None:
    rows = [Candidate(number, f"the parcel {number} is late again", "delivery") for number in range(40)] + [Candidate(99, "refund my card", "billing")]
    assert all(99 in {shot.id for shot in draw(rows, 2, seed, "diverse")} for seed in range(10))
