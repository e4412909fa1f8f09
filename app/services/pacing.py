"""Many rows in short writes: on SQLite a write keeps every other one waiting, heartbeats and job starts included."""

TARGET_SECONDS = 0.025
"""How long one write should take, from its lock to the end of its commit; none may take longer than 50 ms."""

LEAST, MOST = 50, 5_000


class Pace:
    """How many rows the next write takes, by what the last one took."""

    def __init__(self) -> None:
        self.size = 400

    def took(self, rows: int, seconds: float) -> None:
        wanted = int(rows * TARGET_SECONDS / max(seconds, 1e-4))
        self.size = max(LEAST, min(wanted, 2 * self.size, MOST))
