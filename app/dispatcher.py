"""The dispatcher: one thread in one web process that sends what waits and takes back what silent workers hold."""

import os
import socket
import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.db import transaction
from app.domain import job as jobs
from app.domain import worker as workers
from app.errors import Unavailable
from app.services import versions

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
LEASE_SECONDS = 10
RESEND_SECONDS = 15
TIDY_SECONDS = 20
"""How often drafts of versions that lost their process are looked for."""


def holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def sweep() -> list[str]:
    """One round: expire leases, then wake the queues in which something waits. Returns the queues that were woken."""
    with transaction() as session:
        if not workers.hold(session, "dispatcher", holder(), LEASE_SECONDS):
            return []
        for job in jobs.expire(session):
            log.warning("lease expired", job=job)
        queues = sorted(set(jobs.waiting(session, RESEND_SECONDS)))
    for name in queues:
        queue.wake(name)
    return queues


class Dispatcher(threading.Thread):
    """Runs `sweep` after each commit that queued a job, and every second."""

    def __init__(self) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._ended = threading.Event()
        self._tidied = time.monotonic()

    def run(self) -> None:
        while not self._ended.is_set():
            queue.nudged.wait(PAUSE_SECONDS)
            queue.nudged.clear()
            try:
                sweep()
                self._tidy()
            except (Unavailable, SQLAlchemyError) as error:
                log.warning("dispatcher waits", reason=str(error))
                time.sleep(PAUSE_SECONDS)
            except Exception:  # the door of a thread that must outlive whatever one round meets
                log.exception("a round of the dispatcher failed")
                time.sleep(PAUSE_SECONDS)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied > TIDY_SECONDS:
            self._tidied = time.monotonic()
            versions.sweep()

    def stop(self) -> None:
        self._ended.set()
        queue.nudged.set()
        self.join(timeout=3)
