"""What many open streams ask at once is found out once: looks at the database and drawn parts, shared within a process for less than a second or so."""

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anyio import to_thread

T = TypeVar("T")

KEEP_SECONDS = 30.0


class Looks:
    """Looks by what they look for. Whoever asks while one is under way, or soon after, gets the same."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}
        self._tidied = time.monotonic()

    async def once(self, key: Hashable, fresh: float, look: Callable[[], T]) -> T:
        """What `look` finds in a thread, no older than `fresh` seconds. Raises what it raises, to everybody who asked."""
        now = time.monotonic()
        found = self._kept.get(key)
        if found is None or now - found[0] > fresh or _failed(found[1]):
            self._tidy(now)
            found = self._kept[key] = (now, asyncio.ensure_future(to_thread.run_sync(look)))
        result: T = await asyncio.shield(found[1])  # one who leaves takes the look away from nobody
        return result

    def _tidy(self, now: float) -> None:
        if now - self._tidied > KEEP_SECONDS:
            self._tidied = now
            self._kept = {key: found for key, found in self._kept.items() if now - found[0] < KEEP_SECONDS}


def _failed(look: asyncio.Future[Any]) -> bool:
    return look.done() and (look.cancelled() or look.exception() is not None)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Looks] = WeakKeyDictionary()


def looks() -> Looks:
    """Those of the running event loop; a web process has one."""
    return _of_loop.setdefault(asyncio.get_running_loop(), Looks())
