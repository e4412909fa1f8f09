"""What many open streams ask at once is found out once: looks at the database and drawn parts, shared within a process for less than a second or so."""

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

KEEP_SECONDS = 30.0
MOST_REST = 0.1


class Looks:
    """Looks by what they look for. Whoever asks while one is under way, or soon after, gets the same."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}
        self._tidied = time.monotonic()
        self._turn = CapacityLimiter(1)

    async def drawn(self, key: Hashable, fresh: float, draw: Callable[[], T]) -> T:
        """`once` for what is long work: one after the other, and each followed by a rest as long, so that a page somebody waits for is drawn between them.

        They share the interpreter with it. With twenty jobs watched, drawn all at once, one page of twenty took eight times as long.
        """
        return await self.once(key, fresh, partial(_rested, draw), self._turn)

    async def once(self, key: Hashable, fresh: float, look: Callable[[], T], turn: CapacityLimiter | None = None) -> T:
        """What `look` finds in a thread, no older than `fresh` seconds. Raises what it raises, to everybody who asked."""
        now = time.monotonic()
        found = self._kept.get(key)
        if found is None or now - found[0] > fresh or _failed(found[1]):
            self._tidy(now)
            found = self._kept[key] = (now, asyncio.ensure_future(to_thread.run_sync(look, limiter=turn)))
        result: T = await asyncio.shield(found[1])  # one who leaves takes the look away from nobody
        return result

    def _tidy(self, now: float) -> None:
        if now - self._tidied > KEEP_SECONDS:
            self._tidied = now
            self._kept = {key: found for key, found in self._kept.items() if now - found[0] < KEEP_SECONDS}


def _rested(draw: Callable[[], T]) -> T:
    began = time.monotonic()
    drawn = draw()
    time.sleep(min(MOST_REST, time.monotonic() - began))
    return drawn


def _failed(look: asyncio.Future[Any]) -> bool:
    return look.done() and (look.cancelled() or look.exception() is not None)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Looks] = WeakKeyDictionary()


def looks() -> Looks:
    """Those of the running event loop; a web process has one."""
    return _of_loop.setdefault(asyncio.get_running_loop(), Looks())
