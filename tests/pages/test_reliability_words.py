"""A reliability check in words: what a spread means differs between forms and repeats, and one is said as one."""

import pytest

from app.pages import reliability_words as words


@pytest.mark.parametrize(("forms", "repeats", "said"), [(1, 0, "in 1 other form"), (8, 2, "in 8 other forms, twice"), (0, 4, "4 times")])
def test_how_an_evaluation_is_asked_again(forms: int, repeats: int, said: str) -> None:
    assert words.asked(forms, repeats) == said


@pytest.mark.parametrize(("p", "forms", "repeats"), [(0.4, "may be chance", "may be chance"), (0.01, "which one is asked matters", "something changed")])
def test_what_lies_far_apart_is_said_of_forms_and_of_repeats(p: float, forms: str, repeats: str) -> None:
    found = {"same": {"count": 1, "of": 2}, "spread": {"p_value": p}}
    assert forms in words.chance(found, "forms") and repeats in words.chance(found, "repeats")
    assert "which one is asked" not in words.chance(found, "repeats"), "a repeat asks the same"
