"""When things happen in a run, and how long it still takes."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

POINTS = 2000
"""The most points of one curve: a longer run reports every so many steps, which no eye can tell from every step."""

CHECKPOINT_SHARE = 0.05
"""The most of a run's time that goes into writing checkpoints."""


@dataclass(frozen=True)
class Plan:
    """Which steps of a run are reported and which are followed by a validation. Steps count from 1 to `total`."""

    total: int
    validations: tuple[int, ...]
    pause: int | None = None
    """The step after which the run is left, to be gone on with or not: validated, then saved."""

    @classmethod
    def of(cls, total: int, evaluations: int, *, has_validation: bool, pause: int | None = None) -> "Plan":
        """Validations evenly spread, the last one after the last step, and one at a pause."""
        steps = {round(total * part / evaluations) for part in range(1, evaluations + 1)} | ({pause} if pause else set())
        return cls(total, tuple(sorted(steps - {0})) if has_validation else (), pause)

    def is_reported(self, step: int) -> bool:
        return step % -(-self.total // POINTS) == 0 or step in (1, self.total) or step in self.validations


@dataclass
class Pace:
    """Measured times of this run: of recent steps, of the last validation, of the last checkpoint."""

    plan: Plan
    checkpoint_seconds: float
    validation_seconds: float
    """Until the first validation is measured, an estimate."""
    clock: Callable[[], float] = time.monotonic
    step_seconds: float | None = None
    """The mean step as the preflight's measured one lets expect, until three steps of the run are measured."""
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _step_began: float = 0.0
    _saved_at: float = 0.0
    _save_took: float = 0.0

    def __post_init__(self) -> None:
        self._saved_at = self.clock()

    def step_begins(self) -> None:
        self._step_began = self.clock()

    def step_ends(self) -> None:
        self._steps.append(self.clock() - self._step_began)

    def is_checkpoint_due(self) -> bool:
        """After `checkpoint_seconds` (0: after every step), or later when writing one takes so long that it costs too much of the run."""
        since = self.clock() - self._saved_at
        return self.checkpoint_seconds == 0 or since >= max(self.checkpoint_seconds, self._save_took / CHECKPOINT_SHARE)

    def saved(self, took: float) -> None:
        self._saved_at, self._save_took = self.clock(), took

    def step(self) -> float | None:
        """Seconds of a mean step."""
        return sum(self._steps) / len(self._steps) if len(self._steps) >= min(3, self.plan.total) else self.step_seconds

    def eta(self, done: int) -> float | None:
        """Seconds left after step `done`, validations included. None before anything is measured: a guess helps nobody."""
        if (step := self.step()) is None:
            return None
        ahead = sum(at > done for at in self.plan.validations)
        return (self.plan.total - done) * step + ahead * self.validation_seconds

    def eta_validating(self, done: int, share: float) -> float | None:
        """The same while the model after step `done` is validated, `share` of which is over."""
        left = self.eta(done)
        return None if left is None else left + (1 - share) * self.validation_seconds
