"""Answers through the API: what may be asked for, what comes back, and a clear sentence for everything that cannot be."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from openai import BadRequestError, OpenAI
from starlette.testclient import TestClient

from app.broker import wait
from app.domain.model import Model
from tests.installation import free_port
from tests.slow_engine import slow_engine
from worker import interactive

URL = "/api/v1/generate"
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}


def body(text: str = "the film", stream: bool = False, **parameters: Any) -> dict[str, Any]:
    chosen = {"max_tokens": 6, "min_tokens": 6, "stop": [], **parameters}
    return {"model": "tiny", "prompt": {"instruction": "Judge."}, "variables": {"input": text}, "parameters": chosen, "stream": stream}


def stream(client: TestClient, wanted: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(event name, data) of everything that came."""
    with client.stream("POST", URL, json={**wanted, "stream": True}) as answer:
        return list(events(answer.iter_lines()))


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            name = ""


def speaking(client: TestClient) -> OpenAI:
    """The unmodified openai client over the application."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return OpenAI(base_url="http://localhost/v1", api_key=key, http_client=client, max_retries=0)


def test_an_answer_streams_and_a_model_that_is_being_loaded_is_told(engine: TestClient) -> None:
    first, again = stream(engine, body()), stream(engine, body())
    assert [name for name, _ in first][:2] == ["accepted", "loading"] and first[1][1]["fraction"] == 0.0
    assert "loading" not in [name for name, _ in again]
    for found in (first, again):
        assert found[-1][0] == "done" and found[-1][1]["output_tokens"] == 6 and found[-1][1]["cost"] == 0.0
    whole = engine.post(URL, json=body()).json()
    assert whole["text"] == "".join(data["text"] for name, data in again if not name) and whole["reason"] == "length"


def test_several_answers_and_log_probabilities(engine: TestClient) -> None:
    wanted = body(n=2, logprobs=2, temperature=1.0, seed=3)
    whole = engine.post(URL, json=wanted).json()
    assert len(whole["texts"]) == 2 and whole["texts"][0] == whole["text"] and [one["index"] for one in whole["answers"]] == [0, 1]
    assert [len(tokens) for tokens in whole["logprobs"]] == [6, 6] and all(len(one["top"]) == 2 for one in whole["logprobs"][0])
    told = [data for name, data in stream(engine, wanted) if not name]
    for index in range(2):
        assert "".join(data["text"] for data in told if data["index"] == index) == whole["texts"][index]
        tokens = [one for data in told if data["index"] == index for one in data.get("logprobs", ())]
        assert [one["token"] for one in tokens] == [one["token"] for one in whole["logprobs"][index]]
    single = engine.post(URL, json=body(logprobs=1)).json()
    assert "texts" not in single and len(single["logprobs"]) == 6 and single["logprobs"][0]["logprob"] < 0


def test_an_answer_is_held_to_what_was_asked(engine: TestClient) -> None:
    held: dict[str, Any] = {"min_tokens": 0, "max_tokens": 40}
    assert engine.post(URL, json=body(choices=["refund", "billing"], **held)).json()["text"] in ("refund", "billing")
    assert engine.post(URL, json=body(regex="[0-9]{3}", **held)).json()["text"].isdigit()
    assert set(json.loads(engine.post(URL, json=body(json_schema=SCHEMA, **held)).json()["text"])) == {"ok"}
    assert engine.post(URL, json=body(json_schema=SCHEMA, min_tokens=0, max_tokens=2)).json()["reason"] == "length"


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ({"regex": "[0-9"}, "bad_constraint", "unclosed character class"),
        ({"json_schema": {"type": "objekt"}}, "bad_constraint", "objekt"),
        ({"choices": []}, None, "choices"),
        ({"choices": ["a"], "regex": "a"}, None, "one way only"),
        ({"n": 9}, None, "n"),
        ({"logprobs": 6}, None, "logprobs"),
        ({"frequency_penalty": 2.5}, None, "frequency_penalty"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(engine: TestClient, parameters: dict[str, Any], code: str | None, words: str) -> None:
    for streamed in (False, True):
        answer = engine.post(URL, json=body(stream=streamed, **parameters))
        assert answer.status_code == 422 and words in answer.text
        assert code is None or answer.json()["error"]["code"] == code


def test_prompts_of_every_size_get_a_clear_answer(engine: TestClient) -> None:
    long = engine.post(URL, json=body("lorem ipsum " * 8500))
    assert len("lorem ipsum " * 8500) > 100_000 and long.status_code == 422
    assert long.json()["error"]["code"] == "prompt_too_long" and "takes 512" in long.json()["error"]["message"] and long.json()["error"]["advice"]
    over = engine.post(URL, json=body("not worth it! " * 300, stream=True))
    assert over.status_code == 422 and over.json()["error"]["code"] == "prompt_too_long"
    emoji = engine.post(URL, json=body("😀🎉👩‍👩‍👧‍👦🏳️‍🌈"))
    assert emoji.status_code == 200 and emoji.json()["output_tokens"] == 6 and emoji.json()["input_tokens"] > 20
    only = engine.post(URL, json={**body(), "prompt": {"mode": "freeform", "text": "🙂"}, "variables": {}})
    assert only.status_code == 200 and only.json()["output_tokens"] == 6
    empty = engine.post(URL, json={**body(), "prompt": {"mode": "freeform", "text": " "}, "variables": {}})
    assert empty.status_code == 422


@pytest.mark.faults
def test_a_stop_is_heard_before_the_next_token(engine: TestClient) -> None:
    """From the moment the stop has been accepted, at most the token that is being computed still comes."""
    step, written, stopped = interactive.Post.deliver, 0, 0

    def counting(post: interactive.Post) -> None:
        nonlocal written
        written += sum(event["type"] == "token" for _, event in post._outgoing)
        step(post)
        time.sleep(0.005)  # a model slow enough for a person to stop it

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactive.Post, "deliver", counting)
        interactive._scheduler.cache_clear()
        seen = []
        with engine.stream("POST", URL, json=body(stream=True, max_tokens=400, min_tokens=400)) as answer:
            for name, data in events(answer.iter_lines()):
                seen.append((name, data))
                if not name and not stopped:
                    assert engine.post(f"{URL}/{seen[0][1]['request']}/stop").status_code == 204
                    stopped = written
    assert seen[-1][0] == "done" and seen[-1][1]["reason"] == "cancelled" and stopped
    assert written - stopped <= 1


@contextmanager
def listening(client: TestClient) -> Iterator[int]:
    """The application on a real port, so that a connection can be closed."""
    server = uvicorn.Server(uvicorn.Config(client.app, port=free_port(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert wait(lambda: server.started, 20)
    yield server.config.port
    server.should_exit = True
    thread.join(20)


WHOLE = 450
"""Tokens of an answer that would take 20 s and more to its end."""

ASKED = {
    "streamed": (URL, body(stream=True, max_tokens=WHOLE, min_tokens=WHOLE), 1),
    "whole": (URL, body(max_tokens=WHOLE, min_tokens=WHOLE), 1),
    "a table": (
        f"{URL}/table",
        {
            "columns": [{key: value for key, value in body(max_tokens=WHOLE, min_tokens=WHOLE).items() if key not in ("variables", "stream")}] * 2,
            "inputs": [{"input": "a"}],
        },
        2,
    ),
}


@pytest.mark.faults
@pytest.mark.parametrize("asked", ASKED)
def test_a_closed_tab_frees_its_place(engine: TestClient, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    path, wanted, answers = ASKED[asked]
    steps = slow_engine(monkeypatch)
    with listening(engine) as port:
        content = json.dumps(wanted).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {engine.headers['Authorization']}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port)) as tab:
            tab.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            if asked != "whole":
                assert b"200 OK" in tab.recv(200)
            assert wait(lambda: interactive.scheduler().answering() == answers, 20)
        assert wait(lambda: interactive.scheduler().answering() == 0, 20)
        assert len(steps) < WHOLE / 2, "it was given up, and did not come to its end"
        assert interactive._post()._open == {}


def test_the_openai_client_asks_for_all_of_it(engine: TestClient, base: Model) -> None:
    client, turns = speaking(engine), [{"role": "user", "content": "the film"}]
    asked: dict[str, Any] = {"model": "tiny", "messages": turns, "max_tokens": 40, "temperature": 0}
    form: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    assert set(json.loads(client.chat.completions.create(**asked, response_format=form).choices[0].message.content or "")) == {"ok"}
    free = client.chat.completions.create(**asked, response_format={"type": "json_object"}).choices[0]
    assert (free.message.content or "").startswith("{") and free.finish_reason in ("stop", "length")
    chosen = client.chat.completions.create(**asked, extra_body={"choices": ["yes", "no"]})
    assert chosen.choices[0].message.content in ("yes", "no") and chosen.choices[0].finish_reason == "stop"
    several = client.chat.completions.create(**{**asked, "max_tokens": 5, "temperature": 1}, n=3, seed=1, logprobs=True, top_logprobs=2, presence_penalty=0.5)
    assert [one.index for one in several.choices] == [0, 1, 2] and several.usage and several.usage.completion_tokens <= 15
    for choice in several.choices:
        assert choice.logprobs and choice.logprobs.content and all(len(one.top_logprobs) == 2 for one in choice.logprobs.content)
    bare = client.chat.completions.create(**{**asked, "max_tokens": 2}, logprobs=True).choices[0].logprobs
    assert bare and bare.content and bare.content[0].top_logprobs == [] and bare.content[0].logprob <= 0
    raw = client.completions.create(model="tiny", prompt="the film", max_tokens=4, temperature=0, logprobs=2, n=2)
    said = raw.choices[1].logprobs
    assert raw.choices[0].text == raw.choices[1].text and said is not None
    assert said.tokens and len(said.tokens) == 4 and said.text_offset == [len("".join(said.tokens[:at])) for at in range(4)]
    assert all(value <= 0 for value in said.token_logprobs or ()) and [1 <= len(one) <= 2 for one in said.top_logprobs or ()] == [True] * 4
    with pytest.raises(BadRequestError, match="top_logprobs needs logprobs"):
        client.chat.completions.create(**asked, top_logprobs=2)
    broken: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}}
    with pytest.raises(BadRequestError, match="objekt"):
        client.chat.completions.create(**asked, response_format=broken)


def test_the_openai_client_streams_several_answers(engine: TestClient) -> None:
    client = speaking(engine)
    asked: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "the film"}], "max_tokens": 6, "temperature": 1, "seed": 2, "n": 2}
    whole = client.chat.completions.create(**asked)
    texts, ended, tokens = {0: "", 1: ""}, {}, 0
    for chunk in client.chat.completions.create(**asked, stream=True, logprobs=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            tokens += len(choice.logprobs.content or ()) if choice.logprobs else 0
            if choice.finish_reason:
                ended[choice.index] = choice.finish_reason
    assert texts == {one.index: one.message.content for one in whole.choices} and ended == {one.index: one.finish_reason for one in whole.choices}
    assert whole.usage and tokens >= whole.usage.completion_tokens - 2, "an end token is none of the answer's"
