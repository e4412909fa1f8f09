"""What many open streams ask at once is found out once: looks at the database and drawn parts, shared within a process for less than a second or so."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anyio import to_thread

T = TypeVar("T")

KEEP_SECONDS = 30.0
MOST_REST = 0.1


@dataclass
class Look:
    """One look, under way or done; `at` is when it was done."""

    found: asyncio.Future[Any]
    at: float | None = None

    def ended(self, _: object) -> None:
        self.at = time.monotonic()

    def serves(self, now: float, fresh: float) -> bool:
        """Whether somebody who asks now gets this one."""
        if self.at is None:
            return True
        return now - self.at <= fresh and not self.found.cancelled() and self.found.exception() is None


class Looks:
    """Looks by what they look for. Whoever asks while one is under way, or soon after, gets the same."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Look] = {}
        self._tidied = time.monotonic()
        self._turn = asyncio.Lock()

    async def once(self, key: Hashable, fresh: float, look: Callable[[], T]) -> T:
        """What `look` finds in a thread, or found at most `fresh` seconds ago. Raises what it raises, to everybody who asked."""
        return await self._shared(key, fresh, lambda: to_thread.run_sync(look))

    async def drawn(self, key: Hashable, fresh: float, draw: Callable[[], T]) -> T:
        """`once` for long work that shares the interpreter with the pages people wait for: one drawing after the other, each followed by a rest as long."""
        return await self._shared(key, fresh, lambda: self._in_turn(draw))

    async def _in_turn(self, draw: Callable[[], T]) -> T:
        await self._turn.acquire()
        began = time.monotonic()
        try:
            return await to_thread.run_sync(draw)
        finally:
            rest = min(MOST_REST, time.monotonic() - began)
            asyncio.get_running_loop().call_later(rest, self._turn.release)  # who asked has it before the rest

    async def _shared(self, key: Hashable, fresh: float, begin: Callable[[], Awaitable[T]]) -> T:
        now = time.monotonic()
        look = self._kept.get(key)
        if look is None or not look.serves(now, fresh):
            self._tidy(now)
            look = self._kept[key] = Look(asyncio.ensure_future(begin()))
            look.found.add_done_callback(look.ended)
        result: T = await asyncio.shield(look.found)  # one who leaves takes the look away from nobody
        return result

    def _tidy(self, now: float) -> None:
        if now - self._tidied > KEEP_SECONDS:
            self._tidied = now
            self._kept = {key: look for key, look in self._kept.items() if look.at is None or now - look.at < KEEP_SECONDS}


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Looks] = WeakKeyDictionary()


def looks() -> Looks:
    """Those of the running event loop; a web process has one."""
    return _of_loop.setdefault(asyncio.get_running_loop(), Looks())
