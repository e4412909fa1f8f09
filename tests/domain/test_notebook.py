"""Texts by their tokens, as the notebook keeps them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.notebook import spelled, told

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
CHANCES = st.floats(-50, 0).map(lambda value: round(value, 4))
TOP = st.lists(st.fixed_dictionaries({"token": WORDS, "logprob": CHANCES}), max_size=5)


@given(st.lists(st.fixed_dictionaries({"token": WORDS, "logprob": CHANCES, "top": TOP}), min_size=1, max_size=8))
def test_tokens_that_spell_their_text_come_back_as_they_were(logprobs: list[dict[str, Any]]) -> None:
    assert told(spelled("".join(one["token"] for one in logprobs), logprobs)) == logprobs


def test_a_piece_whose_tokens_are_not_known_or_do_not_spell_it_stays_as_text() -> None:
    one = {"token": " cat", "logprob": -0.25, "top": []}
    assert spelled(" cat", [one]) == [[" cat", -0.25]] and spelled("", []) == []
    assert spelled("cat", [{**one, "token": " "}, one]) == [["cat", -0.25]], "an answer's white space before it"
    for logprobs in ([], [{**one, "token": "cat"}]):
        assert told(spelled(" cat", logprobs)) == [{"token": " cat", "logprob": None, "top": []}]


def test_what_postgresql_cannot_keep_is_replaced() -> None:
    assert spelled("a\0", [{"token": "a\0", "logprob": -1.0, "top": [{"token": "\0", "logprob": -2.0}]}]) == [["a\ufffd", -1.0, "\ufffd", -2.0]]
