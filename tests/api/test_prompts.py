"""/api/v1/prompts over real databases: versions, differences, aliases, files."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from tests.rows import add_dataset, add_model

FIRST: dict[str, Any] = {"instruction": "Route it.", "shots": [{"input": "a", "output": "b"}]}


@pytest.fixture
def key(client: TestClient) -> int:
    made = client.post("/api/v1/prompts", json={"name": "Route: mails", "message": "first", **FIRST})
    client.post(f"/api/v1/prompts/{made.json()['id']}/versions", json={**FIRST, "instruction": "Route it well.", "message": "better", "based_on": 1})
    return int(made.json()["id"])


def test_versions_differences_and_restoring(client: TestClient, key: int) -> None:
    items = client.get(f"/api/v1/prompts/{key}/versions").json()["items"]
    assert [(item["version"], item["message"], item["author"]) for item in items] == [(2, "better", "Ada"), (1, "first", "Ada")]
    told = client.get(f"/api/v1/prompts/{key}/diff?from=1&to=2").json()
    changed = [section for section in told["sections"] if section["changed"]]
    assert [section["name"] for section in changed] == ["instruction"] and {"kind": "added", "text": " well"} in changed[0]["pieces"]
    whole = client.get(f"/api/v1/prompts/{key}/diff?from=1&to=2&by=line").json()["sections"][1]["pieces"]
    assert whole == [{"kind": "removed", "text": "Route it."}, {"kind": "added", "text": "Route it well."}]
    assert client.post(f"/api/v1/prompts/{key}/restore", json={"version": 1}).json() == {"id": key, "version": 3}
    assert client.post(f"/api/v1/prompts/{key}@1/duplicate", json={"name": "Copy"}).json()["version"] == 1
    assert client.patch(f"/api/v1/prompts/{key}", json={"name": "Routing"}).json()["name"] == "Routing"
    assert client.get(f"/api/v1/prompts/{key}/diff?from=1&to=9").status_code == 404


def test_saving_over_a_newer_version_is_a_conflict_with_both_in_hand(client: TestClient, key: int) -> None:
    answer = client.post(f"/api/v1/prompts/{key}/versions", json={**FIRST, "instruction": "Mine.", "based_on": 1})
    error = answer.json()["error"]
    assert answer.status_code == 409 and error["code"] == "newer_version" and error["newest"]["instruction"] == "Route it well."


def test_an_alias_is_taken_wherever_a_version_is(client: TestClient, person: Who, key: int) -> None:
    path = f"/api/v1/prompts/{key}/aliases/production"
    assert client.put(path, json={"version": 1}).json() == {"id": key, "version": 1, "alias": "production"}
    reference = f"{key}@production"
    assert client.get(f"/api/v1/prompts/{reference}").json()["version"] == 1
    model, data = add_model(person), add_dataset(person).reference
    body = {"kind": "tune", "model": model, "dataset": data, "method": "lora", "prompt_version": reference}
    job = client.post("/api/v1/jobs", json=body).json()["id"]
    assert client.get(f"/api/v1/jobs/{job}").json()["settings"]["prompt_version"] == f"{key}@1"
    made = client.post("/api/v1/evaluations", json={"model": model, "dataset": data, "split": "validation", "prompt_version": reference})
    assert made.json()["prompt_version"] == f"{key}@1", made.json()
    answer = client.post("/api/v1/generate", json={"model": model, "prompt_version": reference, "variables": {"input": "x"}})
    assert answer.json()["error"]["code"] == "engine_away", "the alias was found; only the engine is missing"
    for path_, body_ in (("experiments", {"name": "t", "dataset": data, "model": model, "rungs": [{"technique": "zero_shot", "prompt_version": reference}]}),):
        assert client.post(f"/api/v1/{path_}", json=body_).status_code == 202
    assert client.put(path, json={}).json()["version"] == 2
    assert client.delete(path).status_code == 204 and client.delete(path).status_code == 404
    told = client.get(f"/api/v1/prompts/{key}/aliases").json()
    assert told["aliases"] == {} and [(move["from"], move["to"], move["author"]) for move in told["moves"]] == [
        (2, None, "Ada"),
        (1, 2, "Ada"),
        (None, 1, "Ada"),
    ]
    assert client.get(f"/api/v1/prompts/{reference}").status_code == 404
    refused = client.put(f"/api/v1/prompts/{key}/aliases/Live", json={})
    assert refused.status_code == 422 and refused.json()["error"]["field"] == "alias"


def test_a_file_goes_out_and_in_without_loss_and_unknown_fields_are_named(client: TestClient, key: int) -> None:
    client.put(f"/api/v1/prompts/{key}/aliases/production", json={"version": 1})
    answer = client.get(f"/api/v1/prompts/{key}/export")
    assert 'filename="route-mails.prompt.json"' in answer.headers["content-disposition"]
    made = client.post("/api/v1/prompts/import", content=answer.content, headers={"Content-Type": "application/json"})
    assert made.status_code == 201 and client.get(f"/api/v1/prompts/{made.json()['id']}/export").content == answer.content
    told = answer.json()
    for change, field in (
        ({"colour": 1}, "colour"),
        ({"versions": [{**told["versions"][0], "tone": 1}]}, "versions.0.tone"),
        ({"versions": [{**told["versions"][0], "parameters": {"temperatur": 1}}]}, "versions.0.parameters.temperatur"),
        ({"format": "fettle.prompt/2"}, "format"),
    ):
        refused = client.post("/api/v1/prompts/import", json={**told, **change})
        assert refused.status_code == 422 and refused.json()["error"]["field"] == field
    assert len(client.get("/api/v1/prompts").json()["items"]) == 2


def test_deleting_is_refused_with_the_users_named_then_done(client: TestClient, person: Who, key: int) -> None:
    body = {"kind": "tune", "model": add_model(person), "dataset": add_dataset(person).reference, "method": "lora", "prompt_version": key}
    job = client.post("/api/v1/jobs", json=body).json()["id"]
    refused = client.delete(f"/api/v1/prompts/{key}")
    assert refused.status_code == 409 and [user["noun"] for user in refused.json()["error"]["users"]] == ["job"]
    client.post(f"/api/v1/jobs/{job}/cancel")
    assert client.delete(f"/api/v1/prompts/{key}").status_code == 204
    assert client.get(f"/api/v1/prompts/{key}").status_code == 404 and client.get(f"/api/v1/jobs/{job}").status_code == 404
