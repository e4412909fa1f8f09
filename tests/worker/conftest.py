"""A tiny model registered as the foundation model, and a dataset it can learn."""

from pathlib import Path

import pytest

from app.db import transaction
from app.domain import dataset as datasets
from app.domain.access import Who, owned
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.model import Model
from app.settings import settings
from tests.engine.conftest import make_model, toy_rows


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("worker-models") / "tiny", seed=7)


@pytest.fixture
def base(person: Who, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The tiny model as the installation's foundation model. One thread: a model this small gains nothing from more."""
    monkeypatch.setenv("FETTLE_THREADS", "1")
    settings.cache_clear()
    settings().models_folder.mkdir(parents=True)
    (settings().models_folder / "tiny").symlink_to(tiny_folder)
    with transaction() as session:
        model = Model(**owned(person), name="Tiny", kind="foundation", folder="tiny", content_hash="0" * 64, parameters=30_000, alias="tiny")
        session.add(model)
        session.flush()
        return model


@pytest.fixture
def toys(person: Who) -> DatasetVersion:
    """60 train, 20 validation and 40 test rows whose label follows from one word."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name="toys")
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {})
        for position, (values, answer) in enumerate(toy_rows(120)):
            split = "train" if position < 60 else "validation" if position < 80 else "test"
            session.add(Example(version_id=version.id, position=position, line=None, split=split, input=values["input"], output=answer, cells=None))
        session.flush()
        datasets.seal(session, version)
        return version
