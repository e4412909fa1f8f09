"""Many rows in short writes: on SQLite a write keeps every other one waiting, heartbeats and job starts included. PostgreSQL's keep nobody waiting."""

import time

from app.db import engine

TARGET_SECONDS = {"sqlite": 0.012, "postgresql": 0.1}
"""How long one write should take, from its lock to the end of its commit; on SQLite none may take longer than 50 ms, also where the machine is busy."""

LEAST, MOST = 50, 5_000

FREE = 0.4
"""For how long the lock is free after a write, measured by it. Who waits for SQLite's lock asks for it now and then, and may find it taken every time."""


class Pace:
    """How many rows the next write takes, by what the last one took."""

    def __init__(self) -> None:
        self.size = 400
        self._database = engine().dialect.name
        self._ended = 0.0

    def took(self, rows: int, seconds: float) -> None:
        """The last write had so many rows and took so long. On SQLite, waits where less than `FREE` lay before it."""
        if self._database == "sqlite":
            between = time.perf_counter() - seconds - self._ended
            time.sleep(max(0.0, FREE * seconds - between))
            self._ended = time.perf_counter()
        wanted = int(rows * TARGET_SECONDS[self._database] / max(seconds, 1e-4))
        self.size = max(LEAST, min(wanted, 2 * self.size, MOST))
