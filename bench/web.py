"""Pages, streams and metric points under load: `python -m bench.web`. A real web process on SQLite, with 1,000 jobs and 1,000,000 metric points, a tenth of
them one job's; finished ladders on some tasks; workers of several machines.

200 event streams stay open on 20 running jobs (10 tabs each) that report points twice a second, while the dashboard, the queue and a job's page are
asked for one after another. Beside the times, the number of queries of each page with 60 and with all jobs. Then metric points go in as
a worker writes them, while the streams are still open. Targets: p95 150 ms, the same number of queries, 2,000 points a second.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from app.broker import start as start_broker
from bench.locks import beside
from bench.upload import Installation

JOBS, POINTS, STREAMS = 1000, 1_000_000, 200
RUNNING, QUEUED, DATASETS, LADDERS, MACHINES = 20, 30, 8, 4, 6
LOOKS = 200
INGEST_SECONDS, BATCH = 5.0, 200
TARGET_MS, TARGET_POINTS = 150.0, 2000
PAGES = {
    "dashboard": "/",
    "queue": "/jobs",
    "job that runs": "/jobs/{running}",
    "job that is over": "/jobs/{over}",
    "job with a long curve": "/jobs/{long}",
    "strip below them all": "/live",
    "news on the dashboard": "/now",
}

SEED = """
import json, sys
from sqlalchemy import insert
from app.db import transaction
from app.domain import job as jobs
from app.domain.access import who
from app.domain.job import Attempt, Job
from app.domain.metric import LogLine, MetricPoint
from app.domain.user import User
from app.services import jobs as start
from bench.web import RUNNING, QUEUED, lengths, recorded, seed_tasks
from app.domain.base import db_now
from sqlalchemy import select, update

count, points = int(sys.argv[1]), int(sys.argv[2])
with transaction() as session:
    person = who(session.scalars(select(User)).first())
model, versions = seed_tasks(person)
keys = []
for number in range(count):
    version = versions[number % len(versions)]
    keys.append(start.start_tune(person, model=model, dataset=version.dataset_id, method="lora", parameters={"max_steps": 1000}, prompt_version=None, seed=number).job.id)
several = lengths(keys, points)
with transaction() as session:
    over, running = keys[:-RUNNING - QUEUED], keys[-RUNNING - QUEUED:-QUEUED]
    for number, key in enumerate(over):
        state = "failed" if number % 10 == 0 else "succeeded"
        error = {"code": "crashed", "message": "It crashed.", "advice": "Read the log."} if state == "failed" else None
        session.execute(update(Job).where(Job.id == key).values(state=state, attempt=1, started_at=db_now() - 60_000, finished_at=db_now() - number * 1000, step=1000, total_steps=1000,
            phase="save", error=error, event=several[key], result={"validated_rows": 10, "parameters": None}))
    session.execute(update(Job).where(Job.id.in_(running)).values(state="running", attempt=1, phase="train", lease_token="bench", lease_until=db_now() + 3_600_000,
        heartbeat_at=db_now() + 3_600_000, started_at=db_now(), worker="bench:1", step=500, total_steps=1000, event=several[running[0]], eta_seconds=600.0))
    session.execute(insert(Attempt), [{"job_id": key, "number": 1, "worker": "bench:1", "started_at": 1, "ended_at": None, "outcome": None, "reason": None} for key in keys[:-QUEUED]])
    for key in keys:
        record = recorded(several[key])
        session.execute(insert(MetricPoint), [{"job_id": key, "name": name, "step": step, "value": 1 / (1 + at), "event": at + 1} for at, (name, step) in enumerate(record)])
        session.execute(insert(LogLine), [{"job_id": key, "attempt": 1, "event": at + 1, "at": 1, "text": f"step {at}"} for at in range(0, 100)])
print(json.dumps({"running": running, "over": over, "each": several[running[0]]}))
"""

QUERIES = """
import json, sys
from starlette.testclient import TestClient
from app.main import create_app
from tests.queries import queries

token, *paths = sys.argv[1:]
client = TestClient(create_app(), base_url="http://localhost", headers={"Authorization": "Bearer " + token})
found = {}
for path in paths:
    client.get(path).raise_for_status()
    with queries() as sent:
        client.get(path).raise_for_status()
    found[path] = len(sent)
