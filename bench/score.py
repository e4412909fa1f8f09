"""Scoring and answering many rows, against lm-evaluation-harness and `model.generate` on this processor: `python -m bench.score [--quick] [ROW ...]`.

Likelihoods: both sides get the same requests (prompt and label as text) and are compared row by row; each runs in a process of its own, ours and
theirs in turn. Batch memory is equal in tokens: theirs gets the largest power of two whose padded rows hold no more tokens than ours holds at once
(the shared start and one pack). Generation: our completion of prompts with a shared start against `generate` on the same prompts, padded.
"""

import argparse
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.rendering import Shot, Template, answer_text, render
from bench.data import MODEL, ROOT, TASKS, prepare_model, records, test_rows
from bench.tune import peer, run

STATE = ROOT / ".state" / "bench-score"
AGREE = 0.995
"""The share of rows on which both sides have to choose the same label."""

APART = 1e-3
"""How far apart both sides may put the log-likelihood of a label: float32 sums in another order differ by less."""


@dataclass(frozen=True)
class Row:
    """One comparison. `shots` per prompt; `tokens` to write, none for likelihoods; `target` is the ratio to reach."""

    title: str
    data: str
    shots: int
    rows: int
    target: float
    tokens: int = 0
    every_label: bool = False
    instruction: bool = True


ROWS = {
    "few": Row("16-shot classification, sst2", "sst2", 16, 500, 8.0),
    "zero": Row("zero-shot classification, sst2", "sst2", 0, 500, 1.2),
    "many": Row("77 labels of several tokens, banking77", "banking77", 0, 50, 1.2, every_label=True, instruction=False),
    "generate": Row("8 tokens written after 16 shots, sst2", "sst2", 16, 64, 6.0, tokens=8),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.score", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="one row in 25: a look while developing")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    chosen = parser.parse_args()
    prepare_model()
    STATE.mkdir(parents=True, exist_ok=True)
    print("| comparison | ours rows/s | theirs rows/s | ratio | target | agreement | largest difference | peak memory MB, ours / theirs | their batch |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in chosen.rows:
        print(compare(ROWS[name], chosen.threads, quick=chosen.quick), flush=True)
    print(f"\n{chosen.threads} threads, float32, SmolLM2-135M-Instruct; Python {sys.version.split()[0]}")


def compare(row: Row, threads: int, *, quick: bool) -> str:
    """Ours, then theirs, and their line of the table."""
    job = write_job(row, threads, max(10, row.rows // 25) if quick else row.rows)
    ours = run([sys.executable, "-m", "bench.runs.score_ours"], job)
    given = json.loads(job.read_text())
    job.write_text(json.dumps(given | {"batch": batch_of(ours)}))
    if row.tokens:
        theirs = run([sys.executable, "-m", "bench.runs.score_generate"], job)
    elif python := peer("lmeval"):
        theirs = run([str(python), str(ROOT / "bench" / "runs" / "score_lmeval.py")], job)
    else:
        return f"| {row.title} | {rate(ours):.1f} | lm-evaluation-harness cannot be installed here | | | | | | |"
    return line(row, ours, theirs, batch_of(ours))


def batch_of(ours: dict[str, Any]) -> int:
    """Padded rows of theirs that hold no more tokens than ours does at once."""
    batch = 1
    while 2 * batch * ours["longest"] <= ours["held"]:
        batch *= 2
    return batch


def write_job(row: Row, threads: int, count: int) -> Path:
    """The JSON file that tells both sides what to do: prompts, and labels with the white space before them."""
    rows = test_rows(row.data, count) if not row.every_label else _every(row.data, count)
    labels = list(TASKS[row.data].labels) if not row.every_label else sorted({answer for _, answer in records(row.data, "train")})
    template = Template(instruction=TASKS[row.data].instruction if row.instruction else "").with_shots(_shots(row))
    prompts = [render(template, values).text for values, _ in rows]
    job = STATE / "job.json"
    job.write_text(
        json.dumps(
            {
                "model": str(MODEL),
                "prompts": prompts,
                "labels": [answer_text(template, label) for label in labels],
                "tokens": row.tokens,
                "threads": threads,
                "batch": 1,
            }
        )
    )
    return job


def _every(name: str, count: int) -> list[tuple[dict[str, str], str]]:
    found = list(records(name, "test"))
    random.Random(name).shuffle(found)
    return found[:count]


def _shots(row: Row) -> list[Shot]:
    """Drawn from train, the labels in turn."""
    by_label: dict[str, list[str]] = {}
    for values, answer in records(row.data, "train") if row.shots else ():
        by_label.setdefault(answer, []).append(values["input"])
    rng = random.Random(row.data)
    labels = sorted(by_label)
    return [Shot(rng.choice(by_label[labels[at % len(labels)]]), labels[at % len(labels)]) for at in range(row.shots)]


def rate(side: dict[str, Any]) -> float:
    return float(side["rows"] / side["seconds"])


def line(row: Row, ours: dict[str, Any], theirs: dict[str, Any], batch: int) -> str:
    ratio = rate(ours) / rate(theirs)
    if row.tokens:
        same = [one == other for one, other in zip(ours["texts"], theirs["texts"], strict=True)]
        agreed, apart = sum(same) / len(same), "texts"
    else:
        pairs = list(zip(ours["sums"], theirs["sums"], strict=True))
        agreed = sum(mine.index(max(mine)) == other.index(max(other)) for mine, other in pairs) / len(pairs)
        largest = float(np.abs(np.subtract(ours["sums"], theirs["sums"])).max())
        apart = f"{largest:.1e}{'' if largest <= APART else ' TOO FAR'}"
    target = f"{row.target:.1f} {'met' if ratio >= row.target else 'MISSED'}"
    enough = agreed >= (1.0 if row.tokens else AGREE)
    memory = f"{ours['peak_memory_bytes'] / 2**20:.0f} / {theirs['peak_memory_bytes'] / 2**20:.0f}"
    return f"| {row.title}, {ours['rows']} rows | {rate(ours):.1f} | {rate(theirs):.2f} | **{ratio:.1f}** | {target} | {100 * agreed:.1f} %{'' if enough else ' TOO FEW'} | {apart} | {memory} | {batch} |"


if __name__ == "__main__":
    main()
