"""The client against a real server over a real model: whole and streamed answers, models, likelihoods, the probe, counting in Redis."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from app.domain.generation import Parameters
from app.domain.rendering import Message, Part, Rendered
from app.errors import Invalid, Unavailable
from app.remote import body
from app.remote.client import Client
from app.remote.probe import probe
from app.remote.spec import Answer, Delta, EndpointSpec, Price, RemoteError, Usage, estimated, pause, price_of
from tests.remote.conftest import spec_of
from tests.remote.servers import Server

T = TypeVar("T")
TEXT = Rendered(parts=(Part("Input: the plot is very good\nOutput:", True),), stop=("\nInput:",))
CHAT = Rendered(messages=(Message("user", (Part("the plot", True),)),))


def ask(spec: EndpointSpec, what: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Client(spec) as client:
            return await what(client)

    return asyncio.run(run())


async def pieces(client: Client, prompt: Rendered, parameters: Parameters) -> list[Delta | Answer]:
    return [piece async for piece in client.stream("tiny", prompt, parameters)]


@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
def test_a_streamed_answer_is_the_whole_answer(spec: EndpointSpec, prompt: Rendered) -> None:
    wanted = Parameters(max_tokens=8)
    whole = ask(spec, lambda client: client.complete("tiny", prompt, wanted))
    streamed = ask(spec, lambda client: pieces(client, prompt, wanted))
    last = streamed[-1]
    assert isinstance(last, Answer) and "".join(piece.text for piece in streamed[:-1]) == last.text == whole.text
    assert len(streamed) > 3, "it came in pieces"
    assert last.usage == whole.usage and not whole.usage.estimated and whole.usage.output_tokens == 8 and whole.reason == "length"
    assert whole.latency_ms > 0 and whole.tries == 1


def test_raw_text_goes_to_its_own_route_only_where_there_is_one(spec: EndpointSpec, model_server: Server) -> None:
    before = model_server.ask("/served")
    ask(spec, lambda client: client.complete("tiny", TEXT, Parameters(max_tokens=2)))
    ask(replace(spec, completions=False), lambda client: client.complete("tiny", TEXT, Parameters(max_tokens=2)))
    after = model_server.ask("/served")
    assert [after.get(f"v1/{route}", 0) - before.get(f"v1/{route}", 0) for route in ("completions", "chat")] == [1, 1]


def test_a_model_that_wants_the_other_name_for_its_limit_gets_it(model_server: Server, broker: str) -> None:
    spec = spec_of(model_server, "chat/v1", broker, key="sesame")
    assert ask(spec, lambda client: client.complete("tiny", CHAT, Parameters(max_tokens=3))).usage.output_tokens == 3


def test_likelihoods_are_those_of_the_model(spec: EndpointSpec, model_server: Server) -> None:
    sums, usage = ask(spec, lambda client: client.likelihoods("tiny", TEXT.text, [" positive", " negative", " positive positive"]))
    assert all(value < 0 for value in sums) and sums[2] < sums[0], "a longer answer is less likely than its beginning"
    assert usage.input_tokens > 0 and usage.output_tokens == 3, "a token behind each answer is paid for too"


@pytest.mark.parametrize(
    ("path", "chat", "completions", "likelihood", "reason"),
    [("v1", True, True, True, ""), ("plain/v1", True, True, False, "echo"), ("chat/v1", True, False, False, "no route for raw text")],
)
def test_the_probe_finds_what_a_server_can_do(
    model_server: Server, broker: str, path: str, chat: bool, completions: bool, likelihood: bool, reason: str
) -> None:
    found = asyncio.run(probe(spec_of(model_server, path, broker, key="sesame")))
    assert (found.models, found.model, found.chat, found.completions, found.likelihood) == (("tiny",), "tiny", chat, completions, likelihood)
    assert reason in found.reason and bool(found.reason) != likelihood


def test_the_probe_of_a_wrong_key_says_so(spec: EndpointSpec) -> None:
    with pytest.raises(RemoteError) as caught:
        asyncio.run(probe(replace(spec, key="wrong")))
    assert caught.value.code == "key_refused" and "401" in caught.value.message


@pytest.mark.parametrize(("model", "words", "code"), [("nobody", "short", "not_there"), ("tiny", "very long " * 800, "prompt_too_long")])
def test_refusals_are_told_in_our_words(spec: EndpointSpec, model: str, words: str, code: str) -> None:
    prompt = Rendered(messages=(Message("user", (Part(words, True),)),))
    with pytest.raises(RemoteError) as caught:
        ask(spec, lambda client: client.complete(model, prompt, Parameters()))
    assert caught.value.code == code and "refused:" not in caught.value.message


def test_running_requests_are_counted_over_clients_and_the_limit_holds(fault_server: Server, broker: str) -> None:
    spec = spec_of(fault_server, "slow/v1", broker, concurrency=3, time_out=20.0)

    async def crowd() -> None:
        async with Client(spec) as one, Client(spec) as other:
            await asyncio.gather(*((one, other)[number % 2].complete("m", CHAT, Parameters()) for number in range(9)))

    asyncio.run(crowd())
    assert fault_server.ask("/log")["most"] == 3


def test_no_free_slot_in_time_is_told(fault_server: Server, broker: str) -> None:
    spec = spec_of(fault_server, "stall/v1", broker, concurrency=1, time_out=1.0, id=77)

    async def two() -> list[BaseException | Answer]:
        async with Client(spec) as client:
            return await asyncio.gather(*(client.complete("m", CHAT, Parameters()) for _ in range(2)), return_exceptions=True)

    told = {error.code: error.message for error in asyncio.run(two()) if isinstance(error, RemoteError)}
    assert sorted(told) == ["endpoint_busy", "timed_out"] and told["endpoint_busy"].endswith("already has the one request that it may have at once.")


def test_without_redis_nothing_is_sent(fault_server: Server, broker: str) -> None:
    spec = spec_of(fault_server, "fine/v1", broker, redis="unix:///tmp/fettle-nobody-listens.sock")
    before = len(fault_server.requests())
    with pytest.raises(Unavailable) as caught:
        ask(spec, lambda client: client.complete("m", CHAT, Parameters()))
    assert caught.value.code == "broker_down" and len(fault_server.requests()) == before


def test_a_slot_of_a_killed_process_frees_itself(fault_server: Server, broker: str) -> None:
    from app.remote.slots import Slots

    async def take(seconds: float) -> None:
        slots = Slots(spec.redis, 5, 1, seconds)
        await slots._take("killed")  # and never given back
        async with asyncio.timeout(5):
            async with slots.one():
                pass
        await slots.close()

    spec = spec_of(fault_server, "fine/v1", broker)
    asyncio.run(take(0.3))


def test_cost_follows_from_tokens_and_price() -> None:
    prices = {"big": {"input": 3.0, "output": 15.0}, "*": {"input": 1.0, "output": 2.0}}
    assert Usage(1_000_000, 100_000).cost(price_of(prices, "big")) == pytest.approx(4.5)
    assert price_of(prices, "other") == Price(1.0, 2.0) and price_of({}, "other") is None and Usage(5, 5).cost(None) is None
    assert estimated("x" * 9, "yy") == Usage(3, 1, estimated=True)


def test_pauses_grow_are_bounded_and_spread() -> None:
    assert all(0.5 * 2**tries <= pause(tries + 1, None) <= 0.5 * 2**tries * 1.25 for tries in range(5))
    assert pause(20, None) <= 25 and 7 <= pause(1, 7.0) <= 8.75 and len({pause(1, None) for _ in range(20)}) > 10


VERDICT = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}


@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
def test_several_answers_come_with_log_probabilities(spec: EndpointSpec, prompt: Rendered) -> None:
    wanted = Parameters(max_tokens=4, n=2, logprobs=2, frequency_penalty=0.5)
    whole = ask(spec, lambda client: client.complete("tiny", prompt, wanted))
    streamed = ask(spec, lambda client: pieces(client, prompt, wanted))
    assert whole.others == ((whole.text, "length"),) and whole.usage.output_tokens == 8
    deltas, last = [piece for piece in streamed if isinstance(piece, Delta)], streamed[-1]
    assert isinstance(last, Answer) and (last.text, last.others) == (whole.text, whole.others)
    for index in range(2):
        own = [piece for piece in deltas if piece.index == index]
        assert "".join(piece.text for piece in own) == whole.text
        assert all(len(one.top) == 2 and one.logprob == one.top[0][1] < 0 for piece in own for one in piece.logprobs) and own[0].logprobs


@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
def test_an_answer_is_held_to_a_schema_or_a_list_by_the_endpoint(spec: EndpointSpec, prompt: Rendered) -> None:
    found = ask(spec, lambda client: client.complete("tiny", prompt, Parameters(max_tokens=60, json_schema=VERDICT)))
    assert set(json.loads(found.text)) == {"ok"} and found.reason == "stop"
    wanted = Parameters(max_tokens=60, choices=["refund", "billing"])
    chosen = ask(spec, lambda client: client.complete("tiny", prompt, wanted))
    assert chosen.text in ("refund", "billing") and chosen.reason == "stop"
    streamed = ask(spec, lambda client: pieces(client, prompt, wanted))
    assert [piece.text for piece in streamed] == [chosen.text, chosen.text], "not the JSON around it"


def test_an_endpoint_that_does_not_look_at_a_schema_is_found_out(model_server: Server, broker: str) -> None:
    spec = spec_of(model_server, "plain/v1", broker, key="sesame")
    for parameters in (Parameters(max_tokens=300, json_schema=VERDICT, stop=["e"]), Parameters(max_tokens=300, choices=["refund"], stop=["e"])):
        with pytest.raises(RemoteError) as caught:
            ask(spec, lambda client: client.complete("tiny", CHAT, parameters))  # noqa: B023 it is called at once
        assert caught.value.code == "constraint_ignored" and "response_format" in caught.value.advice
        assert caught.value.usage is not None and caught.value.usage.output_tokens > 0 and not caught.value.usage.estimated, "it was written and is paid for"


def test_what_the_protocol_has_no_field_for_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Invalid, match="no field for one"):
        body.check(Parameters(regex="[0-9]+"), "there")
    body.check(Parameters(choices=["a"], logprobs=2, n=3), "there")


def test_a_request_says_what_was_set_and_nothing_else() -> None:
    bare = body.request("m", CHAT, Parameters(), chat=True, limit="max_tokens")
    assert set(bare) == {"model", "temperature", "max_tokens", "messages"}
    full = body.request("m", TEXT, Parameters(top_k=5, presence_penalty=1.0, n=2, logprobs=3, choices=["a", "b"]), chat=False, limit="max_tokens")
    assert (full["presence_penalty"], full["n"], full["logprobs"], full["extra_body"]["top_k"]) == (1.0, 2, 3, 5) and "stop" not in full
    form = full["extra_body"]["response_format"]["json_schema"]["schema"]
    assert form["properties"]["answer"]["enum"] == ["a", "b"]
