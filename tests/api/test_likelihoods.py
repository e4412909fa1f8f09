"""Label bars: the likelihood of every label, raw and calibrated, through the API."""

import asyncio
import json
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.dataset import DatasetVersion
from app.domain.rendering import Template, answer_text, render
from app.domain.scoring import CONTENT_FREE, calibrated, shares
from app.settings import settings
from tests.api.test_endpoints import add, places  # noqa: F401 the fixture lets the test servers be asked
from tests.remote.servers import Server
from worker.engine.load import load
from worker.engine.score import score_labels

URL = "/api/v1/likelihoods"
PROMPT = {"instruction": "Judge.", "input_prefix": "Input:", "output_prefix": "Output:"}


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": PROMPT, "variables": {"input": "the film is good"}, **more}


def test_labels_are_weighed_as_an_evaluation_weighs_them(engine: TestClient) -> None:
    labels = ["positive", "negative", "very good"]
    found = engine.post(URL, json=asked(labels=labels)).json()["labels"]
    loaded, template = load(settings().models_folder / "tiny", device="cpu"), Template(instruction="Judge.")
    inputs = ("the film is good", *CONTENT_FREE)
    scores = score_labels(loaded, [render(template, {"input": text}) for text in inputs], [answer_text(template, label) for label in labels])
    raw = shares(list(scores.sums[0]))
    even = calibrated(raw, [shares(list(row)) for row in scores.sums[1:]])
    assert [one["label"] for one in found] == [labels[at] for at in scores.sums[0].argsort()[::-1]]
    for one in found:
        at = labels.index(one["label"])
        assert one["log_likelihood"] == pytest.approx(scores.sums[0][at], abs=1e-3) and one["tokens"] == scores.lengths[at]
        assert one["share"] == pytest.approx(raw[at], abs=1e-3) and one["calibrated_share"] == pytest.approx(even[at], abs=1e-3)
    for share in ("share", "calibrated_share"):
        assert sum(one[share] for one in found) == pytest.approx(1)


def test_the_labels_of_a_dataset_are_those_of_its_book_and_fill_the_prompt(engine: TestClient, toys: DatasetVersion) -> None:
    prompt = {**PROMPT, "instruction": "One of {labels}."}
    found = engine.post(URL, json=asked(prompt=prompt, dataset=toys.reference)).json()["labels"]
    assert sorted(one["label"] for one in found) == ["negative", "positive"]
    same = engine.post(URL, json=asked(prompt=prompt, labels=toys.label_texts())).json()["labels"]
    assert [one["share"] for one in same] == pytest.approx([one["share"] for one in found])


def test_a_prompt_without_an_input_cannot_be_calibrated(engine: TestClient) -> None:
    body = {"model": "tiny", "prompt": {"mode": "freeform", "text": "the film is"}, "labels": ["good", "bad"]}
    assert [one["calibrated_share"] for one in engine.post(URL, json=body).json()["labels"]] == [None, None]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "which_labels"),
        ({"labels": ["a", "b"], "dataset": "1"}, "which_labels"),
        ({"labels": ["a"]}, "label_count"),
        ({"labels": ["a", "a"]}, "labels_differ"),
        ({"labels": ["a", "zq" * 400]}, "label_too_long"),
        ({"labels": ["a", "b"], "variables": {"other": "x"}}, "unknown_variable"),
    ],
)
def test_what_cannot_be_weighed_is_refused(engine: TestClient, more: dict[str, Any], code: str) -> None:
    answer = engine.post(URL, json=asked(**more))
    assert answer.status_code == 422 and answer.json()["error"]["code"] == code, answer.json()


def test_an_endpoint_weighs_labels_only_after_a_test_has_shown_it(engine: TestClient, model_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place]))
    settings.cache_clear()
    row = engine.post("/api/v1/endpoints", json={"name": "there", "url": f"{model_server.address}/v1", "key": "sesame", "models": ["tiny"]}).json()
    body = {**asked(labels=["positive", "negative"]), "model": "there/tiny"}
    refused = engine.post(URL, json=body)
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "no_likelihood" and "has not been tested" in refused.json()["error"]["message"]
    engine.post(f"/api/v1/endpoints/{row['id']}/test")
    found = engine.post(URL, json=body).json()["labels"]
    assert sum(one["share"] for one in found) == pytest.approx(1) and found[0]["log_likelihood"] >= found[1]["log_likelihood"]
    assert all(one["tokens"] is None and one["calibrated_share"] is not None for one in found)


def priced(client: TestClient, server: Server) -> dict[str, Any]:
    """What asks for labels there, once an answer stands under the ticket `one`."""
    row = add(client, server, models=["tiny"], prices={"*": {"input": 5e5, "output": 1e6}})
    client.post(f"/api/v1/endpoints/{row['id']}/test")
    body = {**asked(), "model": "there/tiny"}
    client.post("/api/v1/generate", json={**body, "parameters": {"max_tokens": 2}, "session": "monday", "ticket": "one"})
    return {**body, "ticket": "one"}


def run(client: TestClient) -> dict[str, Any]:
    [found] = client.get("/api/v1/notebook").json()["items"]
    return dict(found)


def test_what_labels_take_at_an_endpoint_is_told_and_kept_with_the_run(client: TestClient, model_server: Server) -> None:
    body = priced(client, model_server)
    alone = run(client)
    assert alone["weighing"] is None
    told = client.post(URL, json={**body, "labels": ["positive", "negative"]}).json()
    assert told["output_tokens"] == (1 + 3) * 2 and told["input_tokens"] > 8 * 10 and told["estimated"] is False
    assert told["cost"] == told["input_tokens"] / 2 + told["output_tokens"]
    assert run(client) == {**alone, "weighing": {name: told[name] for name in ("input_tokens", "output_tokens", "estimated", "cost")}}
    client.post(URL, json={**body, "labels": ["positive", "negative"]})
    assert run(client)["weighing"]["cost"] == 2 * told["cost"], "what was asked for twice was paid for twice"
    assert "of it for its labels" in client.get("/lab/notebook").text
    assert client.get("/lab/answers?ticket=one").json()["one"]["weighing"]["cost"] == 2 * told["cost"]


def test_whoever_leaves_ends_the_weighing_and_what_it_took_is_kept(client: TestClient, model_server: Server) -> None:
    body = priced(client, model_server)
    sent = json.dumps({**body, "labels": [f"label {number:04}" for number in range(900)]}).encode()
    before = served(model_server)

    async def ask() -> None:
        messages = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            while served(model_server) < before + 3:  # noqa: ASYNC110 another process counts
                await asyncio.sleep(0.02)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            del message

        headers = [(name.encode(), value.encode()) for name, value in (("authorization", client.headers["Authorization"]), ("host", "localhost"))]
        scope = {"type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(), "query_string": b"", "scheme": "http", "http_version": "1.1"}
        about = {"headers": [*headers, (b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("localhost", 80), "root_path": ""}
        await client.app({**scope, **about}, receive, send)

    asyncio.run(ask())
    came = served(model_server) - before
    assert 3 <= came < 900
    found = run(client)["weighing"]
    assert came - 1 <= found["output_tokens"] <= came and found["cost"] == found["input_tokens"] / 2 + found["output_tokens"] > 0
    time.sleep(0.3)
    assert served(model_server) - before == came, "nobody waits for the other labels, so nobody asks for them"


def served(server: Server) -> int:
    return int(server.ask("/served").get("v1/completions", 0))
