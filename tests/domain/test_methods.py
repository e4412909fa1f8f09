"""What every tuning method owes: the rest of the program asks it of the class alone."""

from collections.abc import Callable

import pytest

from app.domain.methods.soft import SoftPrompt


def test_a_method_that_cannot_say_what_it_trains_cannot_be_made() -> None:
    class Unfinished(SoftPrompt):
        pass

    makers: tuple[Callable[[], object], ...] = (Unfinished, lambda: Unfinished.model_validate({}))
    for make in makers:
        with pytest.raises(TypeError, match="trainable"):
            make()
