"""A tune job: rows in, the engine's training, a registered model out, and whatever follows it."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from app import storage
from app.db import reading, transaction
from app.domain import climbing, ending, label_budget
from app.domain import dataset as datasets
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.footprint import lengths, longest, needs
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.search import Search
from app.domain.shape import PROCESS_BYTES, SHAPE_UNKNOWN
from app.errors import Invalid
from app.settings import settings
from worker.devices import own, spread_over, wait_for_memory
from worker.engine.folders import damage, fingerprint, refuse_changed
from worker.engine.load import needed_bytes, shape
from worker.engine.search import FILE as SEARCH
from worker.engine.search import search
from worker.engine.spec import TrainSpec
from worker.engine.train import ARTEFACT, TrainResult
from worker.parent import attempt_folder
from worker.pruning import drop_resumable
from worker.reporter import JobReporter
from worker.weights import share, weights_of


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Train, register the model, queue what follows: the last two in the transaction that ends the job."""
    spec = reporter.patiently(lambda: spec_of(job, reporter.log))
    refuse_changed(spec.base)
    wait_for_memory(job, footprint_of(spec), reporter, spec.parameters.devices)
    result = search(spec, Search.of(job.settings), reporter)
    reporter.flush()
    # The result is on disk: a database or an object store that is away is waited for, and if that takes too long the next attempt registers it.
    planned = spec.parameters.total_steps(len(spec.train))
    reporter.patiently(lambda: finish(job, token, result, planned))


def spec_of(job: Job, say: Callable[[str], None] = lambda _: None) -> TrainSpec:
    """The engine's plain values for a job, read from the database. What an earlier attempt has left and cannot be used is told to `say`."""
    chosen = job.settings
    with reading() as session:
        person = job.person()
        base = models.find(session, person, chosen["model"])
        version = datasets.find(session, person, chosen["dataset"])
        prompt = prompts.find(session, person, chosen["prompt_version"])
        learnt = label_budget.train_rows(session, version, chosen.get("label_budget"), chosen.get("seed", 0))
        train_rows = [(case.values, case.answer) for case in learnt]
        validation = [(case.values, case.answer) for case in datasets.cases(session, version, "validation")]
        opening = prompts.find(session, person, chosen["opening"]).template() if chosen.get("opening") else None
        weights = weights_of(session, base)
    folder, _ = weights.here()
    share(base)
    return TrainSpec(
        base=folder,
        template=prompt.template(),
        opening=opening,
        train=train_rows,
        validation=validation,
        labels=tuple(version.label_texts()),
        aliases=version.book.aliases(),
        method=chosen["method"],
        parameters=parse(METHODS, chosen["method"], chosen["parameters"]),
        seed=chosen.get("seed", 0),
        folder=attempt_folder(job),
        resume=_adopt_checkpoints(job, say),
        finish=job.finish,
        threads=settings().threads or None,
        device=spread_over(chosen["parameters"].get("devices", 1)),
        checkpoint_seconds=settings().checkpoint_seconds,
    )


def footprint_of(spec: TrainSpec) -> int:
    """About what the run takes at its peak, in bytes: its preflight measures it. Where that cannot be reckoned, at least what holds the model itself."""
    kind = "cpu" if spec.device.startswith("cpu") or not own().startswith("cuda") else "cuda"
    sizes = sorted(((sum(map(len, values.values())) + len(answer), len(answer)) for values, answer in spec.train), reverse=True)
    whole, answer = longest(sizes, spec.parameters.batch_size)
    try:
        found = shape(spec.base)
        step = lengths(whole, answer, spec.template, spec.labels, spec.parameters, found.encoder_decoder)
        return needs(found, spec.parameters, step, len(spec.train), kind)
    except Invalid as error:
        if error.code not in (SHAPE_UNKNOWN, "no_attention_targets"):
            raise
        return PROCESS_BYTES[kind] + needed_bytes(spec.base, device=kind)


def _adopt_checkpoints(job: Job, say: Callable[[str], None]) -> bool:
    """Take what an earlier attempt saved into this one's folder, so that no attempt ever writes into another's; a result that was only not registered too.

    True when there is something to go on from. Files are linked, not copied, where the disk can: they are never changed in place, only
    replaced. What was broken off is taken again.
    """
    here = attempt_folder(job)
    _fetch_attempts(here.parent, say)
    earlier = [path for path in here.parent.glob("attempt-*") if path != here and _can_go_on(path)]
    if earlier:
        newest = max(earlier, key=lambda path: int(path.name.removeprefix("attempt-")))
        broken = {str(path) for path in newest.rglob(ARTEFACT) if damage(path)}

        def left_behind(folder: str, names: list[str]) -> set[str]:
            return {name for name in names if name == "process.log" or name.startswith(".tmp-") or str(Path(folder) / name) in broken}

        shutil.copytree(newest, here, dirs_exist_ok=True, ignore=left_behind, copy_function=_link)
    return bool(earlier)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _fetch_attempts(folder: Path, say: Callable[[str], None]) -> None:
    """What other machines have left of this job, as far as it is not here. A copy that is damaged is passed over: an older one may be whole."""
    if (remote := storage.store()) is not None:
        for name in remote.below(storage.checkpoint_key(folder)):
            try:
                storage.fetched(folder / name, storage.checkpoint_key(folder / name))
            except Invalid as damaged:
                say(f"What {name} left cannot be used: {damaged.message}")


def _can_go_on(attempt: Path) -> bool:
    return any((attempt / name).exists() for name in (SEARCH, ARTEFACT)) or any(attempt.glob("checkpoint-*")) or any(attempt.glob("trial-*/checkpoint-*"))


def finish(job: Job, token: str, result: TrainResult, planned: int) -> None:
    """Register the tuned model and end the job, in one transaction; then what only a resume would need goes. `planned` are the steps it was to make.

    In an installation with an object store the artefact is there before anybody can know of it.
    """
    digest, remote = fingerprint(result.artefact), storage.store()
    if remote is not None:
        remote.push(result.artefact, storage.key_of(result.artefact))
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
        climbing.advance(session, job, model)
        measured = {name: value for name, value in asdict(result).items() if name != "artefact"}
        ending.succeed(session, job.id, token, {"model": model.id, "planned_steps": planned, **measured})
    drop_resumable(attempt_folder(job).parent, result.artefact)
    if remote is not None:
        remote.remove(storage.checkpoint_key(attempt_folder(job).parent))
