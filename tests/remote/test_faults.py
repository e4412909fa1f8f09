"""The client against a server that does everything wrong: each fault is one clear error, in bounded time and memory, and nothing of it is shown."""

import asyncio
import time

import psutil
import pytest
import structlog

from app.domain.generation import Parameters
from app.domain.rendering import Message, Part, Rendered
from app.remote.client import Client
from app.remote.spec import Answer, Delta, EndpointSpec, RemoteError, Usage
from tests.remote.conftest import spec_of
from tests.remote.fault_server import SECRET
from tests.remote.servers import Server

pytestmark = pytest.mark.faults
CHAT = Rendered(messages=(Message("user", (Part("hello", True),)),))


async def ask(spec: EndpointSpec, stream: bool) -> list[Delta | Answer]:
    async with Client(spec) as client:
        if stream:
            return [piece async for piece in client.stream("m", CHAT, Parameters())]
        return [await client.complete("m", CHAT, Parameters())]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("stall", "timed_out"),
        ("drip", "timed_out"),
        ("drop", "broken_off"),
        ("short", "broken_off"),
        ("long", "garbage"),
        ("garbage", "garbage"),
        ("html", "garbage"),
        ("shape", "garbage"),
        ("noise", "broken_off"),
        ("bomb", "compressed"),
        ("headers", "broken_off"),
        ("big", "answer_too_large"),
        ("redirect", "redirected"),
        ("page", "endpoint_failed"),
        ("quota", "no_quota"),
        ("later", "endpoint_busy"),
    ],
)
def test_a_fault_is_one_clear_error(fault_server: Server, broker: str, fault: str, code: str, stream: bool) -> None:
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        asyncio.run(ask(spec_of(fault_server, f"{fault}/v1", broker, time_out=4.0), stream))
    assert caught.value.code == code and caught.value.advice
    assert SECRET not in f"{caught.value.message}{caught.value.advice}"
    assert time.monotonic() - began < 20, "the endpoint's time-out holds whatever the server does"
    assert psutil.Process().memory_info().rss - before < 150_000_000


@pytest.mark.parametrize(("fault", "code"), [("endless", "timed_out"), ("half", "broken_off"), ("mad", "garbage"), ("sorry", "endpoint_failed")])
def test_a_stream_that_goes_wrong_keeps_what_came_and_is_not_begun_again(fault_server: Server, broker: str, fault: str, code: str) -> None:
    before = len(fault_server.requests(fault))

    async def run() -> tuple[str, str]:
        came = ""
        async with Client(spec_of(fault_server, f"{fault}/v1", broker, time_out=2.0)) as client:
            try:
                async for piece in client.stream("m", CHAT, Parameters()):
                    came += piece.text if isinstance(piece, Delta) else ""
            except RemoteError as error:
                return came, error.code
        return came, ""

    came, found = asyncio.run(run())
    assert found == code and came.startswith("so ") and len(fault_server.requests(fault)) == before + 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("fault", "again"), [("short", False), ("drop", True)])
def test_only_what_has_not_begun_is_asked_again_by_itself(fault_server: Server, broker: str, fault: str, again: bool, stream: bool) -> None:
    """An answer that breaks off may be paid for; a connection that closes before any answer is tried again."""
    before = len(fault_server.requests(fault))
    with pytest.raises(RemoteError) as caught:
        asyncio.run(ask(spec_of(fault_server, f"{fault}/v1", broker, time_out=4.0), stream))
    assert (len(fault_server.requests(fault)) - before > 1) is again
    assert ("before it answered" in caught.value.message) is again and caught.value.usage is None


def test_a_choice_that_breaks_off_unseen_is_asked_for_once_and_what_came_is_reckoned(fault_server: Server, broker: str) -> None:
    """Its text is held back until it is whole, yet it had begun."""
    before = len(fault_server.requests("half"))

    async def run() -> None:
        async with Client(spec_of(fault_server, "half/v1", broker, time_out=4.0)) as client:
            async for _ in client.stream("m", CHAT, Parameters(choices=["yes", "no"])):
                pass

    with pytest.raises(RemoteError) as caught:
        asyncio.run(run())
    assert caught.value.code == "broken_off" and len(fault_server.requests("half")) == before + 1
    assert caught.value.usage == Usage(-(-len(CHAT.text) // 4), 2, estimated=True), "two words of three letters and a space came"


def test_a_busy_server_is_asked_again_when_it_says(fault_server: Server, broker: str) -> None:
    began = time.monotonic()
    answer = asyncio.run(ask(spec_of(fault_server, "busy/v1", broker, time_out=30.0), stream=False))[0]
    assert isinstance(answer, Answer) and answer.text == "fine" and answer.tries == 3
    assert time.monotonic() - began > 1.0 + 1.0, "the first wait is the server's, the second our own"
    assert answer.waited_ms > 2000 > answer.latency_ms, "waiting is told apart from the answer's own time"


def test_what_the_endpoint_wrote_is_in_the_log_only_and_without_the_key(fault_server: Server, broker: str) -> None:
    with structlog.testing.capture_logs() as lines, pytest.raises(RemoteError):
        asyncio.run(ask(spec_of(fault_server, "page/v1", broker, time_out=1.0, key=SECRET), stream=False))
    assert lines and all(SECRET not in str(line) for line in lines) and "[key]" in str(lines)
    with structlog.testing.capture_logs() as lines, pytest.raises(RemoteError):
        asyncio.run(ask(spec_of(fault_server, "page/v1", broker, time_out=1.0), stream=False))
    assert SECRET in str(lines) and all(len(str(line["words"])) <= 500 for line in lines)


def test_nothing_of_the_environment_leaves(fault_server: Server, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY", "CUSTOM_HEADERS"):
        monkeypatch.setenv(f"OPENAI_{name}", "X-Canary: canary" if name == "CUSTOM_HEADERS" else "canary")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    asyncio.run(ask(spec_of(fault_server, "fine/v1", broker), stream=False))
    seen = fault_server.requests("fine")[-1]["headers"]
    assert set(seen) == {"host", "content-type", "content-length", "accept", "connection", "accept-encoding", "user-agent"}
    assert "canary" not in str(seen)
