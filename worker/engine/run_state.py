"""What a run must know besides Trainer's own state to go on bit for bit, and from which of its checkpoints it can go on."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker.engine import checkpoint
from worker.engine.folders import damage

FILE = "run_state.json"


@dataclass
class RunState:
    """A run as of a checkpoint. While one goes on here, its validations are kept up to date; time and losses are written down with the next checkpoint."""

    best_step: int | None = None
    best: dict[str, float] | None = None
    stale: int = 0
    """Validations since the best one."""
    validated: int = 0
    """The last step whose validation is done."""
    seconds: float = 0.0
    """Training time so far, earlier attempts included."""
    threads: int = 0
    """Processor threads that its first attempt computed with; 0 where that was not written down."""
    reported: int = 0
    """The last step whose loss was reported: a long run reports the mean of several."""
    unreported: list[float] = field(default_factory=list)
    """Of each rank, the sum of its losses since then."""


def saved_state(folder: Path) -> RunState:
    """What a checkpoint says about its run."""
    return RunState(**json.loads((folder / FILE).read_text()))


def best_folder(run: Path, moment: object) -> Path:
    """Where the parameters of a run's best validation lie; `moment` is its step."""
    return run / f"best-{moment}"


def newest_usable(run: Path, log: Callable[[str], None] = lambda _: None) -> tuple[int, Path] | None:
    """The newest checkpoint that is intact with all that a run needs to go on from it, as (step, folder). Each one passed over is logged."""
    return checkpoint.newest_valid(run, log, _harm)


def _harm(folder: Path) -> str | None:
    if (reason := damage(folder)) or (best := saved_state(folder).best_step) is None:
        return reason
    lost = damage(best_folder(folder.parent, best))
    return lost and f"the best moment of {folder.name} is lost, {lost}"
