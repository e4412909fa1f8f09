"""The queue over the API: many at once, clones, moves, priorities, pauses, workers."""

from starlette.testclient import TestClient

from app.db import transaction
from app.domain import worker as workers
from app.domain.access import Who
from app.services import jobs
from tests.rows import add_dataset, add_model, claim


def body(person: Who, **more: object) -> dict[str, object]:
    return {"kind": "tune", "model": add_model(person, f"m{len(more)}"), "dataset": add_dataset(person).dataset_id, "method": "lora", "seed": 1, **more}


def order(client: TestClient) -> list[int]:
    rows = client.get("/api/v1/jobs", params={"state": "queued"}).json()["items"]
    return [row["id"] for row in sorted(rows, key=lambda row: row["position"])]


def test_a_list_of_settings_becomes_jobs_or_is_refused_whole(client: TestClient, person: Who) -> None:
    base = body(person)
    started = client.post("/api/v1/jobs/many", json={"items": [base | {"parameters": {"rank": rank}} for rank in (4, 8, 16)]})
    assert started.status_code == 202 and [one["position"] for one in started.json()["items"]] == [1, 2, 3]
    refused = client.post("/api/v1/jobs/many", json={"items": [base, base | {"parameters": {"rank": 0}}]})
    assert refused.status_code == 422 and refused.json()["error"]["item"] == 2
    assert client.post("/api/v1/jobs/many", json={"items": []}).status_code == 422
    assert len(client.get("/api/v1/jobs").json()["items"]) == 3


def test_jobs_are_moved_and_given_priorities(client: TestClient, person: Who) -> None:
    items = client.post("/api/v1/jobs/many", json={"items": [body(person)] * 3}).json()["items"]
    first, second, third = (one["id"] for one in items)
    moved = client.post(f"/api/v1/jobs/{third}/move", json={"to": "up"})
    assert moved.status_code == 202 and moved.json()["position"] == 2 and order(client) == [first, third, second]
    assert client.patch(f"/api/v1/jobs/{second}", json={"priority": 9}).json()["position"] == 1
    assert client.post(f"/api/v1/jobs/{first}/move", json={"to": "across"}).status_code == 422
    assert client.patch(f"/api/v1/jobs/{first}", json={"priority": 101}).status_code == 422
    with transaction() as session:
        assert claim(session).id == second
    assert client.post(f"/api/v1/jobs/{second}/move", json={"to": "last"}).json()["error"]["code"] == "not_waiting"
    assert client.get("/api/v1/jobs", params={"state": "lost"}).status_code == 422


def test_queues_are_paused_resumed_and_listed(client: TestClient, person: Who) -> None:
    client.post("/api/v1/jobs", json=body(person))
    paused = client.post("/api/v1/queues/gpu/pause").json()
    assert paused["paused"]["by"] == person.name and paused["waiting"] == 1 and paused["served"] is False
    assert [row["name"] for row in client.get("/api/v1/queues").json()["items"]] == ["gpu", "light"]
    assert client.post("/api/v1/queues/gpu/resume").json()["paused"] is None
    assert client.post("/api/v1/queues/tpu/pause").status_code == 422


def test_a_clone_changes_what_it_names_and_nothing_else(client: TestClient, person: Who) -> None:
    key = client.post("/api/v1/jobs", json=body(person, parameters={"rank": 4, "epochs": 3.0})).json()["id"]
    clone = client.post(f"/api/v1/jobs/{key}/clone", json={"parameters": {"rank": 8}, "seed": 5, "priority": 2}).json()
    old = client.get(f"/api/v1/jobs/{key}").json()
    assert clone["cloned_from"] == key and clone["priority"] == 2 and clone["settings"]["seed"] == 5
    assert clone["settings"]["parameters"] == old["settings"]["parameters"] | {"rank": 8}
    other = client.post(f"/api/v1/jobs/{key}/clone", json={"method": "prefix"}).json()
    assert other["settings"]["method"] == "prefix" and other["settings"]["parameters"]["epochs"] == 3.0 and "rank" not in other["settings"]["parameters"]
    assert client.post(f"/api/v1/jobs/{key}/clone").json()["settings"] == old["settings"]
    assert client.post(f"/api/v1/jobs/{key}/clone", json={"colour": 1}).status_code == 422


def test_workers_say_what_they_have_and_do(client: TestClient, person: Who) -> None:
    client.post("/api/v1/jobs", json=body(person))
    with transaction() as session:
        workers.present(session, "test-worker/gpu", "worker", "gpu", [{"name": "cpu:0", "memory": 8, "used": 4}], {"torch": "2.13.0"})
        key = claim(session).id
    (row,) = client.get("/api/v1/workers").json()["items"]
    assert row["job"] == key and row["alive"] is True and row["devices"][0]["used"] == 4 and row["versions"] == {"torch": "2.13.0"}
    assert jobs.find(person, key).workers == 1
