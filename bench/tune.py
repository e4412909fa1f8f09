"""Training speed against TRL and LLaMA-Factory on this machine's processor: `python -m bench.tune [--quick] [--rows NAME ...]`.

Every row trains the same model on the same examples with the same method, learning rate, steps, effective batch, seeds and threads,
each run in a process of its own, ours and theirs in turn, so that a noisy machine hits both. A run's result is kept in
.state/bench-tune/results.json as soon as it is there: a bench that is broken off goes on where it was, and rows can be run one by one.
A row whose peer cannot be installed or whose run fails says so in the table; the others go on, and the next call tries it again.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import mean, variance
from typing import Any

from bench.data import MODEL, ROOT, prepare_model, records

STATE = ROOT / ".state" / "bench-tune"
TORCH = "torch==2.13.0"
PEERS = {
    "trl": [TORCH, "trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0", "datasets==5.2.0"],
    "llamafactory": [TORCH, "torchvision==0.28.0", "torchaudio", "llamafactory==0.9.5"],
    "lmeval": [TORCH, "lm-eval==0.4.13", "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0", "datasets==5.2.0"],
}
"""What each peer's environment holds. TRL and lm-evaluation-harness (bench/score.py) get our versions of everything below them; LLaMA-Factory pins its own."""

IMPORTED = {"trl": "trl", "llamafactory": "llamafactory.train.tuner", "lmeval": "lm_eval"}
"""What has to be importable then: a package of the index may be built for another torch than the one that is there."""

TRAIN_ROWS, VALIDATION_ROWS = 512, 96
BATCH = 16
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Row:
    """One comparison. `steps` are optimiser steps, the first of which is not timed; `target` is the ratio to reach, None where none is set."""

    title: str
    data: str
    method: str
    rank: int
    targets: str
    learning_rate: float
    steps: int
    target: float | None
    peer: str = "trl"
    options: dict[str, Any] = field(default_factory=dict)
    """Passed to the peer beyond its defaults."""


GROUPED = {"train_sampling_strategy": "group_by_length", "completion_only_loss": True}
ROWS = {
    "lora16": Row("LoRA r16 all linear, sst2, TRL defaults", "sst2", "lora", 16, "all_linear", 5e-4, 16, 2.0),
    "lora8": Row("LoRA r8 q and v, sst2, TRL defaults", "sst2", "lora", 8, "attention", 5e-4, 16, 2.4),
    "full": Row("full, sst2, TRL defaults", "sst2", "full", 0, "", 2e-5, 16, 2.3),
    "grouped": Row("LoRA r16, sst2, TRL grouped by length, loss on the completion", "sst2", "lora", 16, "all_linear", 5e-4, 16, 1.3, options=GROUPED),
    "e2e": Row("LoRA r16, e2e_nlg, TRL defaults", "e2e_nlg", "lora", 16, "all_linear", 5e-4, 12, 1.3),
    "unchecked": Row(
        "LoRA r16, sst2, TRL grouped, no checkpointing", "sst2", "lora", 16, "all_linear", 5e-4, 16, None, options=GROUPED | {"gradient_checkpointing": False}
    ),
    "llamafactory": Row("LoRA r16, sst2, LLaMA-Factory defaults", "sst2", "lora", 16, "all_linear", 5e-4, 16, None, peer="llamafactory"),
}
TARGET_MODULES = {"all_linear": "all-linear", "attention": ["q_proj", "v_proj"], "": None}


