"""A client of the JSON API with a real token, over the real application."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.services import accounts


@pytest.fixture
def anonymous(database: str, broker: str) -> Iterator[TestClient]:
    """The application, asked by nobody in particular. Its dispatcher thread runs."""
    from app.main import create_app

    with TestClient(create_app(), base_url="http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, person: Who) -> TestClient:
    """The same with the API token of `person`."""
    anonymous.headers["Authorization"] = f"Bearer {accounts.create_token(person, 'tests')}"
    return anonymous
