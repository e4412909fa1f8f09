"""A tune job: rows in, the engine's training, a registered model out, and whatever follows it."""

import shutil
from dataclasses import asdict
from pathlib import Path

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import experiment as experiments
from app.domain import job as jobs
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.search import Search
from app.settings import settings
from worker.engine.folders import fingerprint
from worker.engine.search import FILE as SEARCH
from worker.engine.search import search
from worker.engine.spec import TrainSpec
from worker.engine.train import TrainResult
from worker.parent import attempt_folder
from worker.reporter import JobReporter


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Train, register the model, queue what follows: the last two in the transaction that ends the job."""
    result = search(spec_of(job), Search.model_validate(job.settings.get("search") or {}), reporter)
    reporter.flush()
    finish(job, token, result)


def spec_of(job: Job) -> TrainSpec:
    """The engine's plain values for a job, read from the database."""
    chosen = job.settings
    with reading() as session:
        person = job.person()
        base = models.find(session, person, chosen["model"])
        version = datasets.find(session, person, chosen["dataset"])
        prompt = prompts.find(session, person, chosen["prompt_version"])
        train_rows = [(case.values, case.answer) for case in datasets.cases(session, version, "train")]
        validation = [(case.values, case.answer) for case in datasets.cases(session, version, "validation")]
        folder, _ = models.folders(session, base, settings().models_folder, settings().storage_folder)
        return TrainSpec(
            base=folder,
            template=prompt.template(),
            opening=prompts.find(session, person, chosen["opening"]).template() if chosen.get("opening") else None,
            train=train_rows,
            validation=validation,
            labels=tuple(version.label_texts()),
            method=chosen["method"],
            parameters=parse(METHODS, chosen["method"], chosen["parameters"]),
            seed=chosen.get("seed", 0),
            folder=attempt_folder(job),
            resume=_adopt_checkpoints(job),
            threads=settings().threads or None,
            device=settings().device,
        )


def _adopt_checkpoints(job: Job) -> bool:
    """Copy what an earlier attempt saved into this one's folder, so that no attempt ever writes into another's.

    True when there is something to go on from. A copy that was broken off is made again.
    """
    here = attempt_folder(job)
    earlier = [path for path in here.parent.glob("attempt-*") if path != here and _can_go_on(path)]
    if earlier:
        newest = max(earlier, key=lambda path: int(path.name.removeprefix("attempt-")))
        shutil.copytree(newest, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("process.log", "artefact", ".tmp-*"))
    return bool(earlier)


def _can_go_on(attempt: Path) -> bool:
    return (attempt / SEARCH).exists() or any(attempt.glob("checkpoint-*")) or any(attempt.glob("trial-*/checkpoint-*"))


def finish(job: Job, token: str, result: TrainResult) -> None:
    """Register the tuned model and end the job, in one transaction; then what only a resume would need goes."""
    digest = fingerprint(result.artefact)
    with transaction() as session:
        base = session.get_one(models.Model, job.settings["model"])
        version = datasets.find(session, job.person(), job.settings["dataset"])
        prompt = prompts.find(session, job.person(), job.settings["prompt_version"])
        dataset = session.get_one(datasets.Dataset, version.dataset_id)
        model = models.register_tuned(
            session,
            job.person(),
            name=f"{dataset.name} {METHODS[job.settings['method']].name}",
            folder=str(result.artefact.relative_to(settings().storage_folder)),
            content_hash=digest,
            parameters=base.parameters,
            licence=base.licence,
            source=f"job {job.id}",
            base_model_id=base.id,
            method=job.settings["method"],
            method_parameters=dict(result.parameters),
            trainable_parameters=result.trainable,
            training_seconds=result.seconds,
            job_id=job.id,
            prompt_version_id=prompt.id,
            dataset_version_id=version.id,
        )
        experiments.advance(session, job, model)
        measured = {name: value for name, value in asdict(result).items() if name != "artefact"}
        jobs.succeed(session, job.id, token, {"model": model.id, **measured})
    for pattern in ("attempt-*/checkpoint-*", "attempt-*/trial-*"):
        for leftover in attempt_folder(job).parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
