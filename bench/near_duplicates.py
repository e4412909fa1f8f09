"""Seconds and peak memory of finding the near-duplicates of a long file, examining it, and putting them on one side: `python -m bench.near_duplicates`.

A version of a million rows (12 words each, ten labels), of which one in twenty repeats an older row with a letter changed, in a fresh SQLite database;
each step runs in a process of its own, as the product does it (the last in the process that answers). `--rows N` for another number of rows.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.data import WORDS
from bench.filled import filled
from bench.health import megabytes

SPLITS = ("train",) * 7 + ("validation",) + ("test",) * 2
STEPS = ("near_duplicates", "examine", "gather")


def texts(rows: int) -> Iterator[tuple[str, str]]:
    """A row in twenty repeats an older one with another letter at its end."""
    draw = random.Random(0)
    for number in range(rows):
        older = draw.randrange(number) if number and draw.random() < 0.05 else None
        seed = number if older is None else older
        yield " ".join(random.Random(seed).choices(WORDS, k=12)) + f" {seed}" + ("" if older is None else "x"), f"label {seed % 10}"


def fill(rows: int) -> None:
    """A sealed version that looks as if its file had been cut while it came in."""
    from app.db import transaction
    from app.domain import chore

    cut = random.Random(1)
    made = ((text, label, cut.choice(SPLITS)) for text, label in texts(rows))
    key = filled(made, {"mapping": {"input": "text", "output": "label", "split": None}, "streamed": True})
    with transaction() as session:
        chore.add(session, key, rows, ["near_duplicates"])


def step(name: str) -> None:
    """One of the steps, and what it found, on standard output."""
    from app.db import reading, transaction
    from app.domain.access import installation
    from app.domain.finding import Finding
    from app.domain.upload import Upload
    from app.services import chores, datasets, health, imports

    if name == "near_duplicates":
        done = chores.run(1)
        assert done is not None
        with reading() as session:
            found = session.get_one(type(done), done.id).result
        print(f"{found['rows']:,} rows in {found['groups']:,} groups, {found['leaking']:,} of validation and test resemble train")
    elif name == "examine":
        health.examine_version(1)
        with reading() as session:
            finding = session.query(Finding).filter_by(code="near_leakage").one()
        assert finding.remedy == "gather"
        print(f"{finding.count:,} rows of validation and test stand across, {finding.fixed:,} rows would move")
    else:
        with transaction() as session:
            person = installation(session)
        before, made = datasets.find(person, "1").version.splits, health.mend(person, "1", "near_leakage")
        if isinstance(made, Upload):  # of a long version, made by the importing child
            imports.run(made.id)
        after = datasets.find(person, "1").version.splits
        print(", ".join(f"{split} {before[split]:,} -> {after[split]:,}" for split in before))


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.near_duplicates", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--step", choices=("fill", *STEPS), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.step:
        fill(chosen.rows) if chosen.step == "fill" else step(chosen.step)
        return
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as name:
        given = {**os.environ, "FETTLE_DATA": name, "FETTLE_DATABASE_URL": f"sqlite:///{Path(name) / 'fettle.db'}"}
        subprocess.run([sys.executable, "-m", "app.cli", "migrate"], env=given, check=True, capture_output=True)
        subprocess.run([sys.executable, "-m", "bench.near_duplicates", "--step", "fill", "--rows", str(chosen.rows)], env=given, check=True)
        print(f"{chosen.rows:,} rows\n| step | seconds | peak memory, MB | found |\n|---|---|---|---|")
        for one in STEPS:
            began = time.perf_counter()
            with (Path(name) / "said").open("w+") as said:
                process = subprocess.Popen([sys.executable, "-m", "bench.near_duplicates", "--step", one], env=given, stdout=said)
                _, status, used = os.wait4(process.pid, 0)
                if status:
                    raise SystemExit(f"{one} ended with {status}")
                said.seek(0)
                print(f"| {one} | {time.perf_counter() - began:.0f} | {megabytes(used):.0f} | {said.read().strip()} |", flush=True)


if __name__ == "__main__":
    main()
