"""What ended jobs leave, and when it goes. The result stays for ever, and so do curves and samples, which are rows.

A job that succeeded keeps no checkpoint, on no machine that tried it; one that did not keeps its newest two for a retry. By age go, counted from the
job's end: checkpoints after FETTLE_KEEP_CHECKPOINTS_DAYS, log files and log lines after FETTLE_KEEP_LOGS_DAYS, and with the log lines the messages of
webhooks. What a killed process had begun to write, and the folder of a job whose row was deleted, go within a day. Merged models that no job handed in
go when their job is over.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import storage
from app.db import now, reading, transaction
from app.domain import metric as metrics
from app.domain import webhook as webhooks
from app.domain.job import Job
from app.domain.model import Model
from app.errors import FettleError
from app.settings import settings

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
RESUMABLE = ("checkpoint-*", "best-*", "trial-*", "search.json", "finder.json", "artefact")
"""What only a retry can use. An artefact that is a model's is not among it."""
ROWS = 2000


def prune() -> int:
    """Look at every job's folder once and remove what is due; returns how many things went."""
    with reading() as session:
        clock = now(session)
        jobs = {row.id: row for row in session.execute(select(Job.id, Job.state, Job.finished_at))}
        newest = session.scalar(select(func.max(Job.id))) or 0
        results = {settings().storage_folder / folder for folder in session.scalars(select(Model.folder).where(Model.kind == "tuned"))}
    gone = 0
    for folder in (settings().storage_folder / "jobs").glob("*"):
        job = jobs.get(int(folder.name)) if folder.name.isdigit() else None
        if job is None:
            # Only below the newest id: a storage that is older than its database (a restored backup) is left alone.
            due = [folder] if folder.name.isdigit() and int(folder.name) < newest and _age_ms(folder) > DAY_MS else []
        else:
            due = (
                []
                if job.finished_at is None
                else [path for path in _due(folder, clock - job.finished_at, succeeded=job.state == "succeeded") if path not in results]
            )
        for path in due:
            _remove(path)
        gone += len(due)
    gone += _exports()
    told = clock - settings().keep_logs_days * DAY_MS
    return gone + _in_store(jobs, clock) + _rows(metrics.forget_lines, told) + _rows(webhooks.forget_told, told)


def _exports() -> int:
    """Merged models of attempts that came to nothing, and of jobs that are gone."""
    # Listed before the rows are read: a job that is over then has nobody who began anything of this since.
    root = settings().storage_folder / "exports"
    found = [path for folder in root.glob("model-*/job-*") for pattern in ("attempt-*", ".tmp-attempt-*") for path in folder.glob(pattern)]
    with reading() as session:
        jobs = {f"job-{job.id}": job for job in session.scalars(select(Job).where(Job.kind == "export"))}
        newest = session.scalar(select(func.max(Job.id))) or 0
    due = [path for path in found if _unwanted(path, jobs.get(path.parent.name), newest)]
    for path in due:
        _remove(path)
    return len(due)


def _unwanted(path: Path, job: Job | None, newest: int) -> bool:
    """Of one attempt to merge: `.tmp-*` may also be a copy that is on its way out of the object store."""
    settled = _age_ms(path) > DAY_MS
    if job is None:
        number = path.parent.name.removeprefix("job-")
        return settled and number.isdigit() and int(number) < newest
    handed_in = settings().storage_folder / (job.result or {}).get("folder", "")
    return job.over and path != handed_in and (settled or not path.name.startswith(".tmp-"))


def _in_store(jobs: Mapping[int, Any], clock: int) -> int:
    """The same rule for copies of checkpoints in the object store, of jobs that the database knows. What the store has besides is not ours to judge:
    a restored database may know fewer."""
    kept = settings().keep_checkpoints_days * DAY_MS
    try:
        if (remote := storage.store()) is None:
            return 0
        known = [(name, jobs.get(int(name))) for name in remote.names("checkpoints/jobs") if name.isdigit()]
        due = [name for name, job in known if job is not None and job.finished_at is not None and (job.state == "succeeded" or clock - job.finished_at > kept)]
        for name in due:
            remote.remove(f"checkpoints/jobs/{name}")
    except FettleError as error:
        log.warning("checkpoints in the object store not pruned", reason=error.message)
        return 0
    return len(due)


def drop_resumable(folder: Path, result: Path) -> None:
    """A job has succeeded: what only a retry could use goes from its folder on this machine at once, and its result stays."""
    for path in _resumable(folder):
        if path != result:
            _remove(path)


def _resumable(folder: Path) -> Iterator[Path]:
    return (path for pattern in RESUMABLE for path in folder.glob(f"attempt-*/{pattern}"))


def _due(folder: Path, age_ms: int, *, succeeded: bool) -> Iterator[Path]:
    if succeeded or age_ms > settings().keep_checkpoints_days * DAY_MS:
        yield from _resumable(folder)
    if age_ms > DAY_MS:
        yield from folder.glob("attempt-*/.tmp-*")
    if age_ms > settings().keep_logs_days * DAY_MS:
        yield from folder.glob("attempt-*/process.log")


def _rows(forget: Callable[[Session, int, int], int], before_ms: int) -> int:
    """Rows from before then, some in each transaction."""
    gone = 0
    while True:
        with transaction() as session:
            some = forget(session, before_ms, ROWS)
        gone += some
        if some < ROWS:
            return gone


def _age_ms(folder: Path) -> float:
    return (time.time() - folder.stat().st_mtime) * 1000


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # as with a folder: the next time will do
            path.unlink()
    log.info("pruned", path=str(path))