class Failed(SystemExit):
    """A run that ended badly, with its last words. Ends a bench that does not go on without it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tune", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and few steps: a look while developing, kept apart from the full results")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: 1 2 3 4 5, with --quick 1")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier calls measured for these rows")
    parser.add_argument("--table", action="store_true", help="only print what has been measured")
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help="where the results are kept; another folder keeps a trial apart from them")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    chosen = parser.parse_args(arguments)
    results, without = Results(chosen.state / ("quick.json" if chosen.quick else "results.json")), dict[str, str]()
    if chosen.fresh:
        results.forget(chosen.rows)
    if not chosen.table:
        prepare_model()
        for seed in chosen.seeds or (SEEDS[:1] if chosen.quick else SEEDS):
            for name in (name for name in chosen.rows if name not in without):
                if reason := run_pair(name, seed, chosen.threads, results, quick=chosen.quick):
                    without[name] = reason
                    print(f"{name}: {reason}", flush=True)
    print(table(results, chosen.rows, without))
    return int(any(reason.startswith("failed") for reason in without.values()))


class Results:
    """What was measured, by "row/side/seed", in a file that is written whole after every run."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.kept: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def put(self, key: str, value: dict[str, Any]) -> None:
        self.kept[key] = value
        self._write()

    def forget(self, rows: list[str]) -> None:
        self.kept = {key: value for key, value in self.kept.items() if key.split("/")[0] not in rows}
        self._write()

    def of(self, row: str, side: str) -> list[dict[str, Any]]:
        """A side's runs, of the seeds that both sides have."""
        seeds = [key.split("/")[2] for key in self.kept if key.startswith(f"{row}/ours/")]
        return [self.kept[f"{row}/{side}/{seed}"] for seed in seeds if f"{row}/theirs/{seed}" in self.kept]

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".tmp")
        draft.write_text(json.dumps(self.kept, indent=1))
        draft.replace(self.file)


def run_pair(name: str, seed: int, threads: int, results: Results, *, quick: bool) -> str:
    """Ours, then theirs, each unless it has been measured. Why the row cannot be had; nothing when it can."""
    row = ROWS[name]
    for side in ("ours", "theirs"):
        key = f"{name}/{side}/{seed}"
        if key in results.kept:
            continue
        python = peer(row.peer)  # before ours too, which is worth nothing alone
        if python is None:
            return f"left out: {row.peer} cannot be installed here; .state/bench-tune/{row.peer}.log says why"
        command = [sys.executable, "-m", "bench.runs.fettle_run"] if side == "ours" else [str(python), str(script(row.peer))]
        try:
            result = run(command, write_job(results.file.parent, row, seed, threads, side, min(6, row.steps) if quick else row.steps))
        except Failed as failed:
            return f"failed: {side}, seed {seed}: {str(failed).strip().splitlines()[-1][:300].replace('|', '/')}"
        print(f"{key}: {speed(result):.2f} examples/s, {result['processor_seconds']:.0f} s of processor, loss {result['validation_loss']:.4f}", flush=True)
        results.put(key, result)
    return ""


def script(name: str) -> Path:
    """What a peer's environment runs."""
    return ROOT / "bench" / "runs" / f"{name}_run.py"


def run(command: list[str], job: Path) -> dict[str, Any]:
    """The last line a run prints, a JSON object. Raises Failed with the run's own words."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, str(job)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    last = (done.stdout.strip().splitlines() or [""])[-1]
    with suppress(ValueError):
        if isinstance(result := json.loads(last), dict):
            return result
    raise Failed(f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}\n{' '.join(command)} ended without a result; its last line was {last!r}")


def write_job(state: Path, row: Row, seed: int, threads: int, side: str, steps: int) -> Path:
    """The JSON file that tells a run what to do."""
    state.mkdir(parents=True, exist_ok=True)
    job = {
        "model": str(MODEL),
        "folder": str(state.resolve() / "run"),
        "train": list(pairs(row.data, "train", TRAIN_ROWS)),
        "validation": validation_ids(row.data),
        "method": row.method,
        "rank": row.rank,
        "targets": row.targets,
        "target_modules": TARGET_MODULES[row.targets],
        "learning_rate": row.learning_rate,
        "batch_size": BATCH,
        "steps": steps,
        "seed": seed,
        "threads": threads,
        "options": row.options if side == "theirs" else {},
    }
    file = state.resolve() / "job.json"
    file.write_text(json.dumps(job))
    return file


def pairs(name: str, split: str, most: int) -> Iterator[tuple[str, str]]:
    """(prompt, completion) as text: what every side reads."""
    for values, answer in islice(records(name, split), most):
        yield f"Input: {values['input']}\nOutput:", f" {answer}"


def validation_ids(name: str) -> list[tuple[list[int], list[int]]]:
    """The validation rows as token ids, once for both sides."""
    return encoded(name, "validation", VALIDATION_ROWS)


def encoded(name: str, split: str, most: int) -> list[tuple[list[int], list[int]]]:
    """(prompt, completion) as token ids; the completions end with the end token."""
    from app.domain.rendering import Part, Rendered
    from worker.engine.encode import encode_pair
    from worker.engine.load import load_tokenizer

    tokenizer = load_tokenizer(MODEL)
    rows = [Rendered((Part(prompt, trusted=False),), answer=completion) for prompt, completion in pairs(name, split, most)]
    return [encode_pair(tokenizer, row) for row in rows]


@cache
def peer(name: str) -> Path | None:
    """The Python of a peer's environment, installed on first use. None when it cannot be installed."""
    home = ROOT / ".state" / f"bench-{name}"
    python, stamp, log = home / "bin" / "python", home / "installed", STATE / f"{name}.log"
    check = f"import {IMPORTED[name]}"
    wanted = "\n".join([*PEERS[name], check])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join(PEERS[name])}", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    steps = (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--progress-bar", "off", *PEERS[name]],
        [str(python), "-W", "ignore", "-c", check],
    )
    with log.open("w") as output:
        for command in steps:
            if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                return None
    stamp.write_text(wanted)
    return python


