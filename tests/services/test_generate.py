"""Whoever waits for the engine process may leave at any moment."""

import asyncio

import pytest

from app import queue
from app.domain.model import Model
from app.services import generate
from worker.interactive import Stream


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("times", ["once", "again and again"])
def test_the_engine_hears_of_an_asker_who_was_cancelled(times: str) -> None:
    Stream("left").send({"type": "loading", "fraction": 0.0})

    async def leave() -> None:
        seen = asyncio.Event()

        async def read() -> None:
            async for _ in generate.events(generate.Request("left", Model())):
                seen.set()

        task = asyncio.create_task(read())
        await asyncio.wait({task, asyncio.create_task(seen.wait())}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), task.exception()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
            if times == "once":
                await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await queue.until_cancelled("left")

    asyncio.run(leave())
