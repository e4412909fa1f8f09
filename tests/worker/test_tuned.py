"""What is tuned through a job, from the request to the registered model and its scores: a model of two halves, and one run over two processes."""

import json
from pathlib import Path

import pytest

from app.db import transaction
from app.domain.access import Who, owned
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from app.services import evaluations, jobs
from app.services.jobs import JobView
from app.settings import settings
from tests.engine.conftest import make_translator
from tests.worker.test_parent import SHORT
from worker import parent
from worker.engine.folders import fingerprint

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def halves_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_translator(tmp_path_factory.mktemp("worker-models") / "halves", seed=7)


@pytest.fixture
def halves(person: Who, base: Model, halves_folder: Path) -> Model:
    """An encoder-decoder beside the tiny model."""
    (settings().models_folder / "halves").symlink_to(halves_folder)
    with transaction() as session:
        found = fingerprint(halves_folder)
        model = Model(
            **owned(person), name="Halves", kind="foundation", folder="halves", content_hash=found, parameters=30_000, encoder_decoder=True, alias="halves"
        )
        session.add(model)
        session.flush()
        return model


def tuned(person: Who, model: Model, toys: DatasetVersion, method: str, **parameters: object) -> JobView:
    """A tuning job, run to its end."""
    wanted = {name: value for name, value in SHORT.items() if name != "rank" or method == "lora"} | parameters
    key = jobs.start_tune(person, model=model.id, dataset=toys.dataset_id, method=method, parameters=wanted, prompt_version=None, seed=1).job.id
    parent.drain("gpu")
    view = jobs.find(person, key)
    assert view.job.state == "succeeded" and view.model is not None, view.job.error
    return view


def validated(person: Who, view: JobView) -> list[float]:
    """The loss on validation rows, untuned first."""
    return [point.value for point in jobs.points(person, view.job.id) if point.name == "validation_loss"]


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "prefix", "p_tuning", "full"])
def test_a_model_of_two_halves_is_tuned_and_scored_by_its_decoder(person: Who, halves: Model, toys: DatasetVersion, method: str) -> None:
    view = tuned(person, halves, toys, method)
    before, after = validated(person, view)[0], validated(person, view)[-1]
    if method in ("lora", "full"):
        assert after < 0.9 * before, "it has learnt"
    assert after != before, "twelve steps of a soft prompt teach a random model nothing, but it is no longer what it was"
    assert view.model is not None
    for answer in ("likelihood", "generate"):
        scored = evaluations.create(person, model=str(view.model.id), prompt_version=None, dataset=toys.reference, answer=answer)
        parent.drain("gpu")
        found = evaluations.of_job(person, scored.job.id)
        assert found is not None and found.scores is not None and found.scores["n"] == 40, jobs.find(person, scored.job.id).job.error


def test_a_run_over_two_processes_ends_as_one_over_one(person: Who, base: Model, toys: DatasetVersion) -> None:
    exact = {"precision": "float32", "dropout": 0.0}
    one, two = (tuned(person, base, toys, "lora", devices=count, **exact) for count in (1, 2))
    curves = [[(point.step, point.value) for point in jobs.points(person, view.job.id) if point.name == "loss"] for view in (one, two)]
    assert [step for step, _ in curves[1]] == list(range(1, 13))
    assert [value for _, value in curves[1]] == pytest.approx([value for _, value in curves[0]], rel=1e-4)
    assert validated(person, two) == pytest.approx(validated(person, one), rel=1e-3)
    assert two.model is not None
    assert json.loads((settings().storage_folder / two.model.folder / "run.json").read_text())["devices"] == 2
