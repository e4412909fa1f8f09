"""Checkpoints of a training run: whole or absent, verified before use, the newest two kept."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from worker.engine.folders import MANIFEST, damage, sha256, whole

KEPT = 2
_NAME = re.compile(r"checkpoint-(\d+)")


def write(run: Path, step: int, fill: Callable[[Path], None]) -> tuple[Path, str]:
    """Write `run`/checkpoint-`step` with what `fill` puts into it. Returns the folder and the sha256 of its manifest."""
    folder = run / f"checkpoint-{step}"
    with whole(folder) as inside:
        fill(inside)
    for _, old in found(run)[KEPT:]:
        shutil.rmtree(old)
    return folder, sha256(folder / MANIFEST)


def found(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint of a run, intact or not, newest first."""
    names = ((_NAME.fullmatch(path.name), path) for path in run.glob("checkpoint-*"))
    return sorted(((int(match[1]), path) for match, path in names if match), reverse=True)


def newest_valid(run: Path, log: Callable[[str], None] = lambda _: None) -> tuple[int, Path] | None:
    """The newest checkpoint that verifies, as (step, folder). Each damaged one passed over is logged."""
    for step, folder in found(run):
        reason = damage(folder)
        if reason is None:
            return step, folder
        log(f"Passed over a damaged checkpoint: {reason}.")
    return None
