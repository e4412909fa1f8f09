"""A real OpenAI-compatible server over a real (tiny) model: `python -m tests.remote.model_server FOLDER PORT`. The double for endpoints in tests.

`/v1` has everything, echo with log-probabilities included; `/plain/v1` refuses echo and does not look at response_format, `/chat/v1` has no route for raw text, as hosted servers
do; `/told/v1` lists its window. All want the key `sesame`. `/served` counts what was asked of it since the start.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llguidance.hf
import llguidance.numpy
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from llguidance import LLMatcher
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "tiny"
KEY = "sesame"
WINDOW = 400

app = FastAPI()
served: Counter[str] = Counter()
state: dict[str, Any] = {}


def refused(status: int, code: str, param: str | None = None) -> Response:
    return JSONResponse({"error": {"message": f"refused: {code}", "type": "invalid_request_error", "code": code, "param": param}}, status)


@app.middleware("http")
async def door(request: Request, go_on: Any) -> Response:
    if request.url.path != "/served" and request.headers.get("authorization") != f"Bearer {KEY}":
        return refused(401, "invalid_api_key")
    return await go_on(request)  # type: ignore[no-any-return]


@app.get("/served")
def counts() -> dict[str, int]:
    return dict(served)


@app.get("/{kind:path}/models")
def models(kind: str) -> dict[str, Any]:
    served[f"{kind}/models"] += 1
    more = {"max_model_len": WINDOW} if kind == "told/v1" else {}
    return {"object": "list", "data": [{"id": NAME, "object": "model", "created": 0, "owned_by": "tests", **more}]}


@app.post("/{kind:path}/chat/completions")
async def chat(kind: str, request: Request) -> Response:
    body = await request.json()
    served[f"{kind}/chat"] += 1
    if body["model"] != NAME:
        return refused(404, "model_not_found")
    if kind == "chat/v1" and "max_tokens" in body:  # as models that reason do
        return refused(400, "unsupported_parameter", "max_tokens")
    body["deaf"] = kind == "plain/v1"
    text = state["tokenizer"].apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
    return answer(body, text, chat=True)


@app.post("/{kind:path}/completions")
async def completions(kind: str, request: Request) -> Response:
    body = await request.json()
    served[f"{kind}/completions"] += 1
    if kind == "chat/v1":
        return refused(404, "not_found")
    if kind == "plain/v1" and body.get("echo"):
        return refused(400, "unsupported_parameter", "echo")
    return answer(body, body["prompt"], chat=False)


def answer(body: dict[str, Any], prompt: str, chat: bool) -> Response:
    ids = state["tokenizer"](prompt, add_special_tokens=False).input_ids
    if len(ids) > WINDOW:
        return refused(400, "context_length_exceeded", "messages")
    if body.get("stream"):
        return StreamingResponse(stream(body, ids, chat), media_type="text/event-stream")
    texts = list(written(ids, body))
    text, reason = "".join(piece for piece, _, _ in texts), texts[-1][1] or "length"
    said = logprobs([one for _, _, one in texts], chat) if body.get("logprobs") and not body.get("echo") else None
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": said}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    if body.get("echo"):
        choice |= {"text": prompt + text, "logprobs": echo(ids, prompt, text)}
    count = body.get("n") or 1
    return JSONResponse(
        {
            "id": "x",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": NAME,
            "choices": [{**choice, "index": index} for index in range(count)],
            "usage": usage(ids, len(texts) * count),
        }
    )


def stream(body: dict[str, Any], ids: list[int], chat: bool) -> Iterator[str]:
    count = 0
    for piece, reason, entry in written(ids, body):
        for index in range(body.get("n") or 1):
            count += 1
            part: dict[str, Any] = {"delta": {"content": piece}} if chat else {"text": piece}
            part |= {"logprobs": logprobs([entry], chat)} if body.get("logprobs") else {}
            yield event([{"index": index, "finish_reason": reason, **part}])
        time.sleep(0.002)
    if body.get("stream_options", {}).get("include_usage"):
        yield event([], usage=usage(ids, count))
    yield "data: [DONE]\n\n"


def event(choices: list[dict[str, Any]], **more: Any) -> str:
    return f"data: {json.dumps({'id': 'x', 'object': 'chunk', 'created': 0, 'model': NAME, 'choices': choices, **more})}\n\n"


def usage(ids: list[int], count: int) -> dict[str, int]:
    return {"prompt_tokens": len(ids), "completion_tokens": count, "total_tokens": len(ids) + count}


Entry = tuple[str, float, list[tuple[str, float]]]
"""A token, its log-probability, and the likeliest tokens with theirs."""


def logprobs(entries: list[Entry], chat: bool) -> dict[str, Any]:
    if chat:

        def shown(token: str, value: float) -> dict[str, Any]:
            return {"token": token, "logprob": value, "bytes": None}

        return {"content": [{**shown(token, value), "top_logprobs": [shown(*one) for one in top]} for token, value, top in entries], "refusal": None}
    offsets = [sum(len(token) for token, _, _ in entries[:at]) for at in range(len(entries))]
    return {
        "tokens": [token for token, _, _ in entries],
        "token_logprobs": [value for _, value, _ in entries],
        "top_logprobs": [dict(top) for _, _, top in entries],
        "text_offset": offsets,
    }


def held(body: dict[str, Any]) -> Any:
    """What holds the answer to the schema of the request; None without one."""
    form = body.get("response_format")
    if form is None or body.get("deaf"):
        return None
    lock = llguidance.hf.from_tokenizer(state["tokenizer"], n_vocab=state["model"].config.vocab_size)
    # A random model that may choose its white space writes nothing else.
    schema = {**form["json_schema"]["schema"], "x-guidance": {"whitespace_flexible": False}}
    return LLMatcher(lock, LLMatcher.grammar_from_json_schema(json.dumps(schema)))


@torch.no_grad()
def written(ids: list[int], body: dict[str, Any]) -> Iterator[tuple[str, str | None, Entry]]:
    """The greedy continuation, token by token, each with the reason if it is the last, and its log-probability."""
    model, tokenizer, here, text = state["model"], state["tokenizer"], list(ids), ""
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 16
    stops, matcher = body.get("stop") or [], held(body)
    bits = llguidance.numpy.allocate_token_bitmask(1, model.config.vocab_size)
    for number in range(1, most + 1):
        logits = model(torch.tensor([here])).logits[0, -1]
        values = logits.log_softmax(-1)
        if matcher is not None:
            llguidance.numpy.fill_next_token_bitmask(matcher, bits, 0)
            allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[: len(logits)]
            logits = logits.masked_fill(torch.from_numpy(allowed == 0), -torch.inf)
        here.append(int(logits.argmax()))
        ended = here[-1] == tokenizer.eos_token_id
        if matcher is not None:
            matcher.consume_token(here[-1])
            ended = ended or matcher.is_stopped()
        new = "" if here[-1] == tokenizer.eos_token_id else tokenizer.decode(here[-1:])
        text += new
        best = values.topk(max(1, int(body.get("top_logprobs") or body.get("logprobs") or 1)))
        top = [(tokenizer.decode([int(token)]), float(value)) for value, token in zip(best.values, best.indices, strict=True)]
        reason = "stop" if ended or any(stop in text for stop in stops) else "length" if number == most else None
        yield new, reason, (tokenizer.decode(here[-1:]), float(values[here[-1]]), top)
        if reason:
            return


@torch.no_grad()
def echo(ids: list[int], prompt: str, text: str) -> dict[str, Any]:
    tokenizer = state["tokenizer"]
    every = ids + tokenizer(text, add_special_tokens=False).input_ids
    tokens = [tokenizer.decode([token]) for token in every]
    values = state["model"](torch.tensor([every])).logits[0].log_softmax(-1)
    found = [None, *(float(values[at, token]) for at, token in enumerate(every[1:]))]
    offsets = [sum(len(token) for token in tokens[:at]) for at in range(len(tokens))]
    assert "".join(tokens).startswith(prompt)
    return {"tokens": tokens, "token_logprobs": found, "text_offset": offsets, "top_logprobs": None}


if __name__ == "__main__":
    torch.set_num_threads(1)
    state["tokenizer"] = AutoTokenizer.from_pretrained(Path(sys.argv[1]))
    state["model"] = AutoModelForCausalLM.from_pretrained(Path(sys.argv[1])).eval()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
