"""The recommendation: known answers, and what must never matter."""

from math import inf
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.ladder import Cost, Step
from app.domain.recommendation import recommend
from app.domain.results import ByRow
from app.domain.targets import Terms
from app.domain.weighing import break_even, yearly_cost
from tests.domain.rungs import found, majority, step


# ---- known answers ----
def test_one_rung_alone_gives_none() -> None:
    assert recommend([step(0, "zero-shot", 90)]) is None


def test_a_clear_winner_is_recommended_though_it_is_dearest() -> None:
    answer = found(step(0, "zero-shot", 90), step(1, "8-shot", 120), step(2, "LoRA", 240))
    assert (answer.position, answer.kind) == (2, "best")
    assert answer.verdict.startswith("Use LoRA. Every cheaper rung is shown to be worse; 8-shot by 40.0 [")


def test_a_tie_goes_to_the_cheaper_rung_and_says_do_not_tune() -> None:
    answer = found(step(0, "zero-shot", 600, 1000), step(1, "8-shot", 898, 1000, shift=2), step(2, "LoRA", 902, 1000))
    assert (answer.position, answer.kind) == (1, "holds")
    assert answer.verdict.startswith("Use 8-shot: do not tune. It is shown to be less than 3 points below LoRA: -0.4, at worst -")
    assert answer.smallest_margin is not None and 0 < answer.smallest_margin < 0.03


def test_a_dearer_rung_is_not_told_among_the_cheaper_that_are_worse() -> None:
    """Full fine-tuning is luckier on test rows than LoRA, which is the best on validation."""
    answer = found(step(0, "zero-shot", 900, 3000), step(1, "LoRA", 2400, 3000, validation=0.9), step(2, "full", 2450, 3000, validation=0.8))
    assert (answer.position, answer.kind) == (1, "best")
    assert answer.verdict.startswith(
        "Use LoRA. It is shown to be better than every cheaper rung, has the best validation score, and is shown to be less than 3 points"
    )
    few = found(step(0, "zero-shot", 90), step(1, "LoRA", 240, validation=0.9), step(2, "full", 245, validation=0.8))
    assert (few.position, few.kind) == (1, "cannot_tell") and few.verdict.startswith("Cannot tell whether LoRA holds against full: -1.7 [")
    assert few.verdict.endswith("Until then use LoRA, which costs less and has the best validation score.")


def test_nobody_is_told_not_to_tune_where_a_dearer_rung_is_shown_to_be_better() -> None:
    """Few validation rows put zero-shot before LoRA by chance."""
    answer = found(step(0, "zero-shot", 240, validation=0.86), step(1, "LoRA", 285, validation=0.85))
    assert (answer.position, answer.kind) == (1, "cannot_tell") and "do not tune" not in answer.verdict
    assert answer.verdict.startswith("Cannot tell: validation and test rows disagree. zero-shot has the best validation score, but LoRA is shown to be better")
    close = found(step(0, "zero-shot", 2850, 3000, validation=0.96), step(1, "LoRA", 2880, 3000, validation=0.95))
    assert (close.position, close.kind) == (0, "best"), "better by less than the margin is no reason to tune"


def test_of_two_equals_the_cheaper_is_the_best() -> None:
    equals = step(0, "zero-shot", 2400, 3000), step(1, "8-shot", 2400, 3000, shift=60)
    answer = found(*equals)
    assert (answer.position, answer.kind) == (0, "best")
    none = found(*equals, margin=0.0)
    assert (none.position, none.kind) == (0, "cannot_tell"), "no number of rows shows that nothing at all is lost"


def test_winning_on_validation_is_not_yet_being_as_good() -> None:
    """Six points apart with the luck of validation on the cheaper one's side: too few rows to rule out that the dearer is better by more than the margin."""
    cheap, dear = step(0, "zero-shot", 78, 100, shift=7, validation=0.9), step(1, "LoRA", 80, 100, validation=0.89)
    answer = found(cheap, dear)
    assert (answer.position, answer.kind) == (0, "cannot_tell") and "do not tune" not in answer.verdict and answer.more_rows is not None


