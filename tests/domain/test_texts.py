"""Measures of free text equal those of the papers and packages they name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import corpus_bleu, corpus_chrf, sentence_bleu, sentence_chrf

from app.domain.scoring.texts import PER_ROW, bleu, chrf, corpus, rouge_n, token_f1

GOLD = ["The cat sat on the mat.", "Yesterday the parcel arrived late, and damp."]
ANSWER = ["The cat is on the mat.", "The parcel arrived, late and damp, yesterday evening."]


@pytest.mark.parametrize(
    ("gold", "answer", "n", "expected"),
    [
        ("police killed the gunman", "the gunman kill police", 1, 3 / 4),
        ("police killed the gunman", "the gunman kill police", 2, 1 / 3),
        ("the cat sat on the mat", "the cat sat on mat", 1, 10 / 11),
        ("the cat sat on the mat", "the cat sat on mat", 2, 2 / 3),
        ("a a a", "a", 1, 2 * 1 / 4),
        ("one", "two", 1, 0.0),
        ("one", "one", 2, 0.0),
    ],
)
def test_rouge_n_counts_runs_of_words(gold: str, answer: str, n: int, expected: float) -> None:
    assert rouge_n(gold, answer, n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("The Eiffel Tower", "eiffel tower!", 1.0),
        ("in Paris, France", "Paris", 2 * 1 / 4),
        ("the", "a", 1.0),
        ("x", "", 0.0),
    ],
)
def test_token_f1_is_squads(gold: str, answer: str, expected: float) -> None:
    assert token_f1(gold, answer) == pytest.approx(expected)


def test_bleu_and_chrf_are_sacrebleus() -> None:
    for gold, answer in zip(GOLD, ANSWER, strict=True):
        assert bleu(gold, answer) == pytest.approx(sentence_bleu(answer, [gold]).score / 100)
        assert chrf(gold, answer) == pytest.approx(sentence_chrf(answer, [gold]).score / 100)
    whole = corpus(GOLD, ANSWER)
    assert whole["bleu"] == pytest.approx(corpus_bleu(ANSWER, [GOLD]).score / 100)
    assert whole["chrf"] == pytest.approx(corpus_chrf(ANSWER, [GOLD]).score / 100)
    assert "tok:13a" in whole["bleu_signature"] and "nc:6" in whole["chrf_signature"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_every_measure_lies_between_0_and_1_and_knows_itself(gold: str, answer: str) -> None:
    for name, measure in PER_ROW.items():
        assert 0.0 <= measure(gold, answer) <= 1.0 + 1e-9, name
    same = "the parcel arrived late today"
    assert all(measure(same, same) == pytest.approx(1.0) for measure in PER_ROW.values())
