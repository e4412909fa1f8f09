"""/api/v1/judgements: planned, asked for, listed, read and deleted."""

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from tests.services.test_judgements import WORDS, graded, judged, two

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_the_whole_of_a_judgement(client: TestClient, person: Who) -> None:
    first, second, judge = two(person)
    body = {"evaluation": first, "other": second, "model": judge, "brief": {"text": "The kinder one."}}
    assert client.post("/api/v1/judgements/plan", json=body).json()["rows"] == 10
    made = client.post("/api/v1/judgements", json=body)
    assert made.status_code == 202 and made.json()["state"] == "queued" and made.json()["scores"] is None and made.json()["brief"]["text"] == "The kinder one."
    assert client.delete(f"/api/v1/judgements/{made.json()['id']}").status_code == 409
    assert client.post(f"/api/v1/jobs/{made.json()['job']}/cancel").status_code == 202
    assert client.delete(f"/api/v1/judgements/{made.json()['id']}").status_code == 204
    key = judged(person, first, second, judge, WORDS).judgement.id
    found = client.get(f"/api/v1/judgements/{key}").json()
    assert found["state"] == "succeeded" and found["scores"]["verdict"] == "cannot_tell" and found["scores"]["win_rate"]["value"] == pytest.approx(5.5 / 8)
    assert [one["id"] for one in client.get("/api/v1/judgements").json()["items"]] == [key]
    rows = client.get(f"/api/v1/judgements/{key}/rows?only=flip").json()
    assert rows["found"] == 2 and rows["counts"]["unread"] == 2 and rows["items"][0]["outcome"] == "tie" and rows["items"][0]["flip"]
    assert {order: one["value"] for order, one in rows["items"][0]["rulings"].items()} == {"ab": "a", "ba": "b"}


@pytest.mark.parametrize(("wrong", "status"), [({"brief": {"tone": "kind"}}, 422), ({"other": 99}, 404), ({"limit": 0}, 422), ({"nothing": 1}, 422)])
def test_what_is_refused_is_named(client: TestClient, person: Who, wrong: dict[str, object], status: int) -> None:
    first, second, judge = two(person)
    answer = client.post("/api/v1/judgements", json={"evaluation": first, "other": second, "model": judge, **wrong})
    assert answer.status_code == status and answer.json()["error"]["message"]


def test_people_grade_through_the_api(client: TestClient, person: Who) -> None:
    first, _, judge = two(person)
    key = graded(person, first, judge).judgement.id
    queue = client.get(f"/api/v1/judgements/{key}/queue?limit=3").json()
    assert len(queue["items"]) == 3 and queue["items"][0].keys() == {"example", "input", "reference", "answers"}
    example = queue["items"][0]["example"]
    assert client.post(f"/api/v1/judgements/{key}/rulings", json={"example": example, "value": "4"}).json() == {"mine": 1, "rows": 10, "people": 1}
    found = client.get(f"/api/v1/judgements/{key}").json()
    assert found["people"]["marked"] == 1 and found["scores"]["mean"]["value"] == pytest.approx(31 / 9) and "verdict" not in found["scores"]
    marked = [row for row in client.get(f"/api/v1/judgements/{key}/rows").json()["items"] if row["marks"]]
    assert [one["value"] for one in marked[0]["marks"]] == ["4"] and len(marked) == 1
    assert client.post(f"/api/v1/judgements/{key}/rulings", json={"example": example, "value": "9"}).status_code == 422
    assert client.post(f"/api/v1/judgements/{key}/rulings", json={"example": example, "value": None}).json()["mine"] == 0
