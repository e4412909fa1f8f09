"""SQLite's write lock, watched from beside: who has to wait for it, and how long one write holds it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from app.db import make_engine


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Work in a thread of its own, until the event it is given says that the block is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def beating(url: str, waits: list[float]) -> Iterator[None]:
    """A heartbeat's write every 20 ms, as every process of Fettle writes: how long each waited for the lock.

    By itself SQLite waits at every commit until the disk has the whole log, an import's pages among it, and holds its lock meanwhile.
    """
    engine = make_engine(url)

    def beat(over: threading.Event) -> None:
        with engine.connect() as database:
            while not over.wait(0.02):
                began = time.perf_counter()
                with database.begin():
                    waits.append((time.perf_counter() - began) * 1000)
                    database.exec_driver_sql("INSERT OR REPLACE INTO lease (name, holder, until) VALUES ('beat', 'bench', 0)")

    try:
        with beside(beat):
            yield
    finally:
        engine.dispose()


@contextmanager
def probing(url: str, spans: list[float]) -> Iterator[None]:
    """Every millisecond takes the write lock and gives it back at once. Where it was refused: for how long, the heartbeat's own writes included."""

    def probe(over: threading.Event) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)) as database:
            since: float | None = None
            while not over.wait(0.001):
                now = time.perf_counter()
                try:
                    database.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    since = since or now
                else:
                    database.execute("ROLLBACK")
                    if since is not None:
                        spans.append((now - since) * 1000)
                    since = None

    with beside(probe):
        yield
