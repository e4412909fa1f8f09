"""Asking an OpenAI-compatible endpoint: whole answers, streamed answers, its models, the likelihoods of given answers.

Loads the openai SDK (not before it is needed: it takes a second). Requests are counted over all processes (`slots.py`), tried again
where that may help and nothing of an answer had come, and end within the endpoint's time-out, retries and waiting for a slot included.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from anyio import move_on_after
from openai import AsyncOpenAI, BadRequestError
from openai.types import Completion

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.remote import address, body, failures
from app.remote.answers import Piece, Reader, usage_of, window_of
from app.remote.network import http_client
from app.remote.slots import Slots
from app.remote.spec import BEHIND, TRIES, Answer, EndpointSpec, RemoteError, Trying, Usage, pause

FREED_SECONDS = 10.0
"""A slot frees itself so long after the longest request it may be held for."""

CLOSE_SECONDS = 2.0

MOST_MODELS = 1000


class Client:
    """A connection to one endpoint, inside one event loop: `async with Client(spec) as client`."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        http = http_client(address.parse(spec.url), spec.key, spec.allowed, spec.concurrency)
        # The transport sends the spec's key and no other; what the SDK is given here keeps it from looking into the environment.
        self._api = AsyncOpenAI(api_key="none", organization="", project="", base_url=spec.url, max_retries=0, timeout=http.timeout, http_client=http)
        self._slots = Slots(spec.redis, spec.id, spec.concurrency, spec.time_out + FREED_SECONDS)
        self._chat_limit = "max_tokens"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        with move_on_after(CLOSE_SECONDS, shield=True):  # also where the work was cancelled
            await self._api.close()
            await self._slots.close()

    async def models(self) -> dict[str, int | None]:
        """The names of its models, each with the tokens that it takes at once where the server says that. Raises RemoteError."""

        async def ask() -> AsyncGenerator[dict[str, int | None]]:
            with failures.told(self.spec):
                page = await self._api.models.list()
                if not isinstance(page.data, list):
                    raise failures.unlikely(self.spec)
                yield {str(model.id)[:200]: window_of(model) for model in page.data[:MOST_MODELS]}

        async with aclosing(self._tried(ask)) as found:
            return await anext(found)

    async def complete(self, model: str, prompt: Rendered, parameters: Parameters) -> Answer:
        """One whole answer. Raises RemoteError, and Unavailable when running requests cannot be counted."""
        async with aclosing(self._tried(lambda: self._answer(model, prompt, parameters, stream=False))) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    return piece
        raise failures.broken(self.spec)

    def stream(self, model: str, prompt: Rendered, parameters: Parameters, trying: Trying | None = None) -> AsyncGenerator[Piece]:
        """The answer's text as it comes, then the Answer. It is tried again only while nothing has come. Close the generator to leave early: `trying` says
        how far it was."""
        return self._tried(lambda: self._answer(model, prompt, parameters, stream=True), trying)

    async def likelihoods(self, model: str, prompt: str, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """[answers] sums of the log-probabilities of each answer's tokens after the prompt, and what reading them took.

        Needs a server that echoes the prompt with log-probabilities. Raises RemoteError.
        """
        sums, total = [], Usage(0, 0)
        for answer in answers:
            value, usage = await self._likelihood(model, prompt, answer)
            sums.append(value)
            total += usage
        return sums, total

    async def _likelihood(self, model: str, prompt: str, answer: str) -> tuple[float, Usage]:
        async def ask() -> AsyncGenerator[tuple[float, Usage]]:
            with failures.told(self.spec):
                # One token more than is wanted: not every server takes max_tokens 0. It lies behind the answer and is left out.
                got = await self._api.completions.create(model=model, prompt=prompt + answer, max_tokens=BEHIND, temperature=0, echo=True, logprobs=1)
                yield _answer_likelihood(got, prompt, answer), usage_of(getattr(got, "usage", None), prompt + answer, "")

        async with aclosing(self._tried(ask)) as found:
            return await anext(found)

    async def _tried(self, ask: Callable[[], AsyncGenerator[Any]], trying: Trying | None = None) -> AsyncGenerator[Any]:
        """What `ask` yields, each try in a slot of its own; another try where the error says it may help and nothing has come yet."""
        clock = asyncio.get_running_loop().time
        began = clock()
        deadline = began + self.spec.time_out
        failed: RemoteError | None = None
        told = trying or Trying(began)
        for tries in range(1, TRIES + 1):
            begun, slot = False, self._slots.one()
            try:
                await self._before(deadline, slot.__aenter__(), busy=True)
                started = clock()
                told.tries, told.sent, told.waited_ms = tries, started, (started - began) * 1000
                try:
                    async with aclosing(ask()) as pieces:
                        while (piece := await self._before(deadline, anext(pieces, None))) is not None:
                            begun = True
                            yield _timed(piece, started - began, clock() - started, tries) if isinstance(piece, Answer) else piece
                    return
                finally:
                    await slot.__aexit__(None, None, None)
            except RemoteError as error:
                if failed is not None and error.code in ("timed_out", "endpoint_busy") and not error.again and not begun:
                    raise failed from error  # time ran out over the tries: what they failed of says more
                failed = error
                seconds = pause(tries, error.wait)
                if begun or not error.again or tries == TRIES or clock() + seconds >= deadline:
                    raise
                told.sent = None
                await asyncio.sleep(seconds)

    async def _before(self, deadline: float, step: Any, busy: bool = False) -> Any:
        """A step's value, if it is there in time. Raises RemoteError."""
        try:
            async with asyncio.timeout_at(deadline):
                return await step
        except TimeoutError:
            if not busy:
                raise failures.late(self.spec) from None
            most = "one request" if self.spec.concurrency == 1 else f"{self.spec.concurrency} requests"
            sentence = f"{self.spec.name} already has the {most} that it may have at once."
            raise RemoteError("endpoint_busy", sentence, "Try again, or give the endpoint more “requests at once”.") from None

    async def _answer(self, model: str, prompt: Rendered, parameters: Parameters, stream: bool) -> AsyncGenerator[Piece]:
        chat = bool(prompt.messages) or not self.spec.completions
        create = self._api.chat.completions.create if chat else self._api.completions.create
        more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

        def asked() -> dict[str, Any]:
            return body.request(model, prompt, parameters, chat=chat, limit=self._chat_limit if chat else "max_tokens") | more

        reader = Reader(self.spec, prompt, parameters)
        try:
            with failures.told(self.spec):
                try:
                    got = await create(**asked())
                except BadRequestError as error:
                    if not chat or error.param != "max_tokens" or self._chat_limit != "max_tokens":
                        raise
                    self._chat_limit = "max_completion_tokens"  # models that reason want the other name
                    got = await create(**asked())
                if not stream:
                    for piece in reader.whole(got):
                        yield piece
                    return
                async with got:
                    async for piece in reader.pieces(got):
                        yield piece
        except RemoteError as error:
            error.usage = reader.usage
            raise


def _timed(answer: Answer, waited: float, took: float, tries: int) -> Answer:
    return replace(answer, latency_ms=took * 1000, waited_ms=waited * 1000, tries=tries)


def _answer_likelihood(got: Completion, prompt: str, answer: str) -> float:
    """The sum over the tokens that lie between the prompt's end and the answer's end. Raises ValueError when the echo is not what was sent."""
    found = got.choices[0].logprobs
    if found is None or not found.tokens or not found.token_logprobs or not found.text_offset:
        raise ValueError("no log-probabilities in the answer")
    end = len(prompt) + len(answer)
    starts = [offset - found.text_offset[0] for offset in found.text_offset]
    ends = [*starts[1:], starts[-1] + len(found.tokens[-1])]
    if "".join(found.tokens)[:end] != prompt + answer:
        raise ValueError("the echo is not the text that was sent")
    chosen = [value for value, start, stop in zip(found.token_logprobs, starts, ends, strict=True) if start < end and stop > len(prompt)]
    if not chosen or any(value is None for value in chosen):
        raise ValueError("a token of the answer has no log-probability")
    return float(sum(chosen))
