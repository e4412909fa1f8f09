"""An engine slow enough that somebody leaves before an answer has come to its end."""

import time

import pytest

from worker import interactive


def slow_engine(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> list[None]:
    """From now on a step of this test's engine takes so long at least. Gives a list that grows with every step."""
    steps: list[None] = []
    deliver = interactive.Post.deliver

    def slowly(post: interactive.Post) -> None:
        steps.append(None)
        deliver(post)
        time.sleep(seconds)

    monkeypatch.setattr(interactive.Post, "deliver", slowly)
    interactive._scheduler.cache_clear()
    return steps
