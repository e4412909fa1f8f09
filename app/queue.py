"""The way out to Celery and Redis: wake-ups for waiting jobs, and requests to the engine process. Sends by name only.

A wake-up carries no job, only the name of a queue; losing, doubling or forging one changes nothing. Nothing about jobs is
sent inside a request: a commit that queued something only nudges the dispatcher thread (the outbox is the job row itself).

No message has an end of its own: Celery would write the sender's time into it and measure it by the receiver's clock. What gets old is the
payload in Redis, on Redis' own clock; a message that comes late finds none, and an old wake-up finds nothing that waits.
"""

import json
import threading
import time
from functools import lru_cache
from typing import Any

import anyio
from anyio import to_thread
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.domain.generation import ENGINE_CHANNEL, LIFE, cancel_key, payload_key, stream_key
from app.errors import Unavailable
from app.settings import settings

TIMEOUT = 1.0
STREAM_TIMEOUT = 5.0
CANCEL_LOOK_SECONDS = 0.2
REMEMBERED_SECONDS = 3.0
_reached: tuple[float, bool] = (-REMEMBERED_SECONDS, True)
nudged = threading.Event()
"""Set after a commit that queued a job; the dispatcher waits on it."""


def announce(session: Session) -> None:
    """Remember that this transaction queued work. The dispatcher hears of it when, and only when, it commits."""
    session.info["announce"] = True


@event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    if session.info.pop("announce", False):
        nudged.set()


@event.listens_for(Session, "after_rollback")
def _after_rollback(session: Session) -> None:
    session.info.pop("announce", None)


@lru_cache
def _celery() -> Celery:
    app = Celery("fettle", broker=settings().broker)
    bounds = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry_on_timeout": False, "max_retries": 0}
    app.conf.update(
        task_serializer="json", accept_content=["json"], task_ignore_result=True, broker_transport_options=bounds, broker_connection_timeout=TIMEOUT
    )
    return app


@lru_cache
def _redis() -> Redis:
    return Redis.from_url(settings().redis, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, decode_responses=True)


def _send(task: str, queue: str, arguments: list[Any]) -> None:
    try:
        _celery().send_task(task, args=arguments, queue=queue, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        raise Unavailable(
            "broker_down", "The queue service (Redis) does not answer.", "Check that it runs; waiting jobs are safe and start by themselves."
        ) from error


def wake(queue: str) -> None:
    """Tell the workers of a queue that something waits. Raises Unavailable."""
    _send("fettle.work", queue, [queue])


def ask_engine(request: str, payload: dict[str, Any]) -> None:
    """Hand a generation to the engine process. Raises Unavailable within about a second when the broker does not answer."""
    try:
        _redis().set(payload_key(request), json.dumps(payload), ex=LIFE)
    except RedisError as error:
        raise Unavailable("broker_down", "The queue service (Redis) does not answer.", "Check that it runs, then try again.") from error
    _send("fettle.generate", "interactive", [request])


def cancel_generation(request: str) -> None:
    try:
        _redis().set(cancel_key(request), "1", ex=LIFE)
    except RedisError as error:
        raise Unavailable("broker_down", "The queue service (Redis) does not answer.", "The generation ends by itself after its last token.") from error


def is_cancelled(request: str) -> bool:
    """Has somebody asked to stop this generation? While the broker does not answer nobody can."""
    try:
        return bool(_redis().exists(cancel_key(request)))
    except RedisError:
        return False


async def until_cancelled(request: str) -> None:
    """Return when somebody asks to stop this generation."""
    while True:
        if await to_thread.run_sync(is_cancelled, request):
            return
        await anyio.sleep(CANCEL_LOOK_SECONDS)


def ping() -> bool:
    """Does the broker answer?"""
    try:
        return bool(_redis().ping())
    except RedisError:
        return False


def is_reachable() -> bool:
    """`ping`, remembered for three seconds: a page that is drawn again and again should not wait again and again for a broker that is away."""
    global _reached
    if time.monotonic() - _reached[0] > REMEMBERED_SECONDS:
        answer = ping()
        _reached = (time.monotonic(), answer)
    return _reached[1]


def engine_listens() -> bool:
    """Does an engine process hold its line open? False too while the broker does not answer: then nobody could ask it."""
    try:
        return any(count for _, count in _redis().pubsub_numsub(ENGINE_CHANNEL))
    except RedisError:
        return False


class EngineStream:
    """The events of one generation, read from its Redis stream as they come."""

    def __init__(self, request: str) -> None:
        self._redis: Any = AsyncRedis.from_url(settings().redis, socket_connect_timeout=TIMEOUT, socket_timeout=STREAM_TIMEOUT, decode_responses=True)
        self._key, self._last = stream_key(request), "0"

    async def read(self, wait_ms: int) -> list[dict[str, Any]]:
        """The next events, or none after `wait_ms`. Raises Unavailable."""
        try:
            answer = await self._redis.xread({self._key: self._last}, block=wait_ms)
        except RedisError as error:
            raise Unavailable("broker_down", "The queue service (Redis) stopped answering.", "Try again.") from error
        entries = answer[0][1] if isinstance(answer, list) and answer else next(iter(answer.values()))[0] if answer else []
        if entries:
            self._last = entries[-1][0]
        return [json.loads(fields["event"]) for _, fields in entries]

    async def close(self) -> None:
        await self._redis.aclose()
