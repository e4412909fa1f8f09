"""The notebook: what a run asked, what came back and what it took, whatever way it ended. A real server answers."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.generation import Parameters
from app.domain.prompt import fields_of
from app.domain.rendering import DEFAULT
from app.services import generate, models, notebook, prompts
from app.settings import settings
from tests.api.test_endpoints import add, member, places  # noqa: F401 the fixture lets the test servers be asked
from tests.remote.servers import Server

BASE = "/api/v1/notebook"


@pytest.fixture
def body(client: TestClient, model_server: Server) -> dict[str, Any]:
    add(client, model_server, models=["tiny"], prices={"*": {"input": 5e5, "output": 1e6}})
    asked = {"prompt": {"instruction": "Judge."}, "variables": {"input": "the plot"}, "parameters": {"max_tokens": 5}}
    return {"model": "there/tiny", "session": "monday", **asked}


def runs(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(f"{BASE}{query}").json()["items"]
    return items


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_is_kept_with_all_it_asked_and_took(client: TestClient, body: dict[str, Any], stream: bool) -> None:
    answer = client.post("/api/v1/generate", json={**body, "stream": stream})
    assert answer.status_code == 200
    [run] = runs(client)
    assert (run["session"], run["model"], run["reason"], run["error"]) == ("monday", "there/tiny", "length", None)
    assert run["prompt"]["instruction"] == "Judge." and run["variables"] == {"input": "the plot"} and run["parameters"] == {"max_tokens": 5}
    assert run["output_tokens"] == 5 and run["latency_ms"] > 0 and run["cost"] == run["input_tokens"] / 2 + 5 and run["output"]
    if not stream:
        assert run["output"] == answer.json()["text"]


def test_a_run_without_a_session_and_a_refused_request_are_none(client: TestClient, body: dict[str, Any]) -> None:
    client.post("/api/v1/generate", json={name: value for name, value in body.items() if name != "session"})
    assert client.post("/api/v1/generate", json={**body, "prompt": {"instruction": "{nobody}"}}).status_code == 422
    assert runs(client) == []


def test_an_alias_is_fixed_to_the_version_it_named_then(client: TestClient, body: dict[str, Any], person: Who) -> None:
    key = prompts.create(person, "Judge", {"instruction": "Judge it."}).prompt_id
    prompts.set_alias(person, key, "production", 1)
    client.post("/api/v1/generate", json={**body, "prompt": None, "prompt_version": f"{key}@production", "parameters": None})
    [run] = runs(client)
    assert run["prompt_version"] == f"{key}@1" and run["prompt"]["instruction"] == "Judge it."


def test_a_failed_run_is_kept_with_its_reason(client: TestClient, fault_server: Server) -> None:
    add(client, fault_server, path="html", models=["tiny"])
    answer = client.post("/api/v1/generate", json={"model": "there/tiny", "session": "s", "variables": {"input": "x"}})
    assert answer.status_code >= 400
    [run] = runs(client)
    assert run["reason"] == "failed" and run["error"] == answer.json()["error"] and run["output"] == ""


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_failed_after_it_was_answered_keeps_what_it_took(client: TestClient, model_server: Server, stream: bool) -> None:
    """An answer that does not hold to what was asked is no answer, and is paid for all the same."""
    add(client, model_server, path="plain/v1", models=["tiny"], prices={"*": {"input": 5e5, "output": 1e6}})
    held = {"max_tokens": 300, "choices": ["refund"], "stop": ["e"]}
    answer = client.post("/api/v1/generate", json={"model": "there/tiny", "session": "s", "variables": {"input": "x"}, "parameters": held, "stream": stream})
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "constraint_ignored"
    [run] = runs(client)
    took = run["error"]["took"]
    assert run["reason"] == "failed" and (run["input_tokens"], run["output_tokens"], run["cost"]) == (took["input_tokens"], took["output_tokens"], took["cost"])
    assert took["output_tokens"] > 0 and not took["estimated"] and took["cost"] == took["input_tokens"] / 2 + took["output_tokens"]
    assert answer.json()["error"]["took"] == took


def test_a_run_that_broke_off_keeps_what_had_come_by_then(client: TestClient, fault_server: Server) -> None:
    add(client, fault_server, path="half", models=["tiny"], prices={"*": {"input": 5e5, "output": 1e6}})
    client.post("/api/v1/generate", json={"model": "there/tiny", "session": "s", "variables": {"input": "x"}, "stream": True})
    [run] = runs(client)
    assert run["error"]["code"] == "broken_off" and run["output"] == "so so " and run["error"]["took"]["estimated"] is True
    assert run["output_tokens"] == 2 and run["cost"] == run["input_tokens"] / 2 + 2 and run["latency_ms"] is None


@pytest.mark.parametrize("how", ["closed", "cancelled", "cancelled again and again"])
def test_a_run_whose_tab_was_closed_is_kept_as_far_as_it_came(client: TestClient, fault_server: Server, person: Who, how: str) -> None:
    add(client, fault_server, path="endless", models=["tiny"])
    model = models.find(person, "there/tiny").model
    fields, values = fields_of(DEFAULT), {"input": "x"}

    async def leave() -> None:
        entry = notebook.begin(person, "s", model, fields, None, values, Parameters(max_tokens=9))
        events = notebook.recorded(entry, generate.events(generate.start(person, model, fields, values, Parameters(max_tokens=9))))
        if how == "closed":
            await anext(events)
            await events.aclose()  # type: ignore[attr-defined]
            return

        async def read() -> None:
            async for _ in events:
                seen.set()

        seen = asyncio.Event()
        task = asyncio.create_task(read())
        await seen.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
            if how == "cancelled":
                await asyncio.gather(task, return_exceptions=True)
        if left := asyncio.all_tasks() - {asyncio.current_task()}:  # a server's loop goes on
            await asyncio.wait(left, timeout=10)

    asyncio.run(leave())
    [run] = runs(client)
    assert run["reason"] == "cancelled" and run["output"] and run["latency_ms"] is None and run["parameters"] == {"max_tokens": 9}


def test_runs_are_listed_by_session_and_model_and_deleted(client: TestClient, body: dict[str, Any]) -> None:
    for session in ("monday", "monday", "friday"):
        client.post("/api/v1/generate", json={**body, "session": session})
    assert len(runs(client, "?session=monday")) == 2 and len(runs(client, "?model=there/tiny")) == 3 and runs(client, "?model=nobody") == []
    first = client.get(f"{BASE}?limit=2").json()
    rest = client.get(f"{BASE}?limit=2&after={first['next']}").json()
    keys = [run["id"] for run in first["items"] + rest["items"]]
    assert keys == sorted(keys, reverse=True) and len(keys) == 3 and first["total"] == 3 and first["models"] == ["there/tiny"] and first["kept"] == 1000
    stranger = member(client)
    assert runs(stranger) == [] and stranger.get(f"{BASE}/{keys[0]}").status_code == stranger.delete(f"{BASE}/{keys[0]}").status_code == 404
    assert client.delete(f"{BASE}/{keys[0]}").status_code == 204 and client.get(f"{BASE}/{keys[0]}").status_code == 404
    assert client.delete(f"{BASE}?session=monday").json() == {"deleted": 2} and runs(client) == []


def test_only_the_newest_runs_are_kept_and_nobody_elses_go(client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = member(client)
    stranger.post("/api/v1/generate", json=body)
    monkeypatch.setenv("FETTLE_NOTEBOOK_RUNS", "2")
    settings.cache_clear()
    for word in ("one", "two", "three"):
        client.post("/api/v1/generate", json={**body, "variables": {"input": word}})
    assert [run["variables"]["input"] for run in runs(client)] == ["three", "two"] and len(runs(stranger)) == 1
    assert client.get(BASE).json()["kept"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_are_kept_one_by_one(client: TestClient, body: dict[str, Any], stream: bool) -> None:
    client.post("/api/v1/generate", json={**body, "parameters": {"max_tokens": 5, "n": 2, "temperature": 1.0, "seed": 4}, "stream": stream, "ticket": "one"})
    [run] = runs(client)
    assert run["ticket"] == "one" and len(run["texts"]) == 2 and notebook.BETWEEN.join(run["texts"]) == run["output"] and all(run["texts"])


def test_a_tables_cells_are_found_by_their_tickets(client: TestClient, body: dict[str, Any]) -> None:
    column = {name: value for name, value in body.items() if name != "variables"} | {"ticket": "t"}
    table = {"columns": [column, column], "inputs": [{"input": "a"}, {"input": "b"}], "cells": [[0, 0], [1, 0], [1, 1]]}
    assert client.post("/api/v1/generate/table", json=table).status_code == 200
    assert {run["ticket"]: run["variables"]["input"] for run in runs(client)} == {"t:0:0": "a", "t:1:0": "a", "t:1:1": "b"}


def test_the_lab_finds_answers_again_with_what_was_thought_of_them(client: TestClient, body: dict[str, Any], person: Who) -> None:
    parameters = {"max_tokens": 5, "n": 2, "temperature": 1.0, "seed": 4}
    told = client.post("/api/v1/generate", json={**body, "parameters": parameters, "ticket": "one"}).json()
    texts, key = [text.lstrip() for text in told["texts"]], models.find(person, "there/tiny").model.id
    asked = {"model": key, "prompt": body["prompt"], "variables": body["variables"], "parameters": parameters}
    assert client.put("/api/v1/marks", json={**asked, "text": texts[1], "thumb": "up", "note": "dry"}).json()["id"]
    found = client.get("/lab/answers?ticket=one&ticket=other").json()
    assert list(found) == ["one"]
    answer = found["one"]
    assert answer["texts"] == told["texts"] and answer["marks"][1] == {"thumb": "up", "note": "dry"} and (texts[0] == texts[1] or answer["marks"][0] is None)
    assert (answer["input_tokens"], answer["output_tokens"], answer["cost"]) == (told["input_tokens"], told["output_tokens"], told["cost"])
    assert answer["asked"]["column"]["prompt"]["instruction"] == "Judge." and answer["asked"]["variables"] == {"input": "the plot"}
    # As it is told it can be asked again, and is the same answer for whoever marks it.
    again = {**answer["asked"]["column"], "variables": answer["asked"]["variables"], "text": texts[1]}
    assert client.put("/api/v1/marks", json={**again, "thumb": "down"}).json()["id"] and len(client.get("/api/v1/marks").json()["items"]) == 1
    assert member(client).get("/lab/answers?ticket=one").json() == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_tokens_and_labels_are_kept_with_their_run(engine: TestClient, stream: bool, several: bool) -> None:
    asked = {"model": "tiny", "prompt": {"instruction": "Judge."}, "variables": {"input": "the plot"}}
    parameters = {"max_tokens": 5, "logprobs": 2, "choices": ["up", "down"], **({"n": 2, "temperature": 1.0, "seed": 4} if several else {})}
    whole = engine.post("/api/v1/generate", json={**asked, "parameters": parameters}).json()  # belongs to no session
    engine.post("/api/v1/generate", json={**asked, "parameters": parameters, "session": "monday", "ticket": "one", "stream": stream})
    labels = engine.post("/api/v1/likelihoods", json={**asked, "labels": ["good", "bad"], "ticket": "one"}).json()["labels"]
    [listed] = runs(engine)
    assert "logprobs" not in listed and "labels" not in listed
    shown, found = engine.get(f"{BASE}/{listed['id']}").json(), engine.get("/lab/answers?ticket=one").json()["one"]
    logprobs = whole["logprobs"] if several else [whole["logprobs"]]
    assert shown["logprobs"] == found["logprobs"] and len(found["logprobs"]) == len(logprobs)
    for kept, told in zip(found["logprobs"], logprobs, strict=True):
        shown_tokens = [one for one in told if one["token"].strip()]  # the answer begins with its first character
        assert [one["token"] for one in kept] == [one["token"].lstrip() for one in shown_tokens] and {len(one["top"]) for one in kept} == {2}
        assert [one["logprob"] for one in kept] == pytest.approx([one["logprob"] for one in shown_tokens], abs=1e-3)
    assert ["".join(one["token"] for one in tokens) for tokens in found["logprobs"]] == found["texts"]
    assert shown["labels"] == found["labels"] == [pytest.approx(one, abs=1e-6) for one in labels] and len(labels) == 2


def test_labels_are_kept_with_ones_own_run_only(engine: TestClient) -> None:
    asked = {"model": "tiny", "prompt": {"instruction": "Judge."}, "variables": {"input": "the plot"}}
    engine.post("/api/v1/generate", json={**asked, "parameters": {"max_tokens": 2}, "session": "monday", "ticket": "one"})
    weighing = {**asked, "labels": ["good", "bad"], "ticket": "one"}
    assert member(engine).post("/api/v1/likelihoods", json=weighing).status_code == 200
    found = engine.get("/lab/answers?ticket=one").json()["one"]
    assert found["labels"] is None and found["logprobs"] is None


def test_whoever_hears_of_the_end_finds_the_run(client: TestClient, body: dict[str, Any], person: Who) -> None:
    model, fields = models.find(person, "there/tiny").model, fields_of(DEFAULT)

    async def ask() -> list[int]:
        entry = notebook.begin(person, "s", model, fields, None, body["variables"], Parameters(max_tokens=3))
        assert entry is not None
        events = notebook.recorded(entry, generate.events(generate.start(person, model, fields, body["variables"], Parameters(max_tokens=3))))
        return [len(notebook.answered(person, [entry.ticket])) async for event in events if event["type"] == "done"]

    assert asyncio.run(ask()) == [1] and len(runs(client)) == 1


def test_a_run_outlives_its_model(client: TestClient, body: dict[str, Any]) -> None:
    client.post("/api/v1/generate", json=body)
    assert client.patch("/api/v1/endpoints/1", json={"models": []}).status_code == 200
    [run] = runs(client)
    assert (run["model"], run["model_id"]) == ("there/tiny", None)
