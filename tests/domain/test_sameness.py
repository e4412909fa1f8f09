"""What several runs have in common: by hand, by its properties, and that chance alone is not taken for a difference."""

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.domain.agreement import alpha, nominal_alpha
from app.domain.sameness import Given, agreement, counted, plain, ring, same, spread
from app.domain.scoring.whole import NAMES, dealt, difference, value
from app.domain.scoring.whole import Given as Whole

ROWS = [
    Given(["a", "a", "a"], [True, True, True], [1.0, 1.0, 1.0]),
    Given(["a", "b", "a"], [True, False, True], [1.0, 0.0, 1.0]),
    Given(["b", "c", "d"], [False, False, False], [0.0, 0.0, 0.0]),
    Given(["d", "d", "d"], [False, False, False], [0.0, 0.0, 0.0]),
]

VALUES = st.lists(st.sampled_from("ab"), min_size=2, max_size=5)


def test_what_stays_is_counted_by_row_and_by_pair() -> None:
    found = agreement(ROWS, "labels")
    assert (found["same"]["count"], found["same"]["of"], found["always"]["count"], found["sometimes"]) == (2, 4, 1, 1)
    assert found["pairwise"]["value"] == pytest.approx((1 + 1 / 3 + 0 + 1) / 4) and found["likeness"] is None
    low, high = found["pairwise"]["interval"]
    assert low < found["pairwise"]["value"] < high and found["alpha"]["value"] == pytest.approx(nominal_alpha([row.answers for row in ROWS]).value or 0)
    told = spread([0.5, 0.25, 0.5], ROWS)
    assert (told["min"], told["median"], told["max"]) == (0.25, 0.5, 0.5) and told["p_value"] > 0.3
    with pytest.raises(ValueError, match="share no row"):
        agreement([], "labels")


def test_where_everything_is_alike_the_interval_does_not_claim_to_be_certain() -> None:
    found = agreement([ROWS[0]] * 20, "labels")
    assert found["pairwise"]["value"] == 1.0 and found["pairwise"]["interval"][0] < 0.9 and found["alpha"]["value"] is None
    assert spread([1.0, 1.0, 1.0], [ROWS[0]] * 20)["p_value"] == 1.0


def test_answers_are_compared_by_what_they_are() -> None:
    assert same("json", ['{"a": 1, "b": [2]}', '{"b": [2], "a":1}']) and not same("json", ['{"a": 1}', '{"a": 2}'])
    assert same("number", ["$1,200", "1200.0"]) and not same("labels", ["A", "a"]) and same("text", ["so ", "so"])
    assert plain("json", "no JSON ") == "no JSON" and plain("number", "none") == "none"
    assert counted("number", ["1.0", "2", "1"]) == [("1.0", 2), ("2", 1)]


def test_texts_that_are_not_the_same_may_be_alike() -> None:
    found = agreement([Given([f"the parcel {at} came late", f"the parcel {at} came too late"], [False, False]) for at in range(8)], "text")
    assert found["same"]["count"] == 0 and 0.6 < found["likeness"]["value"] < 1.0 and found["alpha"] is None


