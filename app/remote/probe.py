"""Testing an endpoint: does it answer, which models has it, which routes, and does it echo prompts with log-probabilities."""

import asyncio
import time
from dataclasses import replace

from app.domain.generation import Parameters
from app.domain.rendering import Message, Part, Rendered
from app.remote.client import Client
from app.remote.spec import EndpointSpec, Probe, RemoteError

_SHORT = Parameters(max_tokens=4)
_CHAT = Rendered(messages=(Message("user", (Part("Say yes.", trusted=True),)),))
_TEXT = Rendered(parts=(Part("The capital of France is", trusted=True),))
STEP_SECONDS, SECONDS = 25.0, 55.0
"""The most a step and the whole test may take: somebody waits for it in a browser, and a server may have to load its model first."""

ANSWERS = (" Paris", " seven")


async def probe(spec: EndpointSpec, model: str = "") -> Probe:
    """Ask as a user would. `model` is the one to try, else the first that it lists. Raises RemoteError when it cannot be used at all."""
    # `completions`, so that raw text goes to its own route and is not sent as a chat turn.
    trial = replace(spec, completions=True, time_out=min(spec.time_out, STEP_SECONDS))
    try:
        async with asyncio.timeout(SECONDS):
            return await _found(trial, model)
    except TimeoutError:
        raise RemoteError("timed_out", f"{spec.name} could not be tested within {SECONDS:g} s.", "It may be loading a model; try again.") from None


async def _found(spec: EndpointSpec, model: str) -> Probe:
    async with Client(spec) as client:
        began = time.perf_counter()
        listed = await _models(client, model)
        models = tuple(listed)
        took = (time.perf_counter() - began) * 1000
        chosen = model or next(iter(models), "")
        if not chosen:
            raise RemoteError("no_models", f"{spec.name} lists no models.", "Name the model that it has.")
        no_chat, no_text = await _refusal(client, chosen, _CHAT), await _refusal(client, chosen, _TEXT)
        if no_chat is not None and no_text is not None:
            raise no_chat
        reason = "It has no route for raw text (/completions)." if no_text else await _no_likelihood(client, chosen)
        return Probe(models, chosen, no_chat is None, no_text is None, not reason, reason, took, {name: window for name, window in listed.items() if window})


async def _models(client: Client, model: str) -> dict[str, int | None]:
    try:
        return await client.models()
    except RemoteError as error:
        if not model or error.code != "not_there":
            raise
        return {}  # a server without a list can answer all the same


async def _refusal(client: Client, model: str, prompt: Rendered) -> RemoteError | None:
    """Why this kind of prompt is not answered; None when it is."""
    try:
        await client.complete(model, prompt, _SHORT)
    except RemoteError as error:
        return error
    return None


async def _no_likelihood(client: Client, model: str) -> str:
    """Why likelihoods cannot be had; "" when they can: two answers of different length and sense have two different, finite sums."""
    try:
        sums, _ = await client.likelihoods(model, _TEXT.text, ANSWERS)
    except RemoteError:
        return "It does not echo prompts with log-probabilities."
    return "" if sums[0] < 0 and sums[1] < 0 and sums[0] != sums[1] else "Its log-probabilities are not those of the prompt's tokens."
