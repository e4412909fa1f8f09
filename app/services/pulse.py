"""A lease kept while something takes long that writes nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

PULSE_SECONDS = 3.0


@contextmanager
def pulse(hold: Callable[[], object], dropped: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Call `hold` every few seconds from a thread, until the block ends or `hold` raises `dropped`: somebody has taken the thing away."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(PULSE_SECONDS):
            try:
                hold()
            except dropped:
                return
            except SQLAlchemyError:  # the next beat tries again; a lease outlives several
                continue

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
