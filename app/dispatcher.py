"""The dispatcher: in one web process, a thread that takes back what silent workers hold, and one that tells workers what waits."""

import os
import socket
import time
from importlib.metadata import version

import structlog

from app import queue
from app.db import now as db_clock
from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import worker as workers
from app.rounds import Rounds
from app.services import versions
from app.settings import settings

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10
RESEND_SECONDS = 15
SAY_SECONDS = 5
TIDY_SECONDS = 20
"""How often drafts of versions that lost their process are looked for."""
UNEVEN_SECONDS = 5.0
"""So far the database's clock and this process's own may part, or two looks lie apart, before leases say nothing for a while."""


class Clock:
    """Whether leases can be believed: only while somebody looked all along, and the database's clock ran evenly.

    A laptop that slept, a clock that was set, a database that was away or took no writes (its disk was full), a server that was started again: the
    leases of healthy workers have run out then as well, and those workers get the length of a lease to prolong them before anything is taken from them.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._last: tuple[float, float] | None = None
        self._doubted_until = time.monotonic() + lease_seconds

    def is_steady(self, database_ms: int) -> bool:
        """Told the database's time at every look."""
        here, there = time.monotonic(), database_ms / 1000
        if self._last is not None:
            passed_here, passed_there = here - self._last[0], there - self._last[1]
            if passed_here > UNEVEN_SECONDS or abs(passed_here - passed_there) > UNEVEN_SECONDS:
                self.doubt()
                log.warning("leases wait: the database was away or its clock jumped", here=round(passed_here, 1), there=round(passed_there, 1))
        self._last = here, there
        return time.monotonic() >= self._doubted_until

    def doubt(self) -> None:
        """Something kept, or may have kept, healthy workers from prolonging their leases until now."""
        self._doubted_until = time.monotonic() + self._lease_seconds


def holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def sweep(clock: Clock | None = None) -> list[str]:
    """Expire leases. Gives the queues in which something waits that their workers are to be told of; none where another process dispatches."""
    try:
        return _look(clock)
    except Exception:
        if clock is not None:
            clock.doubt()  # what could not be written here could not be written by workers either, however well reads went
        raise


def _look(clock: Clock | None) -> list[str]:
    with transaction() as session:
        steady = clock is None or clock.is_steady(db_clock(session))
        if not workers.hold(session, "dispatcher", holder(), LEASE_SECONDS):
            return []
        for job in ending.expire(session, settings().lease_seconds) if steady else []:
            log.warning("lease expired", job=job)
        return sorted(set(jobs.waiting(session, RESEND_SECONDS)))


class Waker(Rounds):
    """Apart from the dispatcher, because a broker that keeps it waiting must not keep it from looking: leases would be doubted for as long."""

    def __init__(self) -> None:
        super().__init__("waker", [self._wake])
        self._due: set[str] = set()

    def tell(self, queues: list[str]) -> None:
        """Have the workers of these queues woken. Whoever is not reached is told again after RESEND_SECONDS."""
        if queues:
            self._due.update(queues)
            self._nudged.set()

    def _wake(self) -> None:
        while self._due and not self._ended.is_set():
            queue.wake(self._due.pop())


class Dispatcher(Rounds):
    """Runs `sweep` after each commit that queued a job, and every second. Nothing that it does itself needs a broker."""

    def __init__(self) -> None:
        super().__init__("dispatcher", [self._sweep, self._tidy, self._say_version], queue.nudged)
        self._waker = Waker()
        self._tidied = time.monotonic()
        self._clock = Clock(settings().lease_seconds)
        self._told = 0.0

    def run(self) -> None:
        self._waker.start()
        super().run()
        self._waker.stop()

    def _sweep(self) -> None:
        self._waker.tell(sweep(self._clock))

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied > TIDY_SECONDS:
            self._tidied = time.monotonic()
            versions.sweep()

    def _say_version(self) -> None:
        """Workers of another version see that, and refuse to start."""
        if time.monotonic() - self._told > SAY_SECONDS:
            self._told = time.monotonic()
            with transaction() as session:
                workers.present(session, f"{holder()}/{workers.WEB}", "web", workers.WEB, [], {"fettle": version("fettle")})
