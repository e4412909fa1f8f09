"""Sentences with code in them, and marks for what cannot be seen."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml.html import fragment_fromstring

from app.pages.text import natural, ticks, visible


def test_ticks_make_code_and_nothing_else_of_a_sentence() -> None:
    assert ticks("Run `fettle <up>` & wait, or ` alone.") == "Run <code>fettle &lt;up&gt;</code> &amp; wait, or ` alone."


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("one two", []),
        (" one", ["·"]),
        ("one  two ", ["·", "·", "·"]),
        ("a\nb\tc\r", ["↵", "⇥", "␍"]),
        ("a\u00a0b\u200bc\ufeff", ["⍽", "‹200B›", "‹FEFF›"]),
        ("a \nb", ["·", "↵"]),
        ("\x00", ["‹0000›"]),
    ],
)
def test_characters_without_ink_get_a_mark(text: str, marks: list[str]) -> None:
    assert [mark.get("data-ws") for mark in fragment_fromstring(visible(text), create_parent="p").cssselect("i")] == marks


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters="\n\t")))
def test_what_is_copied_from_the_page_is_the_text(text: str) -> None:
    assert fragment_fromstring(visible(text), create_parent="p").text_content() == text


def test_numbers_in_keys_are_sorted_as_numbers() -> None:
    assert sorted(["T-1000", "T-101", "t-20", "T-3", "b2c", "10", "9"], key=natural) == ["9", "10", "b2c", "T-3", "t-20", "T-101", "T-1000"]


@given(st.lists(st.text()), st.randoms())
def test_any_keys_have_one_natural_order(keys: list[str], dice: random.Random) -> None:
    shuffled = dice.sample(keys, len(keys))
    assert sorted(keys, key=natural) == sorted(shuffled, key=natural)
