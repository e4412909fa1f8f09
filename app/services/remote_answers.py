"""An answer from an endpoint, told in the same events as the engine's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from app import queue
from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.remote import body
from app.remote.spec import CHARACTERS_A_TOKEN, Answer, Delta, Price, RemoteError, Trying, Usage, estimated
from app.services.endpoints import Remote
from app.services.to_the_end import to_the_end

AGAIN_SECONDS = 0.5
"""After which a request that is to end is told once more."""


@dataclass(frozen=True)
class Asked:
    """One prompt for a remote model."""

    remote: Remote
    prompt: Rendered
    parameters: Parameters


def prepare(remote: Remote, prompt: Rendered, parameters: Parameters) -> Asked:
    """A prompt ready to be asked. Raises Invalid for what an endpoint cannot be asked. Loads the openai SDK, which takes a second: call it in a thread, never in the event loop."""
    import_module("app.remote.client")
    body.check(parameters, remote.spec.name)
    return Asked(remote, prompt, parameters)


class _Asking:
    """One request to an endpoint. Whoever reads it may be cancelled, more than once even; `leave` ends it all the same, in a task of its own."""

    def __init__(self, asked: Asked, trying: Trying) -> None:
        from app.remote.client import Client  # `prepare` has loaded it

        self._client = Client(asked.remote.spec)
        self._pieces: Any = self._client.stream(asked.remote.model, asked.prompt, asked.parameters, trying)
        self._step: asyncio.Future[Delta | Answer] | None = None

    async def next(self, stop: "asyncio.Task[None]") -> Delta | Answer | None:
        """The next piece, or None as soon as a stop is asked for: by then nothing is under way at the endpoint."""
        self._step = asyncio.ensure_future(anext(self._pieces))
        await asyncio.wait({self._step, stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._step.done():
            return self._step.result()
        await to_the_end(ended(self._step))
        return None

    async def leave(self) -> None:
        async with self._client:
            if self._step is not None:
                await ended(self._step)
            await self._pieces.aclose()


async def ended(step: "asyncio.Future[Any]") -> None:
    """Cancel a step until it has ended: what it waits for may swallow a cancellation, and the stop would take as long as the endpoint."""
    while not step.done():
        step.cancel()
        await asyncio.wait({step}, timeout=AGAIN_SECONDS)
    if not step.cancelled():
        step.exception()  # whoever stopped has no use for it


async def events(request: str, asked: Asked) -> AsyncIterator[dict[str, Any]]:
    """{type: token, text} as it comes, then `done`. A stop that is asked for ends the request at the endpoint. Raises RemoteError, with what was taken all
    the same under `took` of its detail, and Unavailable."""
    remote, text, several = asked.remote, "", asked.parameters.n > 1
    trying = Trying(asyncio.get_running_loop().time())
    asking = _Asking(asked, trying)
    stop = asyncio.create_task(queue.until_cancelled(request))
    try:
        while not isinstance(piece := await asking.next(stop), Answer):
            if piece is None:
                yield _stopped(asked, text, trying)
                return
            text += piece.text
            yield _token(piece, several)
    except RemoteError as error:
        if (usage := error.usage or (estimated(asked.prompt.text, text) if text else None)) is not None:
            error.detail = {**error.detail, "took": _counts(usage, remote.price)}
        raise
    finally:
        stop.cancel()
        await to_the_end(asking.leave())
    counts = _counts(piece.usage, remote.price)
    if several:
        every = [(piece.text, piece.reason), *piece.others]
        # The protocol counts all answers together, so what each took is reckoned.
        counts["answers"] = [{"index": at, "reason": why, "output_tokens": estimated("", said).output_tokens} for at, (said, why) in enumerate(every)]
    yield {"type": "done", "reason": piece.reason, "latency_ms": piece.latency_ms, "waited_ms": piece.waited_ms, "tries": piece.tries, **counts}


def _counts(usage: Usage, price: Price | None) -> dict[str, Any]:
    return {**asdict(usage), "cost": usage.cost(price)}


def _token(piece: Delta, several: bool) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "token", "text": piece.text}
    if several:
        event["index"] = piece.index
    if piece.logprobs:
        event["logprobs"] = [
            {"token": one.token, "logprob": one.logprob, "top": [{"token": text, "logprob": value} for text, value in one.top]} for one in piece.logprobs
        ]
    return event


def _stopped(asked: Asked, text: str, trying: Trying) -> dict[str, Any]:
    """The end of an answer that a person stopped: the endpoint does not say any more what it took, so it is reckoned, and timed until now."""
    now = asyncio.get_running_loop().time()
    if trying.sent is None:  # nothing runs: it waits for a place, or for another try
        waited_ms = (now - trying.began) * 1000
        return {
            "type": "done",
            "reason": "cancelled",
            "latency_ms": 0.0,
            "waited_ms": waited_ms,
            "tries": trying.tries,
            **_counts(Usage(0, 0), asked.remote.price),
        }
    counts = _counts(estimated(asked.prompt.text, text), asked.remote.price)
    times = {"latency_ms": (now - trying.sent) * 1000, "waited_ms": trying.waited_ms, "tries": trying.tries}
    return {"type": "done", "reason": "cancelled", **times, **counts}


def count(asked: Asked) -> dict[str, Any]:
    """About how many tokens the prompt has: only the endpoint has the tokenizer, and it counts when it answers."""
    texts = [part.text for part in asked.prompt.parts]
    parts = [round(len(text) / CHARACTERS_A_TOKEN) for text in texts]
    total = estimated(asked.prompt.text, "").input_tokens
    return {"total": total, "parts": parts, "template": 0, "texts": texts, "estimated": True}
