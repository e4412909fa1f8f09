"""The next version of 100,000 rows on SQLite, made and appended to through a real web process: `python -m bench.versions`.

For each change, and for what is worked out about the versions in the background, its seconds; the longest write, seen by somebody who asks for the
write lock every millisecond; how long a heartbeat waited for the lock; and the peak memory of the child that did it. "Nothing" is a web process that
nobody asks for anything. `--rows N` for another number of rows.
Ends with 1 where a limit is missed.
"""

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.locks import beating, probing
from bench.upload import Installation, write_csv

ROWS = 100_000
STILL_SECONDS = 5.0
SOME = 500
WRITE_MS, MEMORY = 50, 400e6


@dataclass(frozen=True)
class Line:
    """What was done: its seconds, and in milliseconds, sorted, the spans in which the lock was not to be had and the waits of a heartbeat; bytes."""

    what: str
    seconds: float
    writes: list[float]
    waits: list[float]
    memory: int | None

    def __str__(self) -> str:
        figures = [self.writes[-1] if self.writes else 0, self.waits[len(self.waits) // 2], self.waits[len(self.waits) * 99 // 100], self.waits[-1]]
        memory = "–" if self.memory is None else f"{self.memory / 1e6:.0f}"
        return f"| {self.what} | {self.seconds:.1f} | {' | '.join(f'{figure:.0f}' for figure in figures)} | {memory} |"


def measure(rows: int) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder, closing(Installation(Path(folder), "")) as here, here.serving():
        first, second = Path(folder) / "first.csv", Path(folder) / "second.csv"
        write_csv(first, rows)
        write_csv(second, rows, first=rows)
        place = f"/api/v1/datasets/{here.upload(first)['id']}"

        def change(kind: str, **values: Any) -> None:
            done(here.call("POST", f"{place}/versions", json={"kind": kind, **values}))

        def some() -> list[int]:
            return [row["id"] for row in here.call("GET", f"{place}/examples?split=train&limit={SOME}")["items"]]

        def done(told: dict[str, Any]) -> None:
            """A long version is changed, and a long file appended, by an upload."""
            while "upload" in told and here.call("GET", f"/api/v1/uploads/{told['upload']}")["state"] != "done":
                time.sleep(0.2)

        def settle() -> None:
            """Search index, near-duplicates and health of all versions; lengths wait for a model, and there is none."""
            here.call("GET", f"{place}/health")
            with closing(sqlite3.connect(here.url.removeprefix("sqlite:///"))) as database:
                while states := [state for (state,) in database.execute("SELECT state FROM chore WHERE state != 'done' AND kind != 'lengths'")]:
                    if "failed" in states:
                        raise SystemExit("A background step failed.")
                    time.sleep(0.2)

        made: dict[str, Callable[[], object]] = {
            "its background steps": settle,
            "nothing": lambda: time.sleep(STILL_SECONDS),
            "one label merged into another": lambda: change("relabel", labels={"label 1": "label 2"}),
            f"{SOME} rows dropped": lambda: change("drop", rows=some()),
            f"{SOME} outputs edited": lambda: change("edit", outputs=dict.fromkeys(some(), "label 3")),
            "as many rows appended": lambda: done(here.upload(second, f"{place}/append")),
            "the background steps of all these": settle,
        }
        return [_timed(here, what, make) for what, make in made.items()]


def _timed(here: Installation, what: str, make: Callable[[], object]) -> Line:
    writes: list[float] = []
    waits: list[float] = []
    here.peaks.clear()
    began = time.perf_counter()
    with probing(here.url, writes), beating(here.url, waits):
        make()
    peaks = [peak for child, peak in here.peaks.items() if child in ("importing child", "chore child")]
    return Line(what, time.perf_counter() - began, sorted(writes), sorted(waits), max(peaks, default=None))


def table(lines: list[Line], rows: int) -> str:
    head = f"| {rows:,} rows on SQLite | s | longest write, ms (at most 50) | a heartbeat's median wait, ms | 99 of 100 | longest | peak memory, MB (at most 400) |"
    return "\n".join([head, "|---" * 7 + "|", *map(str, lines)])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    rows = options.parse_args().rows
    lines = measure(rows)
    print(table(lines, rows))
    if missed := [line.what for line in lines if (line.writes and line.writes[-1] > WRITE_MS) or (line.memory or 0) > MEMORY]:
        sys.exit(f"Missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
