"""A tiny model registered as the foundation model, and a dataset it can learn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app import queue
from app.db import transaction
from app.domain import worker as workers
from app.domain.access import Who, owned
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from app.settings import settings
from tests.engine.conftest import make_model, toy_rows
from tests.rows import add_rows
from worker import interactive
from worker.engine.folders import fingerprint

HOUR_MS = 3_600_000


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
        model = Model(**owned(person), name="Tiny", kind="foundation", folder="tiny", content_hash=fingerprint(tiny_folder), parameters=30_000, alias="tiny")
        session.add(model)
        session.flush()
        return model


@pytest.fixture
def toys(person: Who) -> DatasetVersion:
    """60 train, 20 validation and 40 test rows whose label follows from one word."""
    splits = ["train"] * 60 + ["validation"] * 20 + ["test"] * 40
    return add_rows(person, "toys", [(values["input"], answer, split) for (values, answer), split in zip(toy_rows(120), splits, strict=True)])


@pytest.fixture
def engine(broker: str, base: Model) -> Iterator[None]:
    """An engine process that says it is there, with connections and a scheduler of this test's broker. The test plays its tasks."""
    for cache in (queue._celery, queue._redis, interactive._redis, interactive._scheduler):
        cache.cache_clear()
    with transaction() as session:
        workers.present(session, "here/interactive", "engine", "interactive", [{"name": "cpu:0"}], {})
        # Nobody says so again every few seconds: it is there for as long as the test takes, also on a machine that is busy.
        session.execute(update(workers.Worker).values(heartbeat_at=workers.Worker.heartbeat_at + HOUR_MS))
    yield
    interactive.close()
    for cached in (queue._redis, interactive._redis):
        if cached.cache_info().currsize:
            cached().close()
