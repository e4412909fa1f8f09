"""Checkpoints of a training run: whole or absent, verified before use, the newest two kept."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from worker.engine.folders import MANIFEST, damage, sha256, whole
from worker.engine.room import room

KEPT = 2
_NAME = re.compile(r"checkpoint-(\d+)")


def write(run: Path, step: int, fill: Callable[[Path], None], needed: int = 0) -> tuple[Path, str]:
    """Write `run`/checkpoint-`step` with what `fill` puts into it, about `needed` bytes. Returns the folder and the sha256 of its manifest.

    Raises Invalid `disk_full`: the checkpoints before it are untouched then.
    """
    folder = run / f"checkpoint-{step}"
    for later in (one for at, one in found(run) if at > step):
        shutil.rmtree(later)  # damaged: the run was gone on with from before it, and it would count as one of the newest
    drop_old(run)  # an attempt that was killed between a checkpoint and its tidying may have left a third
    with room(run, needed, f"the checkpoint of step {step}"), whole(folder) as inside:
        fill(inside)
    drop_old(run)
    return folder, sha256(folder / MANIFEST)


def drop_old(run: Path) -> None:
    """Remove what is beyond the newest two."""
    for _, old in found(run)[KEPT:]:
        shutil.rmtree(old)


def found(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint of a run, intact or not, newest first."""
    names = ((_NAME.fullmatch(path.name), path) for path in run.glob("checkpoint-*"))
    return sorted(((int(match[1]), path) for match, path in names if match), reverse=True)


def newest_valid(run: Path, log: Callable[[str], None] = lambda _: None, harm: Callable[[Path], str | None] = damage) -> tuple[int, Path] | None:
    """The newest checkpoint that verifies, as (step, folder): to which `harm` finds nothing. Each damaged one passed over is logged."""
    for step, folder in found(run):
        reason = harm(folder)
        if reason is None:
            return step, folder
        log(f"Passed over a damaged checkpoint: {reason}.")
    return None
