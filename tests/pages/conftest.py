"""A browser without a screen: the real application, and an account made through the real welcome link."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import user as users
from app.domain.access import Who

PASSWORD = "four plain words here"


@pytest.fixture
def visitor(database: str, application: FastAPI) -> TestClient:
    """Somebody who is not signed in. The dispatcher does not run: nothing here needs a broker."""
    del database
    return TestClient(application, base_url="http://localhost", follow_redirects=False, headers={"Sec-Fetch-Site": "same-origin"})


@pytest.fixture
def browser(visitor: TestClient, person: Who) -> TestClient:
    """An administrator beside `person`, in the same workspace, signed in through a one-time link."""
    del person
    with transaction() as session:
        secret = users.invite(session, "admin")
    response = visitor.post(f"/welcome/{secret}", data={"name": "Grace", "password": PASSWORD})
    assert response.status_code == 303
    return visitor
