"""Finished rungs for the tests of the ladder."""

from typing import Any

from app.domain.ladder import Cost, Step
from app.domain.results import ByRow


def step(position: int, title: str, right: int, n: int = 300, shift: int = 0, **given: Any) -> Step:
    """A rung with `right` of n rows correct; `shift` moves which ones. LoRA and full fine-tuning are tuned with 200 labels."""
    tunes = title.startswith(("LoRA", "full"))
    more: dict[str, Any] = {"cost": Cost(labels=200 if tunes else 0), "validation": right / n} | given
    return Step(position, title, ByRow({row: float((row + shift) % n < right) for row in range(n)}), tunes, **more)
