"""A base model whose folder holds another model than was registered is refused by name, however whole that other model is."""

from pathlib import Path

import pytest

from app import db
from app.db import reading, transaction
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.model import Model, register_tuned
from app.errors import Conflict
from app.services import evaluations, experiments, jobs, judgements, prompts
from app.services.generate import EngineError
from app.settings import settings
from tests.engine.conftest import make_model
from tests.rows import add_dataset, add_model
from tests.services.test_judgements import RUBRIC
from tests.services.test_predictions import FIRST, evaluated
from tests.worker.test_interactive import answered, ask
from tests.worker.test_parent import LONG, SHORT, running, start
from worker import models, parent, predictions
from worker.engine.folders import fingerprint, sealed_as, whole
from worker.tune import spec_of

pytestmark = pytest.mark.faults

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def exchange(folder: Path, *, sealed: bool) -> None:
    """Another model where the base was, as `fettle models add` writes one or as a person copies one."""
    folder.unlink()
    if sealed:
        with whole(folder) as box:
            make_model(box, seed=8)
    else:
        make_model(folder, seed=8)


def failed(person: Who, key: int) -> dict[str, str]:
    job = jobs.find(person, key).job
    assert job.state == "failed" and job.error is not None, job.state
    return job.error


@ONE
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("sealed", [True, False])
def test_an_exchanged_base_is_refused_by_jobs_and_by_the_engine(person: Who, base: Model, toys: DatasetVersion, sealed: bool) -> None:
    answered(ask(person, base, max_tokens=1))  # the engine has the right one in memory, which changes nothing
    folder = settings().models_folder / "tiny"
    exchange(folder, sealed=sealed)
    tune = start(person, base, toys, SHORT)
    prompt = prompts.create(person, "p", {"instruction": "Judge."})
    made = evaluations.create(person, model=base.id, prompt_version=prompt.reference, dataset=toys.dataset_id, split="validation")
    parent.drain("gpu")
    for error in (failed(person, tune), failed(person, made.job.id)):
        assert error["code"] == "files_changed" and "Tiny was exchanged" in error["message"] and str(folder) in error["message"]
        assert "backup" in error["advice"] and "fettle models add" in error["advice"]
    with pytest.raises(EngineError, match="Tiny was exchanged") as caught:
        answered(ask(person, base, max_tokens=1))
    assert caught.value.code == "files_changed"


@ONE
def test_a_run_does_not_go_on_from_its_checkpoint_over_an_exchanged_base(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, LONG)
    thread, _ = running(person, key)
    jobs.cancel(person, key)
    thread.join(90)
    assert jobs.find(person, key).job.state == "cancelled"
    exchange(settings().models_folder / "tiny", sealed=True)
    jobs.retry(person, key)
    assert parent.run_one("gpu") is True
    assert "Tiny was exchanged" in failed(person, key)["message"]


@ONE
@pytest.mark.usefixtures("engine")
def test_no_session_is_open_while_weights_are_hashed(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    tune = start(person, base, toys, SHORT)
    with transaction() as session:
        about = {"content_hash": "", "parameters": 1, "licence": "", "source": "", "trainable_parameters": 1, "training_seconds": 1.0}
        made_from = {"job_id": tune, "base_model_id": base.id, "prompt_version_id": None, "dataset_version_id": None}
        tuned = register_tuned(session, person, name="m", folder="nowhere", method="lora", method_parameters={}, **about, **made_from)
    held = []

    def hashed(folder: Path) -> str:
        held.append(db.engine().pool.checkedout())  # type: ignore[attr-defined]
        return sealed_as(folder)

    monkeypatch.setattr("worker.weights.sealed_as", hashed)
    spec_of(jobs.find(person, tune).job)
    predictions.weights(tuned)
    answered(ask(person, base, max_tokens=1))
    assert held == [0, 0, 0]


@ONE
def test_a_base_whose_folder_was_deleted_is_said_to_be_missing(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = start(person, base, toys, SHORT)
    (settings().models_folder / "tiny").unlink()
    assert parent.run_one("gpu") is True
    assert failed(person, key) == {"code": "model_missing", "message": "There is no model at tiny.", "advice": "Add the model again."}


def test_another_model_is_not_added_in_the_place_of_one_that_something_was_made_with(
    person: Who, base: Model, toys: DatasetVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings().models_folder / "tiny").unlink()
    other = make_model(tmp_path / "others" / "tiny", seed=8)
    key = start(person, base, toys, SHORT)
    with pytest.raises(Conflict, match=r"Tiny is registered with other files than those in .*/others/tiny, and 1 job was made with it") as caught:
        models.add(other, "", "", "")
    assert "Rename the folder" in caught.value.advice and not (settings().models_folder / "tiny").exists()
    assert "copying" not in capsys.readouterr().out, "what can be known before is said before"
    with reading() as session:
        assert session.get_one(Model, base.id).content_hash == base.content_hash
    jobs.cancel(person, key)
    with transaction() as session:
        session.delete(session.get_one(type(jobs.find(person, key).job), key))
    models.add(other, "", "", "")
    with reading() as session:
        assert session.get_one(Model, base.id).content_hash == fingerprint(other), "nothing goes by the files that were there"


def test_the_registered_files_come_back_although_much_was_made_with_them(person: Who, base: Model, tiny_folder: Path) -> None:
    evaluated(person, add_dataset(person).reference, FIRST, model=base.id)
    (settings().models_folder / "tiny").unlink()
    models.add(tiny_folder, "", "", "")
    with reading() as session:
        assert session.get_one(Model, base.id).content_hash == fingerprint(settings().models_folder / "tiny") == base.content_hash


def test_comparisons_and_judgements_count_as_made_with_a_model(person: Who, base: Model, toys: DatasetVersion) -> None:
    experiments.create(person, name="toys", dataset=toys.dataset_id, model=base.id, rungs=[{"technique": "zero_shot"}])
    answers = evaluated(person, add_dataset(person).reference, FIRST, model=add_model(person))
    judgements.create(person, evaluation=answers, other=None, model=base.id, kind="rubric", brief=RUBRIC)
    (settings().models_folder / "tiny").unlink()
    other = make_model(settings().models_folder / "tiny", seed=8)
    with pytest.raises(Conflict, match=r"and .*, 1 experiment, 1 judgement, \d+ jobs were made with it"):
        models.register(other, name="Tiny", alias=None, licence="", source="")