def test_not_to_tune_is_said_of_what_was_tuned() -> None:
    """8-shot holds against the best of what costs more, a longer prompt; LoRA is ahead on the test rows by what the margin does not cover."""
    shots = [step(0, "8-shot", 870, 1000, validation=0.88), step(1, "32-shot", 872, 1000, validation=0.87)]
    unsure = found(*shots, step(2, "LoRA", 880, 1000, shift=110, validation=0.80))
    assert (unsure.position, unsure.kind) == (0, "best") and unsure.verdict.startswith("Use 8-shot. It is the cheapest")
    assert found(*shots, step(2, "LoRA", 800, 1000, validation=0.80)).verdict.startswith("Use 8-shot: do not tune.")


def test_without_a_tuned_rung_nobody_says_do_not_tune() -> None:
    assert found(step(0, "zero-shot", 250), step(1, "8-shot", 180)).verdict.startswith("Use zero-shot. It is the cheapest")


def test_worse_must_stand_the_correction() -> None:
    """14 rows lost and 4 gained show one rung to be worse, and none of ten."""
    best, below = step(10, "LoRA", 240), [step(at, f"{at}-shot", 230, shift=4) for at in range(10)]
    assert found(below[0], best).kind == "best"
    assert found(*below, best).kind == "cannot_tell"


def test_the_nearest_of_those_that_cannot_be_told_is_told() -> None:
    answer = found(step(0, "zero-shot", 80, 100, shift=7), step(1, "8-shot", 84, 100, shift=6), step(2, "LoRA", 86, 100))
    assert answer.kind == "cannot_tell" and answer.verdict.startswith("Cannot tell whether 8-shot holds")


def test_too_few_rows_cannot_tell_and_say_how_many_more() -> None:
    answer = found(step(0, "zero-shot", 40, 100), step(1, "8-shot", 84, 100, shift=6), step(2, "LoRA", 86, 100))
    assert (answer.position, answer.kind) == (2, "cannot_tell") and answer.more_rows is not None and answer.more_rows > 100
    assert answer.verdict.startswith("Cannot tell whether 8-shot holds against LoRA: -2.0 [") and f"about {answer.more_rows:,} more test rows" in answer.verdict


def test_what_would_hold_alone_and_does_not_among_others_is_said_so() -> None:
    """The interval beside the sentence lies within the margin, which would read as a contradiction."""
    two = step(8, "8-shot", 270, shift=4), step(9, "LoRA", 270, validation=0.95)
    assert found(*two).kind == "holds"
    answer = found(*[step(at, f"{at}-shot", 60) for at in range(7)], *two)
    assert answer.kind == "cannot_tell" and "+0.0 [-2.2, +2.2] points, and among 8 rungs 3 points below is not ruled out by 300 test rows; " in answer.verdict
    assert answer.reasons[-1].startswith("Were 8-shot alone asked, it would hold (at worst -1.8, one-sided, 95 %); of 8 rungs")
    apart = found(*(step(at, title, 270, shift=20 * at) for at, title in enumerate(("8-shot", "LoRA"))))
    assert "points, and 3 points below is not ruled out by 300 test rows; " in apart.verdict


def test_not_significantly_different_is_not_as_good() -> None:
    """Eight points below at n = 100 is not significant, and must not be recommended for that."""
    answer = found(step(0, "8-shot", 78, 100, shift=7), step(1, "LoRA", 86, 100))
    assert answer.kind == "cannot_tell" and answer.position == 1
    assert answer.more_rows is not None and 100 < answer.more_rows < 300, "so many more would show it to be worse"


