"""Several columns over several inputs in one stream, and marks of what comes out: over a real endpoint and over one that fails."""

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.table import AT_ONCE, NewTable, _together
from app.broker import wait
from app.domain.access import Who
from app.services import notebook
from tests.api.test_endpoints import add, places  # noqa: F401 the fixture that allows the test servers
from tests.remote.servers import Server
from tests.slow_engine import slow_engine
from worker import interactive

PROMPT = {"instruction": "Judge."}


def stream(client: TestClient, **body: Any) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The events of a table by cell, each as (event, data)."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    with client.stream("POST", "/api/v1/generate/table", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        for block in "".join(answer.iter_text()).split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.setdefault(fields["id"], []).append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def text_of(events: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(data["text"] for event, data in events if event == "message")


def test_every_cell_gets_the_answer_it_would_get_alone(client: TestClient, model_server: Server) -> None:
    add(client, model_server, prices={"*": {"input": 1, "output": 1}}, models=["tiny"])
    columns = [{"model": "there/tiny", "prompt": PROMPT, "parameters": {"max_tokens": size}} for size in (3, 5)]
    inputs = [{"input": "the plot"}, {"input": "a film"}, {"input": "my bill"}]
    cells = stream(client, columns=columns, inputs=inputs)
    assert set(cells) == {f"{column}:{row}" for column in range(2) for row in range(3)}
    for key, events in cells.items():
        column, row = (int(part) for part in key.split(":"))
        alone = client.post("/api/v1/generate", json={**columns[column], "variables": inputs[row]}).json()
        assert events[0][0] == "accepted" and events[-1][0] == "done" and text_of(events) == alone["text"]


def test_an_error_stays_in_its_own_cell(client: TestClient, model_server: Server, fault_server: Server) -> None:
    add(client, model_server, models=["tiny"])
    add(client, fault_server, "page/v1", name="broken", models=["m"], time_out=1)
    columns = [{"model": model, "prompt": PROMPT, "parameters": {"max_tokens": 3}} for model in ("broken/m", "there/tiny", 999)]
    cells = stream(client, columns=columns, inputs=[{"input": "the plot"}])
    assert cells["0:0"][-1][1]["error"]["code"] == "endpoint_failed" and cells["2:0"] == [("error", {"error": cells["2:0"][0][1]["error"]})]
    assert cells["2:0"][0][1]["error"]["code"] == "not_found" and cells["1:0"][-1][0] == "done"


def test_single_cells_can_be_asked_for_and_none_that_is_not_there(client: TestClient, model_server: Server) -> None:
    add(client, model_server, models=["tiny"])
    body: dict[str, Any] = {
        "columns": [{"model": "there/tiny", "prompt": PROMPT, "parameters": {"max_tokens": 2}}] * 2,
        "inputs": [{"input": "a"}, {"input": "b"}],
    }
    assert set(stream(client, **body, cells=[[1, 0]])) == {"1:0"}
    refused = client.post("/api/v1/generate/table", json={**body, "cells": [[2, 0]]})
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "no_such_cell"
    assert client.post("/api/v1/generate/table", json={**body, "columns": body["columns"] * 4}).status_code == 422


def test_an_endpoint_that_does_not_answer_holds_up_its_own_column_and_is_stopped(client: TestClient, model_server: Server, fault_server: Server) -> None:
    add(client, model_server, models=["tiny"])
    add(client, fault_server, "stall/v1", name="stalled", models=["m"], time_out=60)
    columns = [{"model": model, "prompt": PROMPT, "parameters": {"max_tokens": 2}, "ticket": "word"} for model in ("stalled/m", "there/tiny")]
    inputs = [{"input": f"film {number}"} for number in range(AT_ONCE + 4)]
    begun, ended, stopped = dict[str, str](), dict[str, dict[str, Any]](), set[str]()
    with client.stream("POST", "/api/v1/generate/table", json={"columns": columns, "inputs": inputs}) as answer:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            data = json.loads(fields["data"])
            if fields.get("event") == "accepted":
                begun[fields["id"]] = data["request"]
            elif fields.get("event") == "done":
                ended[fields["id"]] = data
            fields = {}
            if len(ended) == len(inputs) and not stopped:
                stopped.add("0")
                assert client.post("/api/v1/generate/table/word/stop", json={"columns": [0]}).status_code == 204
            for cell in [cell for cell in begun if stopped and cell not in {*ended, *stopped}]:  # what was asked is stopped by its request
                stopped.add(cell)
                assert client.post(f"/api/v1/generate/{begun[cell]}/stop").status_code == 204
    assert [ended[f"1:{row}"]["reason"] for row in range(len(inputs))] == ["length"] * len(inputs)
    assert [ended[f"0:{row}"]["reason"] for row in range(len(inputs))] == ["cancelled"] * len(inputs)
    assert {cell for cell in begun if cell.startswith("0:")} == {f"0:{row}" for row in range(AT_ONCE)}, "the others were never asked"


