"""A tune job: rows in, the engine's training, a registered model out, and whatever follows it."""

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
from app.settings import settings
from worker.engine import artefact
from worker.engine.train import TrainResult, TrainSpec, train
from worker.parent import attempt_folder
from worker.reporter import JobReporter


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Train, register the model, queue what follows: the last two in the transaction that ends the job."""
    reporter.phase("load")
    result = train(spec_of(job), reporter)
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
        train_rows = [(row.values(), row.output or "") for row in datasets.rows(session, version, "train")]
        validation = [(row.values(), row.output or "") for row in datasets.rows(session, version, "validation")]
        folder, _ = models.folders(session, base, settings().models_folder, settings().storage_folder)
        return TrainSpec(
            base=folder,
            template=prompt.template(),
            train_rows=tuple(train_rows),
            validation_rows=tuple(validation),
            labels=tuple(version.label_texts()),
            method=chosen["method"],
            parameters=parse(METHODS, chosen["method"], chosen["parameters"]),
            seed=chosen.get("seed", 0),
            folder=attempt_folder(job),
            resume_from=tuple(_earlier(job)),
            device=settings().device,
            threads=settings().threads,
        )


def _earlier(job: Job) -> list[Path]:
    """Folders of earlier attempts, newest first, where a checkpoint may wait."""
    root = attempt_folder(job).parent
    found = [path for path in root.glob("attempt-*") if path != attempt_folder(job)]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def finish(job: Job, token: str, result: TrainResult) -> None:
    """Register the tuned model and end the job, in one transaction."""
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
            content_hash=artefact.fingerprint(result.artefact),
            parameters=base.parameters,
            licence=base.licence,
            source=f"job {job.id}",
            base_model_id=base.id,
            method=job.settings["method"],
            method_parameters=job.settings["parameters"],
            trainable_parameters=result.trainable,
            training_seconds=result.seconds,
            job_id=job.id,
            prompt_version_id=prompt.id,
            dataset_version_id=version.id,
        )
        experiments.advance(session, job, model)
        summary = {"model": model.id, **result.summary()}
        jobs.succeed(session, job.id, token, summary)
