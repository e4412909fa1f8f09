"""Answers from endpoints: what a stop does to a request that is under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from app.services.remote_answers import _next


async def deaf() -> AsyncIterator[None]:
    """A request whose first cancellation is lost in a library that it waits in."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)
    yield None


def test_a_stop_whose_first_word_is_lost_ends_the_request_all_the_same() -> None:
    async def stopped() -> object:
        pieces = deaf()
        stop = asyncio.create_task(asyncio.sleep(0.05))
        return await _next(pieces, stop)

    assert asyncio.run(asyncio.wait_for(stopped(), 20)) is None
