"""A client of the JSON API with a real token, over the real application."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import queue
from app.db import transaction
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.model import Model
from app.services import accounts
from tests.worker.conftest import base, tiny_folder, toys

__all__ = ["base", "tiny_folder", "toys"]


@pytest.fixture
def anonymous(database: str, broker: str, application: FastAPI) -> Iterator[TestClient]:
    """The application, asked by nobody in particular. Its dispatcher thread runs."""
    del database, broker
    with TestClient(application, base_url="http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, person: Who) -> TestClient:
    """The same with the API token of `person`."""
    anonymous.headers["Authorization"] = f"Bearer {accounts.create_token(person, 'tests')}"
    return anonymous


@pytest.fixture
def engine(client: TestClient, base: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The same with an engine: its door, its scheduler and a tiny model in this process, everything between over the real broker but Celery."""
    from worker import interactive

    for cache in (queue._redis, interactive._redis, interactive._scheduler):
        cache.cache_clear()
    with transaction() as session:
        workers.present(session, "here/interactive", "engine", "interactive", [{"name": "cpu:0"}], {})
    monkeypatch.setattr(queue, "_send", lambda task, name, arguments: interactive.generate(*arguments))
    yield client
    interactive.close()
    for cached in (queue._redis, interactive._redis):
        if cached.cache_info().currsize:
            cached().close()
