"""What evaluations of one model cost that follow each other: `python -m bench.scorings [--jobs N]`. Starter model, SST-2, real processes.

Each is a prompt of its own over the validation rows, as a ladder's draws of shots are. The same ones once with a process for each and once as a worker does
them, where the process goes on with the next evaluation of its model. Memory is the largest that the jobs' own curves saw.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.data import MODEL, TASKS, prepare_model, rows

JOBS, ROWS = 8, 60
DATA = "FETTLE_DATA"


@dataclass(frozen=True)
class Took:
    """Seconds a job, and the most memory in bytes that its process and what it started held."""

    seconds: float
    memory: float


@contextmanager
def installed() -> Iterator[None]:
    """An empty installation with the starter model, in this process."""
    from app.db import engine
    from app.migrate import migrate
    from app.settings import settings

    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as name:
        os.environ |= {DATA: name, "HF_HUB_OFFLINE": "1"}
        settings.cache_clear()
        settings().models_folder.mkdir(parents=True)
        (settings().models_folder / MODEL.name).symlink_to(MODEL)
        migrate(engine())
        yield
        engine().dispose()


def desk() -> tuple[Any, int, int]:
    """(a person, the starter model, a dataset of SST-2 rows) in it."""
    from app.db import transaction
    from app.domain.access import who
    from app.domain.user import User, the_workspace
    from tests.rows import add_model, add_rows

    with transaction() as session:
        workspace = the_workspace(session)
        nobody = "!"  # matches no password
        user = User(workspace_id=workspace.id, name="Bench", password_hash=nobody, role="admin", disabled_at=None, seen_at=None)
        session.add(user)
        session.flush()
        person = who(user)
    train, held = rows("sst2", 20, ROWS)
    told = [(one["input"], answer, split) for split, some in (("train", train), ("validation", held), ("test", held)) for one, answer in some]
    return person, add_model(person, "Starter", MODEL.name), add_rows(person, "sst2", told).dataset_id


def run(where: tuple[Any, int, int], count: int, work: Callable[[], object]) -> Took:
    """Queue `count` evaluations, then time what does them all."""
    from app.domain import metric as metrics
    from app.services import evaluations, jobs, prompts

    person, model, dataset = where
    keys = []
    for number in range(count):
        version = prompts.create(person, f"prompt {number}", {"instruction": f"{TASKS['sst2'].instruction} Case {number}."})
        keys.append(evaluations.create(person, model=model, prompt_version=version.reference, dataset=dataset, split="validation").job.id)
    began = time.perf_counter()
    work()
    seconds = (time.perf_counter() - began) / count
    if any(jobs.find(person, key).job.state != "succeeded" for key in keys):
        sys.exit("Not every evaluation succeeded.")
    held = [point.value for key in keys for point in jobs.points(person, key) if point.name == metrics.MEMORY]
    return Took(seconds, max(held, default=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scorings", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    count = parser.parse_args().jobs
    prepare_model()
    with installed():
        from worker import parent, resources

        resources.EVERY_SECONDS = 0.5

        def one_by_one() -> None:
            while parent.run_one("gpu"):
                pass

        where = desk()
        run(where, 1, one_by_one)  # the first one finds cold files
        alone, together = run(where, count, one_by_one), run(where, count, lambda: parent.drain("gpu"))
    print("| evaluations | seconds each | most memory |\n|---|---|---|")
    print(f"| a process for each | {alone.seconds:.2f} | {alone.memory / 1e9:.2f} GB |")
    print(f"| one process for all | {together.seconds:.2f} | {together.memory / 1e9:.2f} GB |")
    print(
        f"\n{alone.seconds / together.seconds:.2f} times as fast: {count} evaluations of {ROWS} rows each, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
