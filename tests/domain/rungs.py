"""Finished rungs for the tests of the ladder."""

from typing import Any

from app.domain.ladder import Cost, Step
from app.domain.recommendation import Recommendation, recommend
from app.domain.results import ByRow
from app.domain.targets import Terms


def step(position: int, title: str, right: int, n: int = 300, shift: int = 0, **given: Any) -> Step:
    """A rung with `right` of n rows correct; `shift` moves which ones. LoRA and full fine-tuning are tuned with 200 labels."""
    tunes = title.startswith(("LoRA", "full"))
    more: dict[str, Any] = {"cost": Cost(labels=200 if tunes else 0), "validation": right / n} | given
    return Step(position, title, ByRow({row: float((row + shift) % n < right) for row in range(n)}), tunes, **more)


def found(*steps: Step, floor: Step | None = None, **terms: float | None) -> Recommendation:
    answer = recommend(steps, Terms(**terms), floor)
    assert answer is not None
    return answer


def majority(right: int, n: int = 300) -> Step:
    return step(-1, "always answering “ham”", right, n)
