"""What jobs keep on disk, by its use: results, checkpoints for a retry, logs. When what goes: worker/pruning.py."""

from dataclasses import dataclass
from pathlib import Path

from app.domain.job import Job
from app.settings import settings

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Kept:
    """Bytes of each use. Files that attempts share are counted once."""

    results: int = 0
    checkpoints: int = 0
    logs: int = 0


def of_job(job: Job) -> Kept:
    return _of(settings().storage_folder / "jobs" / str(job.id))


def everything() -> Kept:
    return _of(settings().storage_folder / "jobs")


def checkpoint_steps(key: int) -> set[int]:
    """The steps of a job whose checkpoints are on this machine."""
    names = (path.name.removeprefix("checkpoint-") for path in (settings().storage_folder / "jobs" / str(key)).glob("attempt-*/checkpoint-*"))
    return {int(step) for step in names if step.isdecimal()}


def goes_at(job: Job) -> int | None:
    """When the checkpoints of an ended job go, in milliseconds since 1970; None while it is not over."""
    return None if job.finished_at is None else job.finished_at + settings().keep_checkpoints_days * DAY_MS


def _of(folder: Path) -> Kept:
    sizes, seen = {"results": 0, "checkpoints": 0, "logs": 0}, set()
    for file in folder.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:  # gone meanwhile
            continue
        if file.is_dir() or stat.st_ino in seen:
            continue
        seen.add(stat.st_ino)
        parts = file.relative_to(folder).parts
        use = (
            "logs"
            if file.name == "process.log"
            else "results"
            if "artefact" in parts and not any(part.startswith("trial-") for part in parts)
            else "checkpoints"
        )
        sizes[use] += stat.st_size
    return Kept(**sizes)