def test_rows_that_never_differ_tell_with_enough_of_them() -> None:
    """Tango's score of no loss in n rows against a margin m is the root of n m / (1 - m)."""
    steps = [step(0, "8-shot", 45, 50), step(1, "LoRA", 45, 50, validation=0.95)]
    few = found(*steps)
    assert (few.kind, few.more_rows) == ("cannot_tell", 38)
    assert found(step(0, "8-shot", 78, 88), step(1, "LoRA", 78, 88, validation=0.95)).kind == "holds"


def test_a_prompt_that_is_best_says_do_not_tune() -> None:
    answer = found(step(0, "zero-shot", 250), step(1, "LoRA", 180))
    assert (answer.position, answer.kind) == (0, "best") and answer.verdict.startswith(
        "Use zero-shot: do not tune. It is the cheapest, has the best validation score"
    )


def test_a_wider_margin_lets_a_cheaper_rung_hold() -> None:
    steps = [step(0, "8-shot", 275), step(1, "LoRA", 290)]
    assert found(*steps).position == 1
    wide = found(*steps, margin=0.1)
    assert (wide.position, wide.kind) == (0, "holds") and 0.05 < (wide.smallest_margin or 0) < 0.1
    assert any(reason.endswith("points is the smallest margin at which this is the verdict.") for reason in wide.reasons)


