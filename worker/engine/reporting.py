"""What the engine tells, and asks, the outside world: its only way out. Who listens is not its business."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from app.errors import Invalid

Phase = Literal["load", "preflight", "train", "evaluate", "save"]
TrialState = Literal["waiting", "running", "stopped", "failed", "won"]


class Stopped(Exception):
    """The run was asked to stop and did so at a safe place. `checkpoint` is where it can go on, if there is such a place."""

    def __init__(self, checkpoint: Path | None = None) -> None:
        super().__init__("stopped on request")
        self.checkpoint = checkpoint


class NotYet(Invalid):
    """The run does not fit on the disk now, and will when `needed` bytes are free. Nothing of it was written."""

    def __init__(self, message: str, advice: str, needed: int, free: int) -> None:
        super().__init__("disk_full", message, advice, detail={"needed_bytes": needed, "free_bytes": free})
        self.needed = needed


class Lost(Invalid):
    """One of the run's processes ended early. Nothing says that the same run would lose it again: it can go on from its checkpoint."""


class Paused(Exception):
    """A run was left at the step where it was meant to be: it can go on from its checkpoint. `best` is its best validation so far."""

    def __init__(self, step: int, best: Mapping[str, float] | None) -> None:
        super().__init__(f"paused at step {step}")
        self.step, self.best = step, dict(best or {})


class Reporter(Protocol):
    """Listens to a run. Every call comes from the run's own thread and should return quickly."""

    def phase(self, name: Phase, total: int | None = None) -> None:
        """A part of the run begins; `total` is the number of steps (or rows) it will take, when known."""

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        """Metric points of optimiser step `done` (from 1). May come twice for one step, with other names in `values`."""

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        """So many of the present phase's units are done."""

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002  # the word of the table and the API
        """What the model wrote after `step` (0: untuned) for validation row `row` (from 1). The rows are the same at every step.

        `trial` is the number of the search's trial whose model it is; 0 without a search.
        """

    def log(self, text: str) -> None:
        """One line for the job's log."""

    def measured(self, peak_bytes: int) -> None:
        """The preflight knows the most memory that a step takes, in bytes."""

    def should_stop(self) -> bool:
        """Whether the run was asked to stop. Asked at least once a step."""

    def settle(self) -> None:
        """A checkpoint is about to be written: what was told so far must be kept by now, because a run that goes on from it will not tell it again."""

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        """A checkpoint is complete and on disk."""

    def pace(self, step_seconds: float, save_seconds: float) -> None:
        """What the next step and a checkpoint take here, as measured: by it who listens decides how to leave."""

    def trial(self, number: int, parameters: Mapping[str, Any], state: TrialState, step: int, value: float | None, reason: str | None = None) -> None:
        """Where a search's trial (from 1) stands: what it sets differently, its last step, its best validation so far, why it ended."""


@dataclass
class NullReporter:
    """Keeps what it is told in lists: for tests, and for runs from a command line. `stop_after` asks to stop once that step is reported."""

    stop_after: int | None = None
    peak: int | None = None
    phases: list[tuple[Phase, int | None]] = field(default_factory=list)
    steps: list[tuple[int, int, dict[str, float], float | None]] = field(default_factory=list)
    ticks: list[tuple[int, int, float | None]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    checkpoints: list[tuple[Path, int, str]] = field(default_factory=list)
    samples: list[tuple[int, int, str, str, str]] = field(default_factory=list)
    trials: dict[int, tuple[Mapping[str, Any], TrialState, int, float | None, str | None]] = field(default_factory=dict)
    paces: list[tuple[float, float]] = field(default_factory=list)

    def phase(self, name: Phase, total: int | None = None) -> None:
        self.phases.append((name, total))

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        self.steps.append((done, total, values, eta_seconds))

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        self.ticks.append((done, total, eta_seconds))

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002
        self.samples.append((step, row, input, gold, text))

    def log(self, text: str) -> None:
        self.lines.append(text)

    def measured(self, peak_bytes: int) -> None:
        self.peak = peak_bytes

    def should_stop(self) -> bool:
        return self.stop_after is not None and bool(self.steps) and self.steps[-1][0] >= self.stop_after

    def settle(self) -> None:
        pass

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        self.checkpoints.append((folder, step, manifest_sha256))

    def pace(self, step_seconds: float, save_seconds: float) -> None:
        self.paces.append((step_seconds, save_seconds))

    def trial(self, number: int, parameters: Mapping[str, Any], state: TrialState, step: int, value: float | None, reason: str | None = None) -> None:
        self.trials[number] = (parameters, state, step, value, reason)

    def points(self, name: str) -> dict[int, float]:
        """Every value reported under `name`, by step."""
        return {done: values[name] for done, _, values, _ in self.steps if name in values}
