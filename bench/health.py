"""Seconds and peak memory of examining a version's health, in its own process as the product does it: `python -m bench.health [--rows 1000000]`.

The rows (12 words, ten labels, one text in a hundred a copy of an older one) are put into a fresh SQLite database; near-duplicates, which are a
chore of their own, count as looked for.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.data import WORDS
from bench.filled import filled

SPLITS = ("train", "train", "train", "validation", "test")


def texts(rows: int) -> Iterator[tuple[str, str]]:
    draw = random.Random(0)
    for number in range(rows):
        seed = number if draw.random() > 0.01 else draw.randrange(number + 1)
        yield " ".join(random.Random(seed).choices(WORDS, k=12)) + f" {seed}", f"label {seed % 10}"


def fill(rows: int) -> int:
    """A sealed version of so many rows in the database of the settings, its near-duplicates looked for. Returns the id of the chore that examines it."""
    from app.db import transaction
    from app.domain.chore import Chore

    key = filled(((text, label, SPLITS[at % 5]) for at, (text, label) in enumerate(texts(rows))), {})
    with transaction() as session:
        session.add(Chore(version_id=key, kind="near_duplicates", state="done", done=rows, total=rows))
        chore = Chore(version_id=key, kind="health", total=rows)
        session.add(chore)
        session.flush()
    return chore.id


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.fill:
        print(fill(chosen.rows))
        return
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as name:
        given = {**os.environ, "FETTLE_DATA": name, "FETTLE_DATABASE_URL": f"sqlite:///{Path(name) / 'fettle.db'}"}
        subprocess.run([sys.executable, "-m", "app.cli", "migrate"], env=given, check=True, capture_output=True)
        made = [sys.executable, "-m", "bench.health", "--fill", "--rows", str(chosen.rows)]
        key = subprocess.run(made, env=given, check=True, capture_output=True, text=True).stdout.split()[-1]
        began = time.perf_counter()
        examination = subprocess.Popen([sys.executable, "-m", "app.import_child", "chore", key], env=given)
        _, status, used = os.wait4(examination.pid, 0)
        seconds = time.perf_counter() - began
        if status:
            raise SystemExit(f"the examination ended with {status}")
        print(f"| rows | seconds | peak memory, MB |\n|---|---|---|\n| {chosen.rows:,} | {seconds:.0f} | {megabytes(used):.0f} |")


def megabytes(used: resource.struct_rusage) -> float:
    """The most memory that a process has held."""
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
