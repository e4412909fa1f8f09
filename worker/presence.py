"""A worker process says that it is there, and looks at the table now and then in case no message comes."""

import os
import platform
import signal
import sys
import threading
import time
from importlib.metadata import version
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app import disks
from app.db import now, transaction
from app.domain import device as machine
from app.domain import worker as workers
from app.domain.generation import ENGINE_CHANNEL
from app.domain.machine import installed
from app.errors import FettleError
from app.settings import settings
from worker import devices, parent, pruning
from worker.identity import worker_name

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5.0
LOOK_SECONDS = 10.0
DEAF_SECONDS = 60.0
"""A worker that idles so long while wake-ups lie in its queue does not hear them: it ends, to be started again."""
END_SECONDS = 20.0
PRUNE_SECONDS = 3600.0
MEASURE_SECONDS = 600.0
_kept: dict[str, int] = {}
"""Bytes of each use on this machine, as they were measured last."""
_ended = threading.Event()
_queue = ["gpu"]
_looker: list[threading.Thread] = []


def serves(queue: str) -> bool:
    """Does this process take messages of this queue?"""
    return queue in _queue


def started(sender: Any) -> None:
    """Remember which queue this process serves."""
    os.environ["FETTLE_WORKER_PROCESS"] = str(os.getpid())
    queues = list(getattr(sender, "app", sender).amqp.queues.consume_from) if sender is not None else []
    _queue[:] = queues or ["gpu"]
    try:
        if serves("gpu"):
            _take_device()
        elif serves("interactive"):
            devices.usable()
    except FettleError as error:
        sys.exit(f"{error.message} {error.advice}")


def _take_device() -> None:
    """From here on, in all this worker's processes, models run on the device it has."""
    os.environ[devices.GPUS] = ",".join(devices.gpus())
    os.environ["FETTLE_DEVICE"] = devices.torch_name(devices.take())
    settings.cache_clear()


def ready(sender: Any) -> None:
    """Begin to beat and, on a job queue, to look at the table."""
    del sender
    threading.Thread(target=_beat, name="presence", daemon=True).start()
    if serves("interactive"):
        threading.Thread(target=_listen, name="line", daemon=True).start()
    else:
        if serves("gpu"):  # one of a machine's workers is enough: each walks through all that is kept
            threading.Thread(target=_measure, name="kept", daemon=True).start()
        _looker.append(threading.Thread(target=_look, name="idle-look", daemon=True))
        _looker[0].start()


def ended() -> None:
    """Stop looking, let a job of the looking thread hand itself back, and say good-bye."""
    _ended.set()
    for thread in _looker:
        thread.join(parent.LEAVE_SECONDS)
    try:
        with transaction() as session:
            workers.gone(session, f"{worker_name()}/{_queue[0]}")
            machine.let_go(session, worker_name())
    except SQLAlchemyError as error:
        log.warning("could not say goodbye", reason=str(error))


def _beat() -> None:
    about: dict[str, Any] = {"python": platform.python_version(), "fettle": version("fettle"), **installed(), **devices.driver()}
    kind = "engine" if serves("interactive") else "worker"
    if serves("gpu"):
        about["gpus"] = len(devices.gpus())
    while True:
        try:
            about |= _disks()  # a disk over a network may take its time: nobody else is to wait for it
            with transaction() as session:
                about["clock_ms"] = time.time_ns() // 1_000_000 - now(session)
                workers.present(session, f"{worker_name()}/{_queue[0]}", kind, _queue[0], [] if serves("light") else devices.in_use(devices.usable()), about)
            if serves("gpu") and (other := devices.keep()):
                log.error("another worker has this worker's device", device=devices.own(), worker=other)
                os.kill(os.getpid(), signal.SIGTERM)
        except SQLAlchemyError as error:
            log.warning("presence not written", reason=str(error))
        if _ended.wait(BEAT_SECONDS):
            return


def _disks() -> dict[str, Any]:
    """What is free on the disks of this machine, and what is kept there; of those that cannot be looked at nothing new. The worker is there all the same."""
    kept = {"kept": dict(_kept)} if _kept else {}
    try:
        return {"room": devices.room(), **disks.report(), **kept}
    except OSError as error:
        log.warning("the disk cannot be looked at", reason=str(error))
        return kept


def _measure() -> None:
    """What this machine keeps, now and then, on a thread of its own: many files take longer than a heartbeat may."""
    while True:
        try:
            _kept.update(disks.kept_here())
        except OSError as error:
            log.warning("what is kept cannot be looked at", reason=str(error))
        if _ended.wait(MEASURE_SECONDS):
            return


def _listen() -> None:
    """Hold a line to the broker open. It breaks in the moment this process ends, however it ends: so web knows at once, not after missed heartbeats."""
    line = Redis.from_url(settings().redis, health_check_interval=BEAT_SECONDS).pubsub()  # type: ignore[no-untyped-call]
    while not _ended.is_set():
        try:
            if not line.subscribed:
                line.subscribe(ENGINE_CHANNEL)
            line.get_message(timeout=1.0)
        except (RedisError, OSError) as error:
            log.warning("the broker does not answer", reason=str(error))
            _ended.wait(1.0)
    line.close()


def _look() -> None:
    ear, pause = Ear(_queue[0]), 0.0  # what waited for a worker to come does not wait longer
    prune_at = time.monotonic() + LOOK_SECONDS
    while not _ended.wait(pause):
        pause = LOOK_SECONDS
        try:
            if ear.is_deaf():
                log.error("wake-ups are not heard any more; this worker ends, to be started again", queue=_queue[0])
                _end()
                return
            parent.drain(_queue[0])
            if time.monotonic() > prune_at:  # on either queue: an installation that only asks endpoints has no other worker
                prune_at = time.monotonic() + PRUNE_SECONDS
                pruning.prune()
        except (SQLAlchemyError, OSError) as error:
            log.warning("could not look for jobs", reason=str(error))


class Ear:
    """Whether this process still hears wake-ups. One that hears takes a message in the moment it idles, so none lies there for long.

    Jobs do not depend on it, because the table is looked at as well; only the second between "queued" and "running" does.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._since: float | None = None

    def is_deaf(self) -> bool:
        """Asked at every look, over a connection of its own."""
        unheard = self._lies_there() and self._idles()
        now = time.monotonic()
        self._since = (self._since or now) if unheard else None
        return self._since is not None and now - self._since > DEAF_SECONDS

    def _lies_there(self) -> bool:
        try:
            with Redis.from_url(settings().redis, socket_timeout=1, socket_connect_timeout=1) as redis:
                return bool(redis.llen(self._queue))
        except RedisError:
            return False

    def _idles(self) -> bool:
        with parent.device_lock(self._queue) as idle:
            return idle


def _end() -> None:
    """Ask this process to end; a part of it that does not listen even to that is not waited for."""
    last = threading.Timer(END_SECONDS, os._exit, (1,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)
