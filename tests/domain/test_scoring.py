"""Scores equal scikit-learn's where it has them, and keep off-list answers apart."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_recall_fscore_support

from app.domain.scoring import OFF_LIST, correct_rows, exact_match, extract, is_right, normalise, rouge_l, score

LABELS = ["a", "b", "c"]

pytestmark = pytest.mark.filterwarnings("ignore:A single label was found")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, answers = [wanted for wanted, _ in pairs], [given for _, given in pairs]
    scores = score(gold, answers, LABELS)
    seen = sorted(set(gold) | set(answers))
    assert scores.accuracy == pytest.approx(accuracy_score(gold, answers))
    assert scores.macro_f1 == pytest.approx(f1_score(gold, answers, average="macro", zero_division=0))
    assert scores.mcc == pytest.approx(matthews_corrcoef(gold, answers))
    columns = precision_recall_fscore_support(gold, answers, labels=seen, zero_division=0)
    for label, precision, recall, f1, support in zip(seen, *columns, strict=True):
        one = scores.per_class[label]
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx((precision, recall, f1, support))
    recalls = [scores.per_class[label].recall for label in set(gold)]
    assert scores.balanced_accuracy == pytest.approx(sum(recalls) / len(recalls))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "nonsense", ""])), min_size=1, max_size=40))
def test_an_off_list_answer_is_wrong_and_counted_apart(pairs: list[tuple[str, str]]) -> None:
    gold, answers = [wanted for wanted, _ in pairs], [given for _, given in pairs]
    scores = score(gold, answers, LABELS)
    assert scores.off_list == sum(given not in LABELS for given in answers)
    assert scores.correct == sum(wanted == given for wanted, given in pairs)
    classes = sorted(set(gold) | (set(answers) & set(LABELS)))
    assert scores.macro_f1 == pytest.approx(f1_score(gold, answers, labels=classes, average="macro", zero_division=0))
    marked = [given if given in LABELS else OFF_LIST for given in answers]
    assert scores.mcc == pytest.approx(matthews_corrcoef(gold, marked))
    assert sum(scores.confusion.values()) == scores.n
    assert Counter(scores.confusion)["a", OFF_LIST] == sum(wanted == "a" and given not in LABELS for wanted, given in pairs)


def test_the_majority_baseline_and_the_interval_stand_beside_the_accuracy() -> None:
    scores = score(["ham"] * 9 + ["spam"], ["ham"] * 10)
    assert (scores.majority.label, scores.majority.accuracy, scores.accuracy) == ("ham", 0.9, 0.9)
    assert scores.balanced_accuracy == 0.5 and scores.mcc == 0.0
    assert scores.interval.low < 0.9 < scores.interval.high


def test_scores_need_an_answer_for_each_row() -> None:
    with pytest.raises(ValueError, match="2 and 1"):
        score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least one"):
        score([], [])


def test_correct_rows_feed_the_paired_test() -> None:
    assert correct_rows(["a", "b"], ["a", "a"]) == [True, False]


def test_extractors() -> None:
    written = "\n positive \nbecause it is warm\n"
    assert extract(written) == "positive"
    assert extract(written, "exact") == "positive \nbecause it is warm"
    assert extract("  ") == ""


def test_normalise_never_folds_case_unasked() -> None:
    assert normalise(" İstanbul\u00a0 Straße ") == "İstanbul Straße"
    assert normalise("Straße", casefold=True) == "strasse"
    assert normalise("cafe\u0301") == "caf\u00e9"


@settings(deadline=None)
@given(st.text())
def test_normalise_twice_is_normalise_once(text: str) -> None:
    for casefold in (False, True):
        once = normalise(text, casefold)
        assert normalise(once, casefold) == once
        assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # the examples of Lin 2004, section 3.1
        ("police killed the gunman", "the gunman kill police", 2 / 4),
        ("police killed the gunman", "the gunman police killed", 2 / 4),
        ("the cat sat on the mat", "the cat", 2 * (2 / 2) * (2 / 6) / (2 / 2 + 2 / 6)),
        ("The CAT, sat!", "the cat sat", 1.0),
        ("a b c d e", "a x b y c", 3 / 5),
        ("well-known 7x", "well known 7x", 1.0),
        ("naïve", "na ve", 1.0),  # as rouge-score cuts it
        ("one", "two", 0.0),
        ("", "anything", 0.0),
        ("anything", "", 0.0),
        ("да", "да", 0.0),
    ],
)
def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_of_words(gold: str, answer: str, expected: float) -> None:
    assert rouge_l(gold, answer) == pytest.approx(expected)
    assert rouge_l(answer, gold) == pytest.approx(expected), "with precision and recall alike, the two texts may change places"


def _slow(one: list[str], other: list[str]) -> int:
    """The definition itself."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + _slow(one[1:], other[1:])
    return max(_slow(one[1:], other), _slow(one, other[1:]))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_rouge_l_counts_what_the_definition_counts(one: list[str], other: list[str]) -> None:
    common = _slow(one, other)
    expected = 2 * common / (len(one) + len(other)) if common else 0.0
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)


def test_an_answer_is_right_whatever_its_white_space() -> None:
    assert is_right(" two  words\n", "two words") and not is_right("BILLING", "Billing") and not is_right("", "x")
    assert exact_match(["Billing", "delivery", "two words"], ["Billing", "delivery.", " two\nwords"]) == pytest.approx(2 / 3)