def test_a_variable_that_is_missing_is_told_in_its_cell(client: TestClient, model_server: Server) -> None:
    add(client, model_server, models=["tiny"])
    columns = [{"model": "there/tiny", "prompt": {"instruction": "Be {tone}."}}]
    cells = stream(client, columns=columns, inputs=[{"input": "a"}, {"input": "b", "tone": "kind"}])
    assert "{tone}" in cells["0:0"][0][1]["error"]["message"] and cells["0:1"][-1][0] == "done"


@pytest.fixture
def marked(client: TestClient, model_server: Server) -> dict[str, Any]:
    add(client, model_server, models=["tiny"])
    return {"model": "there/tiny", "prompt": PROMPT, "variables": {"input": "the plot"}, "text": "good", "parameters": {"max_tokens": 3}}


def test_a_mark_is_kept_changed_listed_and_taken_back(client: TestClient, marked: dict[str, Any]) -> None:
    first = client.put("/api/v1/marks", json={**marked, "thumb": "up"}).json()["id"]
    assert client.put("/api/v1/marks", json={**marked, "thumb": "down", "note": " too short "}).json() == {"id": first}
    other = client.put("/api/v1/marks", json={**marked, "text": "bad", "thumb": "up"}).json()["id"]
    rows = client.get("/api/v1/marks").json()["items"]
    assert [(row["id"], row["thumb"], row["note"], row["text"], row["author"]) for row in rows] == [
        (other, "up", "", "bad", "Ada"),
        (first, "down", "too short", "good", "Ada"),
    ]
    assert (
        rows[0]["prompt"]["instruction"] == "Judge." and rows[0]["prompt"]["parameters"] == {"max_tokens": 3} and rows[0]["variables"] == {"input": "the plot"}
    )
    assert client.put("/api/v1/marks", json={**marked, "note": "  "}).json() == {"id": None}
    assert client.delete(f"/api/v1/marks/{other}").status_code == 204 and client.get("/api/v1/marks").json()["items"] == []
    assert client.delete(f"/api/v1/marks/{other}").status_code == 404


def test_a_mark_of_nothing_known_is_refused(client: TestClient, marked: dict[str, Any]) -> None:
    assert client.put("/api/v1/marks", json={**marked, "model": 999, "thumb": "up"}).status_code == 404
    assert client.put("/api/v1/marks", json={**marked, "thumb": "sideways"}).status_code == 422
    assert client.put("/api/v1/marks", json={**marked, "prompt": None, "prompt_version": "7@1", "thumb": "up"}).status_code == 404


def test_who_leaves_while_a_cell_is_being_accepted_leaves_no_answer_behind(engine: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine has the request, and nobody has begun to read what it writes."""
    begin, held, freed = notebook.begin, threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        held.set()
        assert freed.wait(20)
        return begin(*given)

    monkeypatch.setattr(notebook, "begin", slowly)
    steps = slow_engine(monkeypatch)
    column = {"model": "tiny", "prompt": PROMPT, "parameters": {"max_tokens": 450, "min_tokens": 450}, "session": "monday", "ticket": "early"}
    wanted = NewTable.model_validate({"columns": [column], "inputs": [{"input": "a"}]})

    async def leave() -> None:
        async def read() -> None:
            async for _ in _together(person, wanted, wanted.wanted(), [asyncio.Semaphore(1)]):
                pass

        reading = asyncio.create_task(read())
        assert await asyncio.to_thread(held.wait, 20)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        freed.set()
        await asyncio.to_thread(wait, lambda: interactive.scheduler().answering() == 0, 20)

    asyncio.run(leave())
    assert interactive.scheduler().answering() == 0 and 0 < len(steps) < 200
    assert [run["reason"] for run in engine.get("/api/v1/notebook?session=monday").json()["items"]] == ["cancelled"]
