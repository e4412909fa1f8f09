"""How many tokens a text is reckoned to have: never more than its bytes, and at least what real tokenizers count in real text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.domain.rendering import Message, Part, Rendered, Shot, Template
from app.remote.ruler import ENDS, OPENING, TURN, reckoned, ruler

TEMPLATE = Template(instruction="Say which.", shots=(Shot("a plot", "good"),))


@given(some.text(max_size=200))
def test_a_text_is_reckoned_at_no_more_than_its_bytes(text: str) -> None:
    assert 0 <= reckoned(text) <= len(text.encode("utf-8", "surrogatepass"))


@given(some.text(max_size=80), some.text(max_size=80))
def test_a_longer_text_is_not_reckoned_shorter(one: str, other: str) -> None:
    assert reckoned(f"{one}\n{other}") >= max(reckoned(one), reckoned(other))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("refund", 2),
        ("REFUND", 3),
        ("Refund", 2),
        ("iPhone", 3),
        ("Where is my card?", 6),
        ("2024-05-17", 10),
        ("a  b", 3),
        ("caf\u00e9", 3),
        ("\u0434\u0430", 4),
        ("\U0001f600", 4),
        ("a\n\nb", 4),
    ],
)
def test_words_digits_signs_and_other_scripts(text: str, tokens: int) -> None:
    assert reckoned(text) == tokens


def test_what_a_server_writes_around_a_prompt_is_reckoned_too() -> None:
    raw, turns = ruler("there/m", 100, chat=False), ruler("there/m", 100, chat=True)
    text = Rendered(parts=(Part("one two", True),))
    chat = Rendered(messages=(Message("system", (Part("one", True),)), Message("user", (Part("two", True),))))
    assert (raw.tokens(text), turns.tokens(text), turns.tokens(chat)) == (2 + ENDS, 2 + OPENING + TURN, 2 + OPENING + 2 * TURN)


def test_the_answer_takes_the_longest_label_or_as_much_as_may_be_written(tmp_path: Path) -> None:
    measure = ruler("there/{m}", 100, chat=True, tokenizer=tmp_path, tokenizer_name="Tiny")
    assert measure.empty(TEMPLATE, ["good", "very bad indeed"], 7).answer == 5 and measure.empty(TEMPLATE, [], 7).answer == 7
    found = measure.empty(TEMPLATE, [], 7)
    assert "the 100 tokens of there/{m}" in found.sentence and "reckoned" in found.sentence, "a folder without a tokenizer counts nothing"