@pytest.mark.parametrize("n", range(2, 22))
def test_of_many_runs_each_is_compared_with_as_many_others(n: int) -> None:
    pairs = ring(n)
    assert {one for one, other in pairs if one < other} <= set(range(n)) and len(set(pairs)) == len(pairs) == min(n * (n - 1) // 2, 3 * n)
    assert {sum(at in pair for pair in pairs) for at in range(n)} == {min(n - 1, 6)}


def test_likeness_of_many_runs_is_not_that_of_all_pairs() -> None:
    """Of 21 runs one differs: 6 of 63 pairs have it, 20 of 210 would."""
    rows = [Given([*["the parcel came late"] * 20, "nothing"], [False] * 21) for _ in range(4)]
    apart = agreement([Given(["the parcel came late", "nothing"], [False, False])], "text")["likeness"]["value"]
    assert agreement(rows, "text")["likeness"]["value"] == pytest.approx((57 + 6 * apart) / 63)


def test_nominal_alpha_is_the_published_one() -> None:
    """Krippendorff's data of four observers and twelve units ("Computing Krippendorff's Alpha-Reliability", section C): nominal 0.743."""
    columns = {
        1: "1 1 . 1", 2: "2 2 3 2", 3: "3 3 3 3", 4: "3 3 3 3", 5: "2 2 2 2", 6: "1 2 3 4", 7: "4 4 4 4", 8: "1 1 2 1", 9: "2 2 2 2", 10: ". 5 5 5",
        11: ". . 1 1", 12: ". . 3 .",
    }  # fmt: skip
    rows = [[value for value in column.split() if value != "."] for column in columns.values()]
    found = nominal_alpha(rows)
    assert found.value is not None and found.value == pytest.approx(0.743, abs=0.001) and found.rows == 11
    assert found.interval is not None and found.interval[0] < found.value < found.interval[1]
    assert alpha([[float(value) for value in row] for row in rows]).value == pytest.approx(0.849, abs=0.001), "the same data as intervals"


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_of_two_values_both_alphas_are_one(rows: list[list[str]]) -> None:
    number = alpha([[float(value == "a") for value in row] for row in rows]).value
    assert nominal_alpha(rows).value == (None if number is None else pytest.approx(number))


def labelled(dice: random.Random, rights: list[list[float]], n: int) -> tuple[list[Given], list[float]]:
    """n rows of three labels, and the macro F1 of each run; `rights` are the runs' shares of right answers by label, each row with luck of its own."""
    labels = "abc"
    rows = []
    for at in range(n):
        gold = "a" if at % 10 < 6 else "b" if at % 10 < 9 else "c"
        luck, other = dice.random(), dice.choice([one for one in labels if one != gold])
        answers = [gold if (luck + dice.random()) / 2 < right[labels.index(gold)] else other for right in rights]
        rows.append(Given(answers, [answer == gold for answer in answers], (), gold))
    figures = [value([Whole(row.gold, (row.answers[run],)) for row in rows], "macro_f1") for run in range(len(rights))]
    return rows, figures


def test_of_macro_f1_and_the_like_the_answers_are_dealt_anew() -> None:
    """Of checks in which nothing matters as many are significant as 5 %, by the binomial interval; a run that forgets the rare label always is."""
    dice, times = random.Random(6), 60
    for name in NAMES:
        found = sum((spread([0.5, 0.6], labelled(dice, [[0.8, 0.7, 0.5]] * 4, 100)[0], name)["p_value"] or 0) <= 0.05 for _ in range(times))
        interval = binomtest(found, times).proportion_ci()
        sys.stdout.write(f"{name}: {found} of {times} null checks at 5 % [{interval.low:.3f}, {interval.high:.3f}]\n")
        assert interval.low <= 0.05, "no more often than it says"
    rows, figures = labelled(dice, [[0.8, 0.7, 0.6]] * 3 + [[0.8, 0.7, 0.0]], 200)
    assert spread(figures, rows, "macro_f1")["p_value"] < 0.01 and spread(figures, rows)["p_value"] is None
    assert spread([0.5, 0.5], [Given(["a", "a"], [True, True], (), "a")] * 9, "mcc")["p_value"] == 1.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx"), st.sampled_from("abcx")), min_size=3, max_size=12), st.sampled_from(NAMES))
@settings(deadline=None, max_examples=20)
def test_two_runs_dealt_anew_are_two_systems_swapped(found: list[tuple[str, str, str]], name: str) -> None:
    golds, answers = [one[0] for one in found], [one[1:] for one in found]
    a, b = ([Whole(gold, (row[side],)) for gold, row in zip(golds, answers, strict=True)] for side in (0, 1))
    assert dealt(golds, answers, name, 1999) == pytest.approx(difference(a, b, name).p_value, abs=0.05)


def test_forms_that_do_not_matter_are_told_from_some_that_do() -> None:
    """Of 100 null checks about 5 are significant; a form that is 12 points worse on 200 rows always is."""
    dice, found = random.Random(5), 0
    for _ in range(100):
        rows = [Given([], [], [float(dice.random() < chance) for _ in range(4)]) for chance in (dice.choice((0.05, 0.5, 0.95)) for _ in range(60))]
        found += spread([sum(row.values[at] for row in rows) / 60 for at in range(4)], rows)["p_value"] <= 0.05
    assert found <= 11, "the binomial chance of more is below 0.5 %"
    apart = [Given([], [], [1.0, 1.0, 1.0, float(dice.random() > 0.12)]) for _ in range(200)]
    assert spread([1.0, 1.0, 1.0, 0.88], apart)["p_value"] < 0.01
