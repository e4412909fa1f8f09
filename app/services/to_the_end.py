"""What has to happen also when whoever asked has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

_under_way: set["asyncio.Task[None]"] = set()
"""The event loop itself holds its tasks weakly."""


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """In a task of its own: this one may be cancelled, more than once even, and what it awaits is then left where it is."""
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    await asyncio.shield(task)
