"""What is deleted is gone with everything of its own, and nothing goes that something else stands on."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app import storage
from app.db import reading
from app.domain.access import Who
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import ACTIVE, Job
from app.domain.model import Model
from app.errors import Conflict, Unavailable
from app.services import discarding, evaluations, experiments, jobs, removal
from app.settings import settings
from app.storage import Store, model_key
from tests.installation import free_port
from tests.rows import add_dataset, add_model, climb


@pytest.fixture
def ladder(person: Who) -> int:
    """A finished comparison of a prompt and a tuned model."""
    model, version = add_model(person), add_dataset(person)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora"}]
    key = experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=rungs)
    for _ in range(3):
        climb(20, queue="light")
        climb(10, 29)
    assert experiments.find(person, key).state == "finished"
    return key


def count(table: type[Any]) -> int:
    with reading() as session:
        return int(session.scalar(select(func.count()).select_from(table)) or 0)


def tuned() -> Model:
    with reading() as session:
        return session.scalars(select(Model).where(Model.kind == "tuned")).one()


def folder_of(job: int) -> Path:
    folder = settings().storage_folder / "jobs" / str(job)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "process.log").write_text("a line")
    return folder


def test_a_comparison_goes_with_its_figures_and_leaves_the_models_tuned_for_it(person: Who, ladder: int) -> None:
    made = tuned()
    scored = [row.evaluation_job for row in experiments.find(person, ladder).rows if row.evaluation_job]
    folders = [folder_of(job.id) for job in scored]
    discarding.experiment(person, ladder)
    assert (count(Evaluation), count(Prediction)) == (0, 0) and not any(folder.exists() for folder in folders)
    assert tuned().id == made.id and jobs.find(person, made.job_id or 0).job.kind == "tune"
    discarding.model(person, made.id)
    discarding.job(person, made.job_id or 0)
    assert count(Job) == 0


def test_what_a_comparison_stands_on_stays(person: Who, ladder: int) -> None:
    made, row = tuned(), experiments.find(person, ladder).rows[0]
    assert row.evaluation is not None and row.evaluation_job is not None
    for remove, key in ((discarding.model, made.id), (discarding.evaluation, row.evaluation.id), (discarding.job, row.evaluation_job.id)):
        with pytest.raises(Conflict, match=rf"is used by experiment {ladder} \(tickets\)"):
            remove(person, key)
    with pytest.raises(Conflict, match=rf"is used by model {made.id}"):
        discarding.job(person, made.job_id or 0)
    with pytest.raises(Conflict, match=rf"is used by model {made.id}"):
        discarding.model(person, made.base_model_id or 0)
    assert experiments.find(person, ladder).state == "finished"


def test_what_is_not_over_stays(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    key = experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=[{"technique": "zero_shot"}])
    with pytest.raises(Conflict, match="queued"):
        discarding.experiment(person, key)
    for row in jobs.recent(person, states=ACTIVE)[0]:
        with pytest.raises(Conflict, match="queued"):
            discarding.job(person, row.id)
        jobs.cancel(person, row.id)
    discarding.experiment(person, key)
    assert count(Job) == count(Evaluation) == 0


def test_a_single_evaluation_goes_with_its_job_and_a_model_with_everything_of_its_own(person: Who, ladder: int) -> None:
    made, version = tuned(), experiments.find(person, ladder).version
    discarding.experiment(person, ladder)
    wanted: dict[str, Any] = {"model": made.id, "prompt_version": None, "dataset": version.reference, "split": "validation", "answer": "likelihood"}
    one, other = (evaluations.create(person, **wanted) for _ in range(2))
    with pytest.raises(Conflict, match="queued"):
        discarding.model(person, made.id)
    for view in (one, other):
        jobs.cancel(person, view.job.id)
    discarding.evaluation(person, one.evaluation.id)
    assert count(Evaluation) == 1
    artefact = settings().storage_folder / made.folder
    artefact.mkdir(parents=True, exist_ok=True)
    discarding.model(person, made.id)
    assert count(Evaluation) == 0 and not artefact.exists()
    assert [row.kind for row in jobs.recent(person, None, 10)[0]] == ["tune"]


def in_store(*keys: str) -> Store:
    """A store that has a file under each key, pushed as a worker does."""
    store = storage.store()
    assert store is not None
    for number, key in enumerate(keys):
        folder = settings().folder / f"pushed-{number}"
        folder.mkdir(parents=True)
        (folder / "weights").write_text("w")
        store.push(folder, key)
    return store


def test_what_is_deleted_goes_from_the_object_store_too_and_nothing_else(person: Who, ladder: int, bucket: str) -> None:
    made = tuned()
    base, job, next_to_it = made.base_model_id or 0, made.job_id or 0, (made.job_id or 0) * 10
    kept = ("jobs/999", f"checkpoints/jobs/{next_to_it}", "models/" + "f" * 64)
    keys = (f"{made.folder}/artefact", f"exports/model-{made.id}", f"checkpoints/jobs/{job}/attempt-1", model_key("0" * 64))
    store = in_store(*keys, *kept)
    discarding.experiment(person, ladder)
    discarding.model(person, made.id)
    assert [store.has(key) for key in keys] == [False, False, False, True], "the base model is there for others"
    discarding.job(person, job)
    discarding.model(person, base)
    assert not any(store.has(key) for key in keys) and all(store.has(key) for key in kept)


def test_a_base_model_stays_in_the_store_while_another_row_has_the_same_content(person: Who, bucket: str) -> None:
    one, other = add_model(person), add_model(person, "Twin", "twin")
    store = in_store(model_key("0" * 64))
    discarding.model(person, one)
    assert store.has(model_key("0" * 64))
    discarding.model(person, other)
    assert not store.has(model_key("0" * 64))


def test_a_dataset_takes_the_files_of_its_jobs_out_of_the_store(person: Who, bucket: str) -> None:
    version = add_dataset(person)
    wanted: dict[str, Any] = {"model": add_model(person), "method": "lora", "parameters": {}, "prompt_version": None, "seed": 1}
    job = jobs.start_tune(person, dataset=version.dataset_id, **wanted).job
    jobs.cancel(person, job.id)
    store = in_store(f"checkpoints/jobs/{job.id}/attempt-1", f"checkpoints/jobs/{job.id}0/attempt-1")
    removal.remove(person, version.dataset_id)
    assert store.names("checkpoints/jobs") == [f"{job.id}0"]


def test_nothing_is_deleted_while_the_store_does_not_answer(person: Who, ladder: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    storage.store.cache_clear()
    made, version = tuned(), experiments.find(person, ladder).version
    removals: list[tuple[Any, int]] = [(discarding.experiment, ladder), (discarding.model, made.id), (removal.remove, version.dataset_id)]
    for remove, key in removals:
        with pytest.raises(Unavailable, match="cannot be used"):
            remove(person, key)
    assert experiments.find(person, ladder).state == "finished" and tuned().id == made.id