def speed(result: dict[str, Any]) -> float:
    """Examples per second by the wall."""
    return float(result["examples"] / result["wall_seconds"])


def table(results: Results, rows: Sequence[str], without: Mapping[str, str]) -> str:
    """One line a row: speeds, their ratio by the wall and by processor time, the memory and the losses of both sides; or why there are none."""
    lines = [
        "| comparison | ours ex/s | theirs ex/s | ratio | by processor time | target | peak memory MB, ours / theirs | validation loss, ours / theirs | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    versions: dict[str, dict[str, str]] = {}
    for name in rows:
        ours, theirs = results.of(name, "ours"), results.of(name, "theirs")
        if ours and theirs:
            lines.append(line(ROWS[name], ours, theirs))
            versions |= {"ours": ours[-1]["versions"], ROWS[name].peer: theirs[-1]["versions"]}
        if name in without:
            lines.append(f"| {ROWS[name].title} | {without[name]} |" + " |" * 7)
    lines += ["", *(f"{side}: {', '.join(f'{name} {number}' for name, number in found.items())}" for side, found in versions.items())]
    return "\n".join(lines)


def line(row: Row, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """A row of the table. Speeds are over all seeds together; a loss is said to be worse only beyond the pooled standard error."""
    fast, slow = (sum(run["examples"] for run in side) / sum(run["wall_seconds"] for run in side) for side in (ours, theirs))
    processor = sum(run["processor_seconds"] for run in theirs) / sum(run["processor_seconds"] for run in ours)
    memory, their_memory = (max(run["peak_memory_bytes"] for run in side) / 2**20 for side in (ours, theirs))
    target = "" if row.target is None else f"{row.target:.1f} {'met' if fast / slow >= row.target else 'MISSED'}"
    return (
        f"| {row.title} | {fast:.2f} | {slow:.2f} | **{fast / slow:.2f}** | {processor:.2f} | {target} "
        f"| {memory:.0f} / {their_memory:.0f}{'' if memory <= their_memory else ' MORE'} | {losses(ours, theirs)} | {len(ours)} |"
    )


def losses(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """Means of both sides and, from two seeds on, the pooled standard error of their difference with the verdict."""
    mine, other = ([run["validation_loss"] for run in side] for side in (ours, theirs))
    text = f"{mean(mine):.4f} / {mean(other):.4f}"
    if len(mine) < 2:
        return text
    error = ((variance(mine) + variance(other)) / len(mine)) ** 0.5
    return f"{text} (± {error:.4f}{', WORSE' if mean(mine) - mean(other) > error else ''})"


if __name__ == "__main__":
    sys.exit(main())
