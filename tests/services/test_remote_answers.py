"""Answers from endpoints: what a stop does to a request that is under way."""

import asyncio
from contextlib import suppress

from app.services.remote_answers import ended


async def deaf() -> None:
    """A request whose first cancellation is lost in a library that it waits in."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)


def test_a_stop_whose_first_word_is_lost_ends_the_request_all_the_same() -> None:
    async def stopped() -> bool:
        step = asyncio.ensure_future(deaf())
        await asyncio.sleep(0)
        await ended(step)
        return step.cancelled()

    assert asyncio.run(asyncio.wait_for(stopped(), 20))
