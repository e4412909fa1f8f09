"""The accounting after a fault: every accepted job in one state, no result twice, no artefact without a row, no row without its artefact, no stray file."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from app.db import reading
from app.domain.job import ACTIVE, FINAL, Attempt, Job
from app.domain.model import Model
from app.domain.upload import Upload
from tests.faults.site import Site, under
from worker.engine.folders import damage, fingerprint


def wrong(site: Site, accepted: list[int], deleted: set[int]) -> list[str]:
    """Everything that is not as it should be, once nobody works any more. `deleted` are accepted jobs that went with their dataset."""
    with reading() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        attempts = list(session.scalars(select(Attempt)))
        models = [model for model in session.scalars(select(Model)) if model.kind == "tuned"]
        uploads = {upload.file for upload in session.scalars(select(Upload))}
    found = [f"job {key} was accepted and is not there" for key in accepted if key not in jobs and key not in deleted]
    found += wrong_rows(jobs, attempts, models)
    found += _files(site.storage, jobs, models)
    found += [f"upload {path.name} belongs to nobody" for path in (site.folder / "data" / "uploads").glob("upload-*") if path.name not in uploads]
    return found


def wrong_rows(jobs: dict[int, Job], attempts: list[Attempt], models: list[Model]) -> Iterator[str]:
    """Jobs, attempts and tuned models that contradict each other."""
    won = Counter(attempt.job_id for attempt in attempts if attempt.outcome == "succeeded")
    made = Counter(model.job_id for model in models)
    for key, job in jobs.items():
        mine = sorted(attempt.number for attempt in attempts if attempt.job_id == key)
        if job.state not in (*FINAL, *ACTIVE):
            yield f"job {key} is {job.state}"
        if won[key] != (job.state == "succeeded") or (job.kind == "tune" and made[key] != (job.state == "succeeded")):
            yield f"job {key} is {job.state} with {won[key]} succeeded attempts and {made[key]} models"
        if mine != list(range(1, job.attempt + 1)):
            yield f"job {key} is at attempt {job.attempt}, its attempts are {mine}"
        if job.over and any(attempt.ended_at is None for attempt in attempts if attempt.job_id == key):
            yield f"job {key} is over, and one of its attempts is not"
        if job.state == "failed" and not (job.error or {}).get("message"):
            yield f"job {key} failed and says no reason"


def _files(storage: Path, jobs: dict[int, Job], models: list[Model]) -> Iterator[str]:
    for model in models:
        folder = storage / model.folder
        if reason := damage(folder):
            yield f"model {model.id}: {reason}"
        elif fingerprint(folder) != model.content_hash:
            yield f"model {model.id} is not what was registered"
    known = {storage / model.folder for model in models}
    for folder in (storage / "jobs").glob("*"):
        job = jobs.get(int(folder.name))
        if job is None:
            yield f"{folder} belongs to no job"
            continue
        if job.over:
            yield from (f"{path} was left behind by job {job.id}" for path in under(folder, ".tmp-*"))
            allowed = known if job.state in ("succeeded", "cancelled") else {*known, *folder.glob("attempt-*/artefact")}
            yield from (f"{path} is a result that no model has" for path in folder.glob("attempt-*/artefact") if path not in allowed)
        if job.state == "succeeded":
            yield from (f"{path} is of no use any more" for path in under(folder, "checkpoint-*"))
        for attempt in folder.glob("attempt-*"):
            if len(list(attempt.glob("checkpoint-*"))) > 2:
                yield f"{attempt} holds more than two checkpoints"
