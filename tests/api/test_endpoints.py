"""Endpoints through the API: who may register, where they may be, where a key goes, and what a remote model answers."""

import json
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app import queue
from app.db import transaction
from app.domain.access import Who
from app.domain.user import User, Workspace, new_token
from app.settings import settings
from tests.remote.fault_server import SECRET
from tests.remote.servers import Server
from tests.rows import add_dataset

KEY = "sesame"
BASE = "/api/v1/endpoints"


@pytest.fixture(autouse=True)
def places(model_server: Server, fault_server: Server, monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    """Both test servers are allowed by name, as an administrator of the machine would."""
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place, fault_server.place]))
    settings.cache_clear()
    queue._redis.cache_clear()


def add(client: TestClient, server: Server, path: str = "v1", **more: Any) -> dict[str, Any]:
    answer = client.post(BASE, json={"name": "there", "url": f"{server.address}/{path}", "key": KEY, **more})
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def member(client: TestClient, role: str = "member", workspace: int | None = None) -> TestClient:
    """Another person's client over the same application."""
    with transaction() as session:
        circle = session.get_one(Workspace, workspace) if workspace else session.query(Workspace).one()
        user = User(workspace_id=circle.id, name=f"Mem{role}{workspace}", password_hash="!", role=role, disabled_at=None, seen_at=None)
        session.add(user)
        session.flush()
        secret = new_token(session, user, "tests")[1]
    return TestClient(client.app, base_url="http://localhost", headers={"Authorization": f"Bearer {secret}"})


def test_an_endpoint_is_registered_tested_and_its_models_are_taken(client: TestClient, model_server: Server) -> None:
    row = add(client, model_server, prices={"tiny": {"input": 1.0, "output": 2.0}}, models=["tiny"], concurrency=2, time_out=30)
    assert row["has_key"] and KEY not in json.dumps(row) and row["models"] == [{"id": 1, "name": "tiny", "slug": "there/tiny"}]
    found = client.post(f"{BASE}/{row['id']}/test").json()
    assert found["ok"] and found["models"] == ["tiny"] and found["chat"] and found["completions"] and found["likelihood"] and found["latency_ms"] > 0
    shown = client.get(f"{BASE}/{row['id']}").json()
    assert shown["probe"] == found and shown["tested_at"] and client.get(BASE).json()["items"] == [shown]
    assert "there/tiny" in [one["id"] for one in client.get("/v1/models").json()["data"]]


@pytest.mark.parametrize("model", [1, "there/tiny"])
def test_a_remote_model_answers_with_tokens_latency_and_cost(client: TestClient, model_server: Server, model: int | str) -> None:
    add(client, model_server, prices={"*": {"input": 5e5, "output": 1e6}}, models=["tiny"])
    body = {"model": model, "prompt": {"instruction": "Judge."}, "variables": {"input": "the plot"}, "parameters": {"max_tokens": 5}}
    whole = client.post("/api/v1/generate", json=body).json()
    assert whole["output_tokens"] <= 5 and whole["cost"] == whole["input_tokens"] / 2 + whole["output_tokens"] and whole["latency_ms"] > 0
    with client.stream("POST", "/api/v1/generate", json={**body, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert "event: accepted" in lines[0] and "".join(event.get("text", "") for event in events) == whole["text"]
    assert "event: done" in lines and events[-1]["cost"] == whole["cost"]
    counted = client.post("/api/v1/generate/count", json=body).json()
    assert counted["estimated"] and counted["total"] > 3


def test_a_remote_model_gives_several_answers_and_is_held_to_a_list_but_not_to_an_expression(client: TestClient, model_server: Server) -> None:
    add(client, model_server, models=["tiny"])
    body: dict[str, Any] = {"model": "there/tiny", "prompt": {"instruction": "Judge."}, "variables": {"input": "the plot"}}
    several = client.post("/api/v1/generate", json={**body, "parameters": {"max_tokens": 3, "n": 2, "logprobs": 1}}).json()
    assert len(several["texts"]) == len(several["answers"]) == len(several["logprobs"]) == 2 and several["logprobs"][0][0]["logprob"] < 0
    held = client.post("/api/v1/generate", json={**body, "parameters": {"max_tokens": 60, "choices": ["refund", "billing"]}}).json()
    assert held["text"] in ("refund", "billing")
    before = model_server.ask("/served")
    refused = client.post("/api/v1/generate", json={**body, "parameters": {"regex": "[0-9]+"}})
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "regex_not_remote" and model_server.ask("/served") == before


def test_v1_passes_chats_and_raw_text_on(client: TestClient, model_server: Server) -> None:
    row = add(client, model_server, models=["tiny"])
    client.post(f"{BASE}/{row['id']}/test")
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "the plot"}]
    chat = client.post("/v1/chat/completions", json={"model": "there/tiny", "messages": turns, "max_tokens": 4, "temperature": 0})
    assert chat.status_code == 200 and chat.json()["usage"]["completion_tokens"] == 4
    raw = client.post("/v1/completions", json={"model": "there/tiny", "prompt": "the plot is {very", "max_tokens": 4, "temperature": 0})
    assert raw.status_code == 200 and raw.json()["choices"][0]["text"]


