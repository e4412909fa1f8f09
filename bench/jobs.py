"""A load run of one-step jobs: `python -m bench.jobs`. A real web process, broker and worker; a tiny model with random weights.

For each job: from its acceptance to the claim, its phase `load` (the job's own process, its imports, the model), and from then to the first step's
metric point. What the queue itself costs is the first and the last; the target is 1.5 s for both together. Then how many such jobs an hour
one device does, and with how little between them. `--jobs N` for another number, `--together` to queue all at once.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.broker import start as start_broker
from bench.upload import Installation

JOBS = 6
TARGET_SECONDS = 1.5
LOOK_SECONDS = 0.02
STEP = {"max_steps": 1, "batch_size": 4, "rank": 4, "evaluations": 1, "max_length": 64}

MODEL = """
import sys
from pathlib import Path
from sqlalchemy import select
from app.db import transaction
from app.domain.access import who
from app.domain.user import User
from app.settings import settings
from tests.engine.conftest import make_model
from tests.rows import add_dataset, add_model

settings().models_folder.mkdir(parents=True, exist_ok=True)
make_model(settings().models_folder / "tiny", seed=7)
with transaction() as session:
    person = who(session.scalars(select(User)).first())
print(add_model(person, "Tiny", "tiny"), add_dataset(person).dataset_id)
"""


@dataclass(frozen=True)
class Took:
    """Seconds of a job: until it was claimed, until it was loaded, until its first step, and until its end."""

    claim: float
    load: float
    first: float
    whole: float

    @property
    def queue(self) -> float:
        """What is neither imports nor loading."""
        return self.claim + self.first


def run(here: Installation, keys: list[str], jobs: int, *, together: bool) -> list[Took]:
    """The jobs one after another, or all at once; then only the first one's claim says something about the queue."""
    model, dataset = keys
    wanted = {"kind": "tune", "model": int(model), "dataset": dataset, "method": "lora", "parameters": STEP, "seed": 1}
    if together:
        made = [here.call("POST", "/api/v1/jobs", json=wanted)["id"] for _ in range(jobs)]
        return [_follow(here, key) for key in made]
    return [_follow(here, here.call("POST", "/api/v1/jobs", json=wanted)["id"]) for _ in range(jobs)]


def _follow(here: Installation, key: int) -> Took:
    """Wait for a job's end; when its first point came is seen within a look."""
    first = 0.0
    while (state := _row(here, key))["state"] not in ("succeeded", "failed", "cancelled"):
        if not first and state["points"]:
            first = time.time()
        time.sleep(LOOK_SECONDS)
    if state["state"] != "succeeded":
        raise SystemExit(f"job {key}: {state['error']}")
    created, phases, finished = state["created_at"] / 1000, state["phases"], state["finished_at"] / 1000
    claimed, loaded = state["started_at"] / 1000, phases["preflight"] / 1000
    return Took(claimed - created, loaded - claimed, (first or finished) - loaded, finished - created)


def _row(here: Installation, key: int) -> dict[str, Any]:
    """The job as the database has it: a look that does not disturb what it measures."""
    import sqlite3

    with closing(sqlite3.connect(here.url.removeprefix("sqlite:///"), timeout=5)) as database:
        row = database.execute(
            "SELECT state, created_at, started_at, finished_at, phases, error, (SELECT count(*) FROM metric_point WHERE job_id = job.id AND name = 'loss') FROM job WHERE id = ?",
            [key],
        ).fetchone()
    return {
        "state": row[0], "created_at": row[1], "started_at": row[2], "finished_at": row[3], "phases": json.loads(row[4] or "{}"), "error": row[5], "points": row[6],
    }  # fmt: skip


def measure(jobs: int, *, together: bool) -> bool:
    """Print the table. Whether the target is met."""
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as name:
        folder = Path(name)
        broker = start_broker(folder / "broker.sock", folder / "broker", lambda command: subprocess.Popen(command, stdout=subprocess.DEVNULL))
        with closing(Installation(folder, "")) as here:
            here.environment |= {"FETTLE_REDIS_URL": f"redis+socket://{folder / 'broker.sock'}", "FETTLE_THREADS": "1"}
            keys = here._run(sys.executable, "-c", MODEL).split()
            with here.serving(), (folder / "worker.log").open("wb") as log:
                worker = subprocess.Popen([sys.executable, "-m", "app.cli", "worker"], env=here.environment, stdout=log, stderr=log)
                try:
                    run(here, keys, 1, together=False)  # the first one finds cold files
                    began = time.perf_counter()
                    took = run(here, keys, jobs, together=together)
                    seconds = time.perf_counter() - began
                finally:
                    worker.terminate()
                    worker.wait(30)
        broker.terminate()
        broker.wait(10)
    return _table(took, seconds, together=together)


def _table(took: list[Took], seconds: float, *, together: bool) -> bool:
    print("| seconds | median | longest |\n|---|---|---|")
    for name, field in (("accepted to claimed", "claim"), ("phase `load`", "load"), ("loaded to first step", "first"), ("accepted to done", "whole")):
        values = [getattr(one, field) for one in took]
        print(f"| {name} | {median(values):.2f} | {max(values):.2f} |")
    queue = median(one.queue for one in took)
    print(f"\nBesides imports and loading: {queue:.2f} s (target {TARGET_SECONDS}). {len(took) / seconds * 3600:,.0f} one-step jobs an hour on one device.")
    return together or queue < TARGET_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--together", action="store_true")
    chosen = parser.parse_args()
    if not measure(chosen.jobs, together=chosen.together):
        sys.exit("The target is missed.")


if __name__ == "__main__":
    main()
