"""Published results run again with Fettle's engine: `python -m bench.published [--rows ROW ...] [--device cpu] [--rows-limit N] [--steps N]`.

A row needs a GPU, its model and its data. A row that lacks one prints a line that says which and how to provide it, and the rest goes on:
* FETTLE_PUBLISHED_MODELS names a folder with a subfolder a model, called like the model without its owner (gpt2-medium, t5-base-lm-adapt,
  Llama-3.2-3B), with safetensors weights and a tokenizer. A model that is not there is asked for at the hub, if one can be reached.
* FETTLE_BENCH_DATA names a folder with a subfolder a dataset, of JSON lines; bench/runs/published_rows.py has their columns and sources.

The figures to reach, their sources and what Fettle does otherwise than the published runs are in bench/runs/published_rows.py; all of it
is printed. Every row is a process of its own; results are kept in .state/bench-published, so that a call that is broken off goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench.gpu import ROOT, Results, device_name
from bench.runs.published_rows import NOT_OFFERED, ROWS, Data, Row

STATE = ROOT / ".state" / "bench-published"
HUB = """
import sys
from huggingface_hub import HfApi, snapshot_download
HfApi().model_info(sys.argv[1], timeout=5)
print(snapshot_download(sys.argv[1], allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"], ignore_patterns=["onnx/*", "original/*"]))
"""
"""Ask whether the hub has the model, with a short time-out, and only then fetch it. In a process of its own, which may break."""


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    device = "processor" if chosen.device == "cpu" else device_name()
    limits = f", {chosen.rows_limit} rows" * bool(chosen.rows_limit) + f", {chosen.steps} steps" * bool(chosen.steps)
    results = Results(chosen.folder / "results.json", f"{device or 'no device'}{limits}")
    sound, lines = True, []
    for name in chosen.rows:
        row = ROWS[name]
        if not results.get(name):
            if lacks := missing(row, device):
                print(f"{name}: {row.title}: left out, for want of {'; '.join(lacks)}", flush=True)
                continue
            result = run(name, chosen)
            if "failed" in result:
                print(f"{name}: failed: {result['failed']}", flush=True)
                sound = False
                continue
            results.put(name, result)
        lines += report(name, row, results.get(name) or {})
    if chosen.rows == list(ROWS):
        print("\n".join(f"{name}: {title}: not offered" for name, title in NOT_OFFERED.items()))
    if lines:
        print("\n".join([*HEAD, *lines, "", results.heading]))
    return 0 if sound else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.published", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="auto needs a GPU; cpu goes on without one, which takes days")
    parser.add_argument("--rows-limit", type=int, help="at most so many train and test rows: to try a row")
    parser.add_argument("--steps", type=int, help="so many optimiser steps instead of the published number: to try a row")
    parser.add_argument("--folder", type=Path, default=STATE, help="where runs and results are kept")
    return parser.parse_args(arguments)


def missing(row: Row, device: str) -> list[str]:
    """What the row lacks, each with how to provide it. The hub is asked last, and only if nothing else is missing."""
    lacks = [] if device else ["a CUDA device"]
    folder = data_folder(row.data)
    absent = [name for name in ("train.jsonl", row.data.test) if not (folder / name).exists()]
    if absent:
        columns = ", ".join(row.data.columns)
        last = " (references in the test file)" if row.data.references else ""
        lacks.append(f"{' and '.join(absent)} in {row.data.folder} under FETTLE_BENCH_DATA: JSON lines with {columns} and output{last}, from {row.data.source}")
    if not (local(row).exists() or (not lacks and hub(row.model))):
        lacks.append(f"the model {row.model}: put it as {local(row).name} under FETTLE_PUBLISHED_MODELS, or let a hub be reachable")
    return lacks


def local(row: Row) -> Path:
    """Where the row's model lies, if it was provided."""
    return Path(os.environ.get("FETTLE_PUBLISHED_MODELS") or STATE / "models") / row.model.rpartition("/")[2]


@cache
def hub(model: str) -> str:
    """The folder of a model fetched from the hub; empty when that cannot be done."""
    if os.environ.get("HF_HUB_OFFLINE"):
        return ""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HUB, model], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def data_folder(data: Data) -> Path:
    return Path(os.environ.get("FETTLE_BENCH_DATA") or ROOT.parent / "shared" / "data" / "clean") / data.folder


def read(file: Path, limit: int | None) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][:limit]


def run(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """The row's result, or {"failed": its last words}."""
    row, folder = ROWS[name], data_folder(ROWS[name].data)
    job = {
        "row": name,
        "model": str(local(row) if local(row).exists() else hub(row.model)),
        "train": read(folder / "train.jsonl", chosen.rows_limit),
        "test": read(folder / row.data.test, chosen.rows_limit),
        "device": chosen.device,
        "steps": chosen.steps,
        "folder": str(chosen.folder / "run"),
    }
    file = chosen.folder / "job.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(job))
    command = [sys.executable, "-W", "ignore", "-m", "bench.runs.published_run", str(file)]
    given = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


HEAD = ["| row | published | here | trainable | steps | training s | peak memory GB | test rows |", "|---|---|---|---|---|---|---|---|"]


def report(name: str, row: Row, found: dict[str, Any]) -> list[str]:
    """The row of the table, followed by what makes it differ."""
    published = ", ".join(f"{kind} {score:g}" for kind, score in row.published.items())
    here = ", ".join(f"{kind} {found['scores'][kind]:.1f}" for kind in row.published)
    few = [f"trained on {found['train_rows']} of {row.data.rows} rows: not comparable"] if found["train_rows"] < 0.98 * row.data.rows else []
    cells = (f"{found['trainable'] / 1e6:.2f} M", found["steps"], f"{found['seconds']:.0f}", f"{found['peak_memory_bytes'] / 1e9:.1f}", found["test_rows"])
    notes = "; ".join([*few, *row.differs])
    return [f"| {name}: {row.title} ({row.source}; {notes}) | {published} | {here} | {' | '.join(map(str, cells))} |"]


if __name__ == "__main__":
    sys.exit(main())
