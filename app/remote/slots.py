"""How many requests run at an endpoint at once, over all processes: counted in Redis. When Redis does not answer nothing is sent (it fails closed).

A slot is a member of a sorted set whose score is when it ends by itself, on Redis' own clock, so that a killed process gives its slots back.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import CancelScope
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import Away

LOOK_SECONDS = 0.05
ANSWER_SECONDS = 2.0

_TAKE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ms + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""Takes a slot in one step: nobody can come between the count and the entry."""


class Slots:
    """The slots of one endpoint."""

    def __init__(self, redis: str, endpoint: int, limit: int, seconds: float) -> None:
        """`seconds` is the longest a slot may be held before it frees itself."""
        self._redis: Redis = Redis.from_url(redis, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        self._key, self._limit, self._life = f"fettle:endpoint:{endpoint}:slots", limit, int(seconds * 1000)
        self._owed: set[str] = set()
        """Slots that could not be given back, because Redis was away: they are as soon as it answers, or the next requests would wait until they free themselves."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot, waiting for it as long as the caller has time. Raises Away when Redis does not answer."""
        name = secrets.token_hex(8)
        try:
            while not await self._take(name):  # noqa: ASYNC110 other processes hold the slots; no event of this loop tells of them
                await asyncio.sleep(LOOK_SECONDS * (1 + random.random()))  # noqa: S311 spreads the waiters
            yield
        finally:
            with CancelScope(shield=True), suppress(RedisError, OSError):  # what cannot be given back frees itself
                await self._give_back(name)

    async def _take(self, name: str) -> bool:
        try:
            if self._owed:
                await self._give_back()
            return bool(await self._redis.eval(_TAKE, 1, self._key, name, str(self._limit), str(self._life)))
        except (RedisError, OSError) as error:
            raise Away(
                "broker_down", "Running requests cannot be counted: the queue service (Redis) does not answer.", "Nothing was sent. Check that it runs."
            ) from error

    async def _give_back(self, *names: str) -> None:
        self._owed.update(names)
        given = tuple(self._owed)
        await self._redis.zrem(self._key, *given)
        self._owed.difference_update(given)

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._redis.aclose()
