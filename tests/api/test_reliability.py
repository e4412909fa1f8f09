"""/api/v1/reliability: planned, asked for, listed, read and deleted."""

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from tests.services.test_predictions import FIRST
from tests.services.test_reliability import OTHER, base, checked

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_the_whole_of_a_check(client: TestClient, person: Who) -> None:
    key = base(person)
    plan = client.post("/api/v1/reliability/plan", json={"evaluation": key, "forms": 2}).json()
    assert plan["runs"] == 2 and plan["rows"] == 20 and "construction" in plan["equal"] and len(plan["forms"]) == 3
    made = client.post("/api/v1/reliability", json={"evaluation": key, "forms": 2})
    assert made.status_code == 202 and made.json()["state"] == "queued" and made.json()["scores"] is None
    assert [run["form"] for run in made.json()["runs"]] == [one["form"] for one in plan["forms"]]
    assert client.delete(f"/api/v1/reliability/{made.json()['id']}").status_code == 409
    assert client.post(f"/api/v1/jobs/{made.json()['job']}/cancel").status_code == 202
    assert client.delete(f"/api/v1/reliability/{made.json()['id']}").status_code == 204
    check = checked(person, key, [FIRST, OTHER], forms=2).check.id
    found = client.get(f"/api/v1/reliability/{check}").json()
    assert found["state"] == "succeeded" and found["scores"]["forms"]["same"]["count"] == 9
    assert [one["id"] for one in client.get("/api/v1/reliability").json()["items"]] == [check]
    assert [one["id"] for one in client.get("/api/v1/evaluations").json()["items"]] == [key]
    rows = client.get(f"/api/v1/reliability/{check}/rows?only=forms").json()
    assert rows["found"] == 1 and [one["answer"] for one in rows["items"][0]["answers"]] == ["billing", "billing", "delivery"]
    assert client.get(f"/api/v1/reliability/{check}/rows?only=none").status_code == 422


@pytest.mark.parametrize(("wrong", "status"), [({"repeats": 1}, 422), ({"evaluation": 99}, 404), ({"forms": 21}, 422), ({"nothing": 1}, 422)])
def test_what_is_refused_is_named(client: TestClient, person: Who, wrong: dict[str, object], status: int) -> None:
    answer = client.post("/api/v1/reliability", json={"evaluation": base(person), **wrong})
    assert answer.status_code == status and answer.json()["error"]["message"]
