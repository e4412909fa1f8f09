"""A thread of web that goes its rounds: the dispatcher, its waker, the importer and the messenger are such."""

import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.errors import FettleError

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0


class Rounds(threading.Thread):
    """Does its duties in their order once a second, and at once when it is nudged, until it is stopped. A duty that fails keeps no other from its turn."""

    def __init__(self, name: str, duties: Sequence[Callable[[], object]], nudged: threading.Event | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._duties, self._ended = duties, threading.Event()
        self._nudged = nudged or threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            self._nudged.wait(PAUSE_SECONDS)
            self._nudged.clear()
            went = [self._well(duty) for duty in self._duties]
            # Whoever nudges all the time must not make a thread run hot that only fails.
            if not all(went):
                self._ended.wait(PAUSE_SECONDS)

    def _well(self, duty: Callable[[], object]) -> bool:
        try:
            duty()
        except (FettleError, SQLAlchemyError, OSError) as error:
            log.warning("a thread of web waits", thread=self.name, reason=str(error))
            return False
        except Exception:  # the door of a thread that must outlive whatever one round meets
            log.exception("a thread of web failed in a round", thread=self.name)
            return False
        return True

    def stop(self) -> None:
        self._ended.set()
        self._nudged.set()
        self.join(timeout=3)