def test_a_stop_ends_the_request_at_the_endpoint(client: TestClient, fault_server: Server) -> None:
    add(client, fault_server, "endless/v1", models=["m"])
    body = {"model": "there/m", "prompt": {"mode": "chat", "messages": [{"role": "user", "content": "go"}]}, "stream": True}
    events = []
    with client.stream("POST", "/api/v1/generate", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if len(events) == 1:
                    assert client.post(f"/api/v1/generate/{events[0]['request']}/stop").status_code == 204
    assert events[-1]["reason"] == "cancelled" and events[-1]["estimated"] and len(events) < 40


def test_a_run_that_was_stopped_says_how_long_it_ran(client: TestClient, fault_server: Server) -> None:
    add(client, fault_server, "endless/v1", models=["m"], prices={"*": {"input": 1.0, "output": 1.0}})
    body = {"model": "there/m", "session": "s", "prompt": {"mode": "chat", "messages": [{"role": "user", "content": "go"}]}, "stream": True}
    told: dict[str, Any] = {}
    with client.stream("POST", "/api/v1/generate", json=body) as answer:
        lines = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: "))
        request = next(lines)["request"]
        for count, told in enumerate(lines):  # noqa: B007 the last one is looked at
            if count == 8:  # it writes every 50 ms
                client.post(f"/api/v1/generate/{request}/stop")
    assert told["reason"] == "cancelled" and 350 < told["latency_ms"] < 30_000 and told["waited_ms"] < 5_000 and told["tries"] == 1
    [run] = client.get("/api/v1/notebook").json()["items"]
    assert run["latency_ms"] == told["latency_ms"] and run["cost"] == told["cost"] > 0


def test_the_first_event_decides_the_status(client: TestClient, fault_server: Server) -> None:
    add(client, fault_server, "page/v1", models=["m"], time_out=1)
    answer = client.post("/api/v1/generate", json={"model": "there/m", "prompt": {"instruction": "x"}, "variables": {"input": "y"}, "stream": True})
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "endpoint_failed"
    assert "answered 500" in answer.json()["error"]["message"] and SECRET not in answer.text


# ---- the rows of the gauntlet ----


@pytest.mark.security
@pytest.mark.parametrize("field", ["api_base", "base_url", "endpoint", "organization", "extra_headers", "url"])
def test_f1_a_request_cannot_say_where_it_goes(client: TestClient, fault_server: Server, field: str) -> None:
    before = len(fault_server.requests())
    value: Any = {"X": "y"} if field == "extra_headers" else fault_server.address
    chat = client.post("/v1/chat/completions", json={"model": "x", "messages": [{"role": "user", "content": "hi"}], field: value})
    assert chat.status_code == 400 and field in chat.json()["error"]["message"]
    for path, body in (
        ("experiments", {"dataset": 1, "model": 1, "rungs": [{"technique": "zero_shot"}]}),
        ("generate", {"model": 1}),
        ("evaluations", {"model": 1, "dataset": 1}),
    ):
        answer = client.post(f"/api/v1/{path}", json={**body, field: value})
        assert answer.status_code == 422 and field in answer.json()["error"]["message"]
    assert len(fault_server.requests()) == before


@pytest.mark.security
def test_f2_a_key_stays_with_its_scheme_host_and_port(client: TestClient, model_server: Server, fault_server: Server) -> None:
    row = add(client, model_server)
    moved = client.patch(f"{BASE}/{row['id']}", json={"url": f"{fault_server.address}/fine/v1"})
    assert moved.status_code == 422 and moved.json()["error"]["code"] == "key_needed"
    assert client.get(f"{BASE}/{row['id']}").json() == row, "nothing was changed"
    assert client.patch(f"{BASE}/{row['id']}", json={"url": f"{fault_server.address}/fine/v1", "key": ""}).json()["has_key"] is False
    client.post(f"{BASE}/{row['id']}/test", json={"model": "m"})
    assert all("authorization" not in one["headers"] for one in fault_server.requests("fine"))
    kept = add(client, model_server, name="kept")
    assert client.patch(f"{BASE}/{kept['id']}", json={"url": f"{model_server.address}/plain/v1"}).json()["has_key"], "another path is the same place"


@pytest.mark.security
def test_f2_a_key_moved_in_the_database_opens_to_nothing(client: TestClient, model_server: Server, fault_server: Server) -> None:
    row = add(client, model_server)
    with transaction() as session:
        stored = session.execute(text("SELECT sealed_key FROM endpoint")).scalar_one()
        session.execute(text("UPDATE endpoint SET url = :url, origin = :origin"), {"url": f"{fault_server.address}/fine/v1", "origin": fault_server.address})
    assert KEY not in stored
    before = len(fault_server.requests())
    found = client.post(f"{BASE}/{row['id']}/test", json={"model": "m"}).json()
    assert found["error"]["code"] == "key_unreadable" and len(fault_server.requests()) == before


@pytest.mark.security
@pytest.mark.parametrize(
    "url",
    [
        "http://allowed.example\\@127.0.0.1:6379/", "http://allowed#@127.0.0.1", "http://127.0.0.1:80\\@allowed/", "http://al\tlowed/", "http://127.1", "http://0x7f000001",
        "http://2130706433", "http://0", "http://0.0.0.0", "http://[::1]", "http://[::ffff:127.0.0.1]", "http://[fe80::1]", "http://169.254.169.254", "http://100.64.0.1",
        "http://localhost.", "http://localhost", "http://１２７.0.0.1", "http://user:pw@host",
    ],
)  # fmt: skip
def test_f4_f6_an_address_inside_is_refused_when_it_is_entered(client: TestClient, url: str) -> None:
    answer = client.post(BASE, json={"name": "inside", "url": url})
    assert answer.status_code == 422 and answer.json()["error"]["field"] == "url" and answer.json()["error"]["advice"]
    assert client.get(BASE).json()["items"] == []


@pytest.mark.security
def test_f8_only_administrators_register_and_another_circle_sees_nothing(client: TestClient, model_server: Server) -> None:
    row = add(client, model_server, models=["tiny"])
    other = member(client)
    for method, path, body in (
        ("POST", BASE, {"name": "mine", "url": model_server.address}),
        ("PATCH", f"{BASE}/{row['id']}", {"name": "mine"}),
        ("DELETE", f"{BASE}/{row['id']}", None),
        ("POST", f"{BASE}/{row['id']}/test", {}),
    ):
        assert other.request(method, path, json=body).status_code == 403, path
    assert other.get(BASE).json()["items"][0]["name"] == "there", "members see what there is"
    with transaction() as session:
        session.add(Workspace(name="elsewhere"))
    stranger = member(client, "admin", 2)
    for method, path, body in (("GET", f"{BASE}/{row['id']}", None), ("PATCH", f"{BASE}/{row['id']}", {"name": "x"}), ("POST", f"{BASE}/{row['id']}/test", {})):
        unknown = stranger.request(method, path.replace(f"/{row['id']}", "/999"), json=body)
        foreign = stranger.request(method, path, json=body)
        assert foreign.status_code == unknown.status_code == 404
    assert stranger.get(BASE).json()["items"] == []
    asked = {"prompt": {"instruction": "x"}, "variables": {"input": "y"}}
    assert {stranger.post("/api/v1/generate", json={"model": model, **asked}).status_code for model in ("there/tiny", 1)} == {404}


@pytest.mark.security
@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"concurrency": 0}, "concurrency"), ({"concurrency": 10**9}, "concurrency"), ({"time_out": 0}, "time_out"), ({"key": "two words"}, "key"), ({"key": "a\r\nX: y"}, "key"),
        ({"prices": {"*": {"input": -1, "output": 0}}}, "input"), ({"prices": {"nobody": {"input": 1, "output": 1}}}, "nobody"), ({"name": "Not good!"}, "name"),
        ({"name": "local"}, "local"), ({"id": 7}, "id"), ({"workspace_id": 2}, "workspace_id"), ({"models": ["a\nb"]}, "model"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(client: TestClient, model_server: Server, body: dict[str, Any], word: str) -> None:
    answer = client.post(BASE, json={"name": "there", "url": model_server.address, **body})
    assert answer.status_code == 422 and word in answer.json()["error"]["message"].lower()
    assert client.get(BASE).json()["items"] == []


def test_two_endpoints_cannot_share_a_name_and_models_follow_a_new_one(client: TestClient, model_server: Server) -> None:
    row = add(client, model_server, models=["tiny", "org/big:7b"])
    assert client.post(BASE, json={"name": "There", "url": model_server.address}).status_code == 409
    changed = client.patch(f"{BASE}/{row['id']}", json={"name": "here", "models": ["org/big:7b"]}).json()
    assert [model["slug"] for model in changed["models"]] == ["here/org/big:7b"]
    assert client.get(f"/api/v1/models/{changed['models'][0]['id']}").json()["slug"] == "here/org/big:7b"
    other = add(client, model_server)
    assert client.patch(f"{BASE}/{other['id']}", json={"name": "here"}).status_code == 409


def test_a_failed_test_is_an_answer_and_changes_not_how_it_is_asked(client: TestClient, model_server: Server) -> None:
    row = add(client, model_server, models=["tiny"])
    assert client.post(f"{BASE}/{row['id']}/test").json()["completions"]
    client.patch(f"{BASE}/{row['id']}", json={"key": "wrong"})
    found = client.post(f"{BASE}/{row['id']}/test").json()
    assert not found["ok"] and found["error"]["code"] == "key_refused" and found["completions"] and found["models"] == ["tiny"]


def test_likelihood_is_offered_only_after_a_probe_showed_it(client: TestClient, model_server: Server, person: Who) -> None:
    version = add_dataset(person)
    row = add(client, model_server, "plain/v1", models=["tiny"])
    prompt = client.post("/api/v1/prompts", json={"name": "p", "instruction": "Sort."}).json()["id"]
    body = {"model": "there/tiny", "dataset": version.reference, "prompt_version": prompt, "answer": "likelihood"}
    untested = client.post("/api/v1/evaluations", json=body).json()["error"]
    assert untested["code"] == "no_likelihood" and "not been tested" in untested["message"]
    client.post(f"{BASE}/{row['id']}/test")
    tested = client.post("/api/v1/evaluations", json=body).json()["error"]
    assert tested["code"] == "no_likelihood" and "echo" in tested["message"] and "generate" in tested["advice"]
    client.patch(f"{BASE}/{row['id']}", json={"url": f"{model_server.address}/v1"})
    assert "not been tested" in client.post("/api/v1/evaluations", json=body).json()["error"]["message"], "another path may be another server"
    client.post(f"{BASE}/{row['id']}/test")
    assert client.post("/api/v1/evaluations", json=body).status_code == 202
    chat = client.post("/api/v1/prompts", json={"name": "c", "mode": "chat", "messages": [{"role": "user", "content": "{input}"}]}).json()["id"]
    refused = client.post("/api/v1/evaluations", json={**body, "prompt_version": chat}).json()["error"]
    assert refused["code"] == "no_likelihood" and "chat" in refused["message"]


def test_an_endpoint_with_measured_models_is_not_deleted(client: TestClient, model_server: Server, person: Who) -> None:
    version = add_dataset(person)
    row = add(client, model_server, models=["tiny"])
    prompt = client.post("/api/v1/prompts", json={"name": "p", "instruction": "Sort."}).json()["id"]
    made = client.post("/api/v1/evaluations", json={"model": "there/tiny", "dataset": version.reference, "prompt_version": prompt, "answer": "generate"})
    assert made.status_code == 202
    refused = client.delete(f"{BASE}/{row['id']}")
    assert refused.status_code == 409 and "1 evaluation" in refused.json()["error"]["message"]
    free = add(client, model_server, name="free", models=["tiny"])
    assert client.delete(f"{BASE}/{free['id']}").status_code == 204 and client.get(f"{BASE}/{free['id']}").status_code == 404


def test_a_remote_model_is_not_tuned_nor_started_from(client: TestClient, model_server: Server, person: Who) -> None:
    version = add_dataset(person)
    add(client, model_server, models=["tiny"])
    tune = client.post("/api/v1/jobs", json={"kind": "tune", "model": "there/tiny", "dataset": version.reference, "method": "lora"})
    assert tune.status_code == 422 and "runs at its endpoint" in tune.json()["error"]["message"]
