"""Work that goes on when whoever asked for it has gone, and is undone then where nobody else could do it."""

import asyncio

import pytest

from app.services.to_the_end import or_undone


def test_work_that_is_left_in_the_middle_comes_to_its_end_and_is_undone() -> None:
    async def run() -> None:
        going, ended, undone = asyncio.Event(), asyncio.Event(), list[int]()

        async def work() -> int:
            going.set()
            await ended.wait()
            return 7

        async def undo(made: int) -> None:
            undone.append(made)

        asking = asyncio.create_task(or_undone(work(), undo))
        await going.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not undone
        ended.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert undone == [7]

    asyncio.run(run())


def test_what_is_waited_for_is_not_undone_and_what_failed_neither() -> None:
    async def run() -> None:
        undone: list[int] = []

        async def undo(made: int) -> None:
            undone.append(made)

        async def made() -> int:
            return 7

        async def failing() -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

        assert await or_undone(made(), undo) == 7
        with pytest.raises(ValueError, match="no"):
            await or_undone(failing(), undo)
        asking = asyncio.create_task(or_undone(failing(), undo))
        await asyncio.sleep(0)
        asking.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert asking.cancelled() and not undone

    asyncio.run(run())
