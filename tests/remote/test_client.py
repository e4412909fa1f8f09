"""The client against a real server over a real model: whole and streamed answers, models, likelihoods, the probe, counting in Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from app.domain.generation import Parameters
from app.domain.rendering import Message, Part, Rendered
from app.errors import Unavailable
from app.remote.client import Client
from app.remote.probe import probe
from app.remote.spec import Answer, EndpointSpec, Price, RemoteError, Usage, estimated, pause, price_of
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


async def pieces(client: Client, prompt: Rendered, parameters: Parameters) -> list[str | Answer]:
    return [piece async for piece in client.stream("tiny", prompt, parameters)]


@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
def test_a_streamed_answer_is_the_whole_answer(spec: EndpointSpec, prompt: Rendered) -> None:
    wanted = Parameters(max_tokens=8)
    whole = ask(spec, lambda client: client.complete("tiny", prompt, wanted))
    streamed = ask(spec, lambda client: pieces(client, prompt, wanted))
    last = streamed[-1]
    assert isinstance(last, Answer) and "".join(str(piece) for piece in streamed[:-1]) == last.text == whole.text
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

    codes = sorted(error.code for error in asyncio.run(two()) if isinstance(error, RemoteError))
    assert codes == ["endpoint_busy", "timed_out"]


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