print(json.dumps(found))
"""

LOOKS_AT = """
import json, sys, time
import httpx2

base, token, path, looks = sys.argv[1:]
spans = []
with httpx2.Client(base_url=base, headers={"Authorization": "Bearer " + token}, timeout=60) as client:
    for _ in range(int(looks)):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        spans.append((time.perf_counter() - began) * 1000)
print(json.dumps(spans))
"""


def seed_tasks(person: Any) -> tuple[int, list[Any]]:
    """A model, some datasets, finished ladders on half of them, and workers, all made as tests make theirs."""
    from app.db import transaction
    from app.domain import worker as workers
    from app.services import experiments
    from tests.rows import add_dataset, add_model, climb

    model, versions = add_model(person), [add_dataset(person, name=f"task {number}") for number in range(DATASETS)]
    for version in versions[:LADDERS]:
        rungs = [{"technique": technique} for technique in ("zero_shot", "one_shot", "few_shot")]
        experiments.create(person, name=f"ladder on {version.dataset_id}", dataset=version.dataset_id, model=model, rungs=rungs)
    climb(*(7, 8, 10) * LADDERS)
    with transaction() as session:
        for number in range(MACHINES):
            workers.present(session, f"machine-{number}:1/gpu", "worker", "gpu", [{"name": "cpu:0", "memory": 8e9}], {})
        workers.present(session, "machine-0:2/interactive", "engine", "interactive", [], {})
    return model, versions


def lengths(keys: list[int], points: int) -> dict[int, int]:
    """How many points each job has: a tenth of all are one job's, which is over."""
    each = (points - points // 10) // (len(keys) - 1)
    return dict.fromkeys(keys, each) | {keys[0]: points // 10}


def recorded(points: int) -> list[tuple[str, int]]:
    """(name, step) of a run's points in the order of its report: three at each step, and two at each of about a hundred validations, which no run has more of."""
    every, found, step = max(1, points // 300), list[tuple[str, int]](), 0
    while len(found) < points:
        step += 1
        found += [(name, step) for name in ("loss", "learning_rate", "grad_norm")]
        found += [(name, step) for name in ("validation_accuracy", "validation_loss") if step % every == 0]
    return found[:points]


class Load:
    """An installation with so many jobs, its streams, and what is measured of it."""

    def __init__(self, folder: Path, jobs: int, points: int) -> None:
        socket = folder / "broker.sock"
        self.broker = start_broker(socket, folder / "broker", lambda command: subprocess.Popen(command, stdout=subprocess.DEVNULL))
        self.here = Installation(folder, "")
        # Nobody beats for the jobs that run: their leases must last as long as the bench does.
        self.here.environment |= {"FETTLE_REDIS_URL": f"redis+socket://{socket}", "FETTLE_LEASE_SECONDS": "3600"}
        made = self._python(SEED, str(jobs), str(points))
        self.running, self.over = made["running"], made["over"]
        self.points_each = made["each"]
        self.address = f"http://127.0.0.1:{self.here.environment['FETTLE_PORT']}"

    def close(self) -> None:
        self.here.close()
        self.broker.terminate()
        self.broker.wait(10)

    def _python(self, code: str, *arguments: str) -> Any:
        done = subprocess.run([sys.executable, "-c", code, *arguments], env=self.here.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])

    def paths(self) -> dict[str, str]:
        return {name: path.format(running=self.running[0], over=self.over[-1], long=self.over[0]) for name, path in PAGES.items()}

    def queries(self) -> dict[str, int]:
        """Statements that each page sends to the database."""
        paths = self.paths()
        found = self._python(QUERIES, self.here.token, *paths.values())
        return {name: found[path] for name, path in paths.items()}

    def page_ms(self, path: str) -> list[float]:
        """Milliseconds of each look at a page, sorted; the first ones warm up. Whoever looks is a process of its own: this one reads 200 streams."""
        return sorted(self._python(LOOKS_AT, self.address, self.here.token, path, str(LOOKS + 3))[3:])

    def web_cpu(self, seconds: float = 4.0) -> float:
        """Per cent of a core that the web process takes for the streams alone."""
        web = next(one for one in psutil.Process().children() if "web" in one.cmdline())
        web.cpu_percent()
        time.sleep(seconds)
        return float(web.cpu_percent())

    def report(self, over: threading.Event) -> None:
        """Points of every running job twice a second, as their workers write them."""
        from app.db import make_engine, transaction
        from app.domain import metric as metrics

        bind, step = make_engine(self.here.environment["FETTLE_DATABASE_URL"] or self.here.url), 1000
        while not over.wait(0.5):
            step += 1
            for key in self.running:
                with transaction(bind) as session:
                    metrics.record(session, key, "bench", 1, [(step, {"loss": 1.0 / step, "learning_rate": 0.1})], step=step)
        bind.dispose()

    def ingest(self) -> float:
        """Points a second that one worker can write, each transaction with a second's worth of them."""
        from app.db import make_engine, transaction
        from app.domain import metric as metrics

        bind, step, written, began = make_engine(self.here.url), 1_000_000, 0, time.perf_counter()
        while (took := time.perf_counter() - began) < INGEST_SECONDS:
            points = [(step + at, {"loss": 0.5, "learning_rate": 0.1}) for at in range(BATCH // 2)]
            with transaction(bind) as session:
                metrics.record(session, self.running[1], "bench", 1, points, step=step)
            step, written = step + BATCH // 2, written + BATCH
        bind.dispose()
        return written / took


async def watch(load: Load, count: int, bytes_read: list[int], opened: threading.Event, over: threading.Event) -> None:
    """Keep so many streams open and read what they say."""

    async def one(number: int) -> None:
        key = load.running[number % len(load.running)]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(load.here.environment["FETTLE_PORT"]))
        head = f"GET /jobs/{key}/events?after={load.points_each} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {load.here.token}\r\n\r\n"
        writer.write(head.encode())
        try:
            while data := await reader.read(65536):
                bytes_read[number] += len(data)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    while not over.is_set():
        await asyncio.sleep(0.1)
        if all(bytes_read):
            opened.set()
        if any(task.done() for task in tasks):
            raise SystemExit(f"{sum(task.done() for task in tasks)} streams ended early")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def at(spans: list[float], share: float) -> float:
    return spans[min(len(spans) - 1, int(len(spans) * share))]


def measure(jobs: int, points: int, streams: int) -> bool:
    """Print the table. Whether every target is met."""
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as small, closing(Load(Path(small), 60, 600)) as few:
        before = few.queries()
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder, closing(Load(Path(folder), jobs, points)) as load:
        after = load.queries()
        read, opened = [0] * streams, threading.Event()
        with load.here.serving(), beside(load.report), beside(lambda over: asyncio.run(watch(load, streams, read, opened, over))):
            began = time.perf_counter()
            if not opened.wait(60):
                raise SystemExit(f"only {sum(map(bool, read))} of {streams} streams answered within a minute")
            print(f"{jobs:,} jobs, {points:,} metric points, {streams} streams open after {time.perf_counter() - began:.1f} s, {os.cpu_count()} cores")
            print(f"The web process takes {load.web_cpu():.0f} % of a core for {streams} streams on {RUNNING} jobs that report twice a second\n")
            print("| page | p50 ms | p95 ms | queries | with 60 jobs |\n|---|---|---|---|---|")
            good = [_line(load, name, path, before[name], after[name]) for name, path in load.paths().items()]
            rate = load.ingest()
        print(f"\nMetric points a second, one writer, streams open: {rate:,.0f} (target {TARGET_POINTS:,})")
        print(f"Read by the streams: {sum(read) / 1e6:.1f} MB")
        return all(good) and rate >= TARGET_POINTS


def _line(load: Load, name: str, path: str, before: int, after: int) -> bool:
    spans = load.page_ms(path)
    print(f"| {name} | {median(spans):.0f} | **{at(spans, 0.95):.0f}** | {after} | {before} |", flush=True)
    return at(spans, 0.95) <= TARGET_MS and before == after


def main(measure: Callable[[int, int, int], bool] = measure) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--streams", type=int, default=STREAMS)
    chosen = parser.parse_args()
    if not measure(chosen.jobs, chosen.points, chosen.streams):
        sys.exit("A target is missed.")


if __name__ == "__main__":
    main()
