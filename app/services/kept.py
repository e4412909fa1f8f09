"""What jobs keep on disk, by its use: results, checkpoints for a retry, logs. When what goes: worker/pruning.py."""

from app.disks import Kept, kept
from app.domain.job import Job
from app.settings import settings

DAY_MS = 86_400_000


def of_job(job: Job) -> Kept:
    return kept(settings().storage_folder / "jobs" / str(job.id))


def elsewhere(job: Job) -> str | None:
    """The machine that keeps what a job wrote, where that is not this one: with an object store each worker has a disk of its own."""
    here = settings()
    mine = not here.stored_remotely or (here.storage_folder / "jobs" / str(job.id)).exists() or job.machine in ("", here.machine_name)
    return None if mine else job.machine


def everything() -> Kept:
    return kept(settings().storage_folder / "jobs")


def checkpoint_steps(key: int) -> set[int]:
    """The steps of a job whose checkpoints are on this machine."""
    names = (path.name.removeprefix("checkpoint-") for path in (settings().storage_folder / "jobs" / str(key)).glob("attempt-*/checkpoint-*"))
    return {int(step) for step in names if step.isdecimal()}


def goes_at(job: Job) -> int | None:
    """When the checkpoints of an ended job go, in milliseconds since 1970; None while it is not over."""
    return None if job.finished_at is None else job.finished_at + settings().keep_checkpoints_days * DAY_MS
