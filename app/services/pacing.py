"""Many rows in short writes: on SQLite a write keeps every other one waiting, heartbeats and job starts included."""

import time

TARGET_SECONDS = 0.012
"""How long one write should take, from its lock to the end of its commit; none may take longer than 50 ms, also where the machine is busy."""

LEAST, MOST = 50, 5_000

FREE = 0.4
"""For how long the lock is free after a write, measured by it. Who waits for SQLite's lock asks for it now and then, and may find it taken every time."""


class Pace:
    """How many rows the next write takes, by what the last one took."""

    def __init__(self) -> None:
        self.size = 400
        self._ended = 0.0

    def took(self, rows: int, seconds: float) -> None:
        """The last write had so many rows and took so long. Waits where less than `FREE` lay before it."""
        between = time.perf_counter() - seconds - self._ended
        time.sleep(max(0.0, FREE * seconds - between))
        self._ended = time.perf_counter()
        wanted = int(rows * TARGET_SECONDS / max(seconds, 1e-4))
        self.size = max(LEAST, min(wanted, 2 * self.size, MOST))