@pytest.mark.parametrize(("right", "shift"), [(286, 0), (280, 1), (283, 2), (889, 3), (895, 7)])
def test_the_smallest_margin_is_one_at_which_the_verdict_holds(right: int, shift: int) -> None:
    n = 300 if right < 300 else 1000
    steps = [step(0, "8-shot", right, n, shift=shift), step(1, "LoRA", 290 * n // 300 if n == 300 else 900, n)]
    wide = found(*steps, margin=0.1)
    assert wide.kind == "holds" and wide.smallest_margin is not None
    assert found(*steps, margin=wide.smallest_margin).kind == "holds" and round(1000 * wide.smallest_margin, 9).is_integer()
    assert found(*steps, margin=wide.smallest_margin - 0.001).kind != "holds"
    assert any(reason.startswith(f"{100 * wide.smallest_margin:g} points is the smallest margin") for reason in wide.reasons)


def test_a_margin_under_which_a_dearer_rung_is_shown_to_be_better_is_not_told() -> None:
    """8-shot holds against LoRA at a tenth of a point; but full fine-tuning is shown to be a point and a half better than LoRA."""
    steps = [step(0, "8-shot", 2697, 3000, validation=0.89), step(1, "LoRA", 2700, 3000, validation=0.9), step(2, "full", 2745, 3000, validation=0.89)]
    answer = found(*steps)
    assert answer.kind == "holds" and answer.smallest_margin is not None
    assert found(*steps, margin=answer.smallest_margin - 0.001).verdict.startswith("Cannot tell: validation and test rows disagree")


def test_without_signal_nobody_is_told_to_tune() -> None:
    answer = found(step(0, "zero-shot", 150), step(1, "LoRA", 158, shift=40), floor=majority(155))
    assert (answer.position, answer.kind) == (None, "no_signal")
    assert answer.verdict.startswith("Do not tune: no rung is shown to beat always answering “ham” (51.7 %)") and "Check the labels first" in answer.verdict


def test_few_labels_ask_for_more_before_tuning() -> None:
    few = Cost(labels=32)
    answer = found(step(0, "zero-shot", 200), step(1, "LoRA", 205, shift=60, cost=few), floor=majority(150), classes=2)
    assert (answer.position, answer.kind) == (0, "label_more")
    assert answer.verdict.startswith("Label more before tuning: with 32 labels (16 a class) no tuned rung is shown to beat zero-shot; LoRA is +1.7 [")


def test_few_labels_hold_the_best_tuned_rung_against_the_best_of_the_others() -> None:
    few = Cost(labels=32)
    linear, prompt = step(-1, "TF-IDF + logistic regression", 210, cost=few), step(0, "zero-shot", 150)
    tuned = [step(1, "LoRA", 180, shift=60, cost=few), step(2, "full", 215, shift=60, cost=few)]
    answer = found(linear, prompt, *tuned, classes=2)
    assert (answer.position, answer.kind) == (-1, "label_more")
    assert "beat TF-IDF + logistic regression; full is +1.7 [" in answer.verdict and answer.verdict.endswith("Use TF-IDF + logistic regression meanwhile.")


def test_published_few_label_results_give_the_published_answers() -> None:
    """RoBERTa-large on SST-2's 872 rows (Gao, Fisch and Chen 2021, table 3): zero-shot 83.6 %, and with 16 labels a class fine-tuning 81.4 %, prompt-based
    fine-tuning 92.7 %. LoRA and full fine-tuning of RoBERTa-base on all labels (Hu et al. 2022, table 2), 95.1 % and 94.8 %, are no different."""
    few, prompt = Cost(labels=32), step(0, "zero-shot", 729, 872)
    plain = found(prompt, step(1, "full", 710, 872, shift=50, cost=few), floor=majority(444, 872), classes=2)
    assert (plain.position, plain.kind) == (0, "label_more")
    with_prompt = found(prompt, step(1, "full", 808, 872, shift=50, cost=few), floor=majority(444, 872), classes=2)
    assert (with_prompt.position, with_prompt.kind) == (1, "best")
    equal = [step(0, "LoRA", 829, 872, shift=9), step(1, "full", 827, 872)]
    assert [found(*order).position for order in (equal, equal[::-1])] == [0, 0]


def test_few_labels_name_the_cheaper_prompt_where_it_holds() -> None:
    shots = [step(0, "zero-shot", 896, 1000), step(1, "8-shot", 900, 1000)]
    answer = found(*shots, step(2, "LoRA", 800, 1000, cost=Cost(labels=32)), classes=2)
    assert (answer.position, answer.kind) == (0, "label_more")


def test_few_labels_of_one_tuned_rung_are_not_those_of_another() -> None:
    answer = found(step(0, "zero-shot", 200), step(1, "LoRA", 205, shift=60, cost=Cost(labels=32)), step(2, "full", 210, shift=60), classes=2)
    assert answer.kind == "cannot_tell"


def test_with_few_labels_better_must_stand_the_correction() -> None:
    prompt, tuned = step(0, "zero-shot", 230, shift=4), [step(at, f"LoRA {at}", 240, cost=Cost(labels=32)) for at in range(1, 11)]
    assert found(prompt, tuned[0], classes=2).kind == "best"
    assert found(prompt, *tuned, classes=2).kind == "label_more"


def test_tuned_rungs_alone_are_not_asked_for_more_labels() -> None:
    few = Cost(labels=32)
    assert found(step(0, "LoRA", 150, cost=few), step(1, "full", 240, cost=few), classes=2).kind == "best"


def test_a_verdict_that_does_not_hang_on_the_margin_names_none() -> None:
    steps = [step(0, "8-shot", 895, 1000), step(1, "LoRA", 900, 1000, cost=Cost(labels=32))]
    assert any("smallest margin" in reason for reason in found(*steps).reasons)
    for answer in (found(*steps, classes=2), found(*steps, quality=0.8)):
        assert answer.kind in ("label_more", "meets_targets") and not any("margin" in reason for reason in answer.reasons)


def test_few_labels_that_are_enough_are_enough() -> None:
    answer = found(step(0, "zero-shot", 150), step(1, "LoRA", 280, cost=Cost(labels=32)), floor=majority(150), classes=2)
    assert (answer.position, answer.kind) == (1, "best")


def test_the_price_flips_what_is_cheap() -> None:
    """A tuned model saves the shots' tokens: with enough requests it is the cheaper of two that are equally good."""
    shots = step(1, "8-shot", 900, 1000, cost=Cost(request=0.002, labels=8))
    tuned = step(2, "LoRA", 900, 1000, cost=Cost(request=0.0002, tuning=1.0, labels=200))
    few, many = found(shots, tuned, requests_a_month=100, label_price=0.1), found(shots, tuned, requests_a_month=100_000, label_price=0.1)
    assert (few.position, many.position) == (1, 2)
    assert any(reason.startswith("LoRA has paid for itself against 8-shot after about 11,000 requests") for reason in few.reasons)


def test_a_large_model_that_gives_the_signal_is_the_dearest_where_no_price_is_known() -> None:
    """It stands first in the table, and must not be taken for the cheapest rung by that."""
    large, small = step(0, "zero-shot, large", 290, signal=True), step(1, "8-shot", 290)
    assert found(large, small).position == 1
    priced = found(step(0, "zero-shot, large", 290, signal=True, cost=Cost(0.0001)), step(1, "8-shot", 290, cost=Cost(0.01)), requests_a_month=1000)
    assert priced.position == 0


def test_several_seeds_are_recommended_by_the_share_that_is_right() -> None:
    """Rows on which the seeds disagree count half, and the interval and the tests are those of shares."""
    torn = Step(1, "LoRA", ByRow({row: 1.0 if row < 280 else 0.5 for row in range(300)}), True, 0.97, cost=Cost(labels=200))
    answer = found(step(0, "8-shot", 200), torn)
    assert (answer.position, answer.kind) == (1, "best") and "8-shot by 30.0 [" in answer.verdict


def test_an_unset_price_leaves_the_order_of_the_ladder_and_says_so() -> None:
    answer = found(step(0, "8-shot", 900, 1000), step(1, "LoRA", 900, 1000))
    assert answer.position == 0
    assert "The order of the ladder stands for cost: set requests a month, the price of a label and the price of a machine hour to count it." in answer.reasons
    priced = [step(0, "8-shot", 900, 1000, cost=Cost(0.001)), step(1, "32-shot", 900, 1000, cost=Cost(0.002))]
    assert "The order of the ladder stands for cost: set requests a month to count it." in found(*priced).reasons


def test_a_rung_without_a_price_where_all_is_set_is_named() -> None:
    elsewhere = step(1, "LoRA", 900, 1000, cost=Cost(request=None, labels=200))
    answer = found(step(0, "8-shot", 900, 1000, cost=Cost(0.001)), elsewhere, requests_a_month=1000, label_price=0.1, machine_hour=1.0)
    assert "The order of the ladder stands for cost: no price is known for LoRA." in answer.reasons


def test_reasons_and_verdict_go_by_one_correction() -> None:
    """14 rows lost and 4 gained show one cheaper rung to be worse, and none of three; what costs more is a question of its own."""
    below, best = step(0, "8-shot", 230, shift=4, validation=0.8), step(3, "LoRA", 240, validation=0.9)
    dearer = [step(at, f"full {at}", 240, validation=0.8) for at in range(4, 8)]
    answer = found(below, best, *dearer)
    assert answer.kind == "best" and "(p = 0.0309); at worst" in answer.reasons[0] and "(p = 1, Holm over 4), and costs more" in answer.reasons[1]
    several = found(below, *(step(at, f"{at}-shot", 230, shift=4, validation=0.8) for at in (1, 2)), best, *dearer)
    assert several.kind == "cannot_tell" and "(p = 0.0927, Holm over 3)" in several.reasons[0]


def test_a_cheaper_rung_that_is_better_holds_at_any_margin() -> None:
    answer = found(step(0, "8-shot", 285, validation=0.80), step(1, "LoRA", 270, validation=0.90))
    assert (answer.kind, answer.smallest_margin) == ("holds", 0.0)


def test_one_point_is_no_points() -> None:
    assert "less than 1 point below LoRA" in found(step(0, "8-shot", 899, 1000), step(1, "LoRA", 900, 1000), margin=0.01).verdict


def test_what_is_shown_to_be_better_is_called_so() -> None:
    answer = found(step(0, "zero-shot", 250), step(1, "LoRA", 180))
    assert "and is shown to be better than LoRA: +23.3, at worst +1" in answer.verdict
    assert "less than 3 points below LoRA" in found(step(0, "zero-shot", 904, 1000), step(1, "LoRA", 900, 1000)).verdict


def test_reasons_tell_the_cheaper_from_the_dearer() -> None:
    reasons = found(step(0, "zero-shot", 90), step(1, "LoRA", 240, validation=0.9), step(2, "full", 245, validation=0.8)).reasons
    assert reasons[0].startswith("zero-shot: -50.0 [") and "(p = under 0.0001); at worst -" in reasons[0]
    assert reasons[1].startswith("full: +1.7 [") and reasons[1].endswith(", and costs more")


def test_one_signal_of_many_must_stand_the_correction() -> None:
    """A rung that alone would be told from the most frequent label is not, as the luckiest of ten."""
    flat = [step(at, f"{at}-shot", 155) for at in range(1, 10)]
    lucky = step(0, "zero-shot", 170, shift=290)
    assert found(lucky, flat[0], floor=majority(155)).kind == "best"
    answer = found(lucky, *flat, floor=majority(155))
    assert answer.kind == "no_signal" and answer.more_rows is not None and f"about {answer.more_rows:,} more test rows" in answer.verdict


def test_the_best_rung_is_chosen_on_validation() -> None:
    """A lucky test score does not make a rung the one that others are held against."""
    lucky, solid = step(0, "8-shot", 285, validation=0.80), step(1, "LoRA", 270, validation=0.90)
    answer = found(lucky, solid)
    assert any(reason.startswith("LoRA is the best rung by its validation score") for reason in answer.reasons) and answer.position == 0


def test_a_missing_validation_score_is_said() -> None:
    answer = found(step(0, "8-shot", 200, validation=None), step(1, "LoRA", 280))
    assert answer.position == 1 and any("may be a lucky one" in reason for reason in answer.reasons)


def test_breaking_even() -> None:
    shots, tuned = step(0, "8-shot", 1, cost=Cost(0.001, 0.0, 8)), step(1, "LoRA", 1, cost=Cost(0.0005, 5.0, 108))
    assert break_even(shots, tuned, 0.05) == pytest.approx(20_000)
    assert break_even(tuned, shots, 0.05) == inf
    assert break_even(shots, tuned, None) is None
    assert break_even(shots, step(1, "LoRA", 1, cost=Cost(0.0005, 5.0, 8)), None) == pytest.approx(10_000)
    assert break_even(shots, step(1, "LoRA", 1, cost=Cost(0.001, 5.0, 8)), None) == inf
    assert yearly_cost(tuned, Terms(requests_a_month=1000)) is None
    assert yearly_cost(step(1, "LoRA", 1, cost=Cost(0.0005, None)), Terms(requests_a_month=1000)) is None
    assert yearly_cost(tuned, Terms(requests_a_month=1000, label_price=0.05)) == pytest.approx(12 * 1000 * 0.0005 + 5.0 + 108 * 0.05)


# ---- what must never matter ----
def drawn(seed: int, rungs: int, n: int) -> list[Step]:
    rng = np.random.default_rng(seed)
    easy = rng.random(n)
    return [
        Step(at, f"rung {at}", ByRow(dict(enumerate(((easy + rng.normal(0, 0.2, n)) < 0.5 + 0.05 * at).astype(float).tolist()))), at > 2, 0.5 + 0.05 * at)
        for at in range(rungs)
    ]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6), st.randoms(use_true_random=False))
def test_the_order_of_rungs_never_matters(seed: int, rungs: int, random: Random) -> None:
    steps = drawn(seed, rungs, 120)
    turned = list(steps)
    random.shuffle(turned)
    assert recommend(turned) == recommend(steps)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_wider_margin_never_recommends_a_dearer_rung(seed: int, one: float, other: float) -> None:
    steps = drawn(seed, 5, 150)
    narrow, wide = (recommend(steps, Terms(margin=margin)) for margin in sorted((one, other)))
    assert narrow and wide and wide.position is not None and narrow.position is not None and wide.position <= narrow.position
