"""What has to happen also when whoever asked has gone."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Made = TypeVar("Made")

_under_way: set["asyncio.Task[Any]"] = set()
"""The event loop itself holds its tasks weakly."""


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """In a task of its own: this one may be cancelled, more than once even, and what it awaits is then left where it is."""
    await asyncio.shield(_begun(work))


async def or_undone(work: Coroutine[Any, Any, Made], undo: Callable[[Made], Coroutine[Any, Any, None]]) -> Made:
    """What the work makes. When this is cancelled meanwhile, the work still comes to its end, and what it made is undone."""
    task = _begun(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:

        async def undone() -> None:
            await asyncio.wait([task])
            if task.exception() is None:
                await undo(task.result())

        _begun(undone())
        raise


def _begun(work: Coroutine[Any, Any, Made]) -> "asyncio.Task[Made]":
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return task
