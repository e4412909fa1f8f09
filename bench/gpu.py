"""Training speed on one GPU against a plain Trainer and TRL: `python -m bench.gpu [--shapes 0.5b 1b 3b 8b] [--methods full lora] [--sides ...]`.

Random-weight Llama models in bfloat16 (full fine-tuning with float32 weights under autocast, on every side), random token rows of half to
all of `--length`, the loss on the second half of each row, no recomputed activations, one pass. Every measurement is a process of its own;
its result is kept in `--results` as soon as it is there, so that a call that is broken off goes on where it was, shape by shape.

Runs on any Python from 3.11 and torch from 2.11 with these packages on the path and nothing else of the project's: accelerate, peft,
transformers, safetensors, tokenizers, pydantic, jinja2 (and what they require). TRL's side also takes trl and datasets, in this
interpreter or, where `python -m bench.tune` made it, in .state/bench-trl; without them it is left out. No network.

What is counted:
* Tokens per second: tokens of the rows, padding not counted, over the wall time of all steps but the first `WARM`.
* Model FLOPs after PaLM (arXiv 2204.02311, appendix B): a token costs 6 N + 12 L H Q T, N being the weights it is multiplied with, L the
  layers, H the heads, Q their size and T the row's own length. The output layer counts only where a token is predicted for the loss.
  LoRA needs no gradient of the N frozen weights, only through them: 4 N + 6 A + 12 L H Q T, with A weights in the adapter.
* MFU: those FLOPs per second over the device's peak dense bfloat16 FLOPs per second. Work done twice, or on padding, earns nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".state" / "bench-gpu"
RUNS = ROOT / "bench" / "runs"
SIDES = ("fettle", "trainer", "trl", "trl_defaults")
"""trl has the others' settings, trl_defaults what its own SFTConfig says: it recomputes activations to save memory."""
RANK = 16
WARM = 4
"""Steps that are not timed: the first ones allocate memory and choose kernels."""
LIMIT = 1200
"""Seconds after which a run is given up."""

PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "B200": 2250e12,
}
"""Dense bfloat16 FLOPs per second by a part of the device's name, from NVIDIA's data sheets; the first that fits counts."""


@dataclass(frozen=True)
class Shape:
    """A Llama model's shape, and the examples of a step that fit an 80 GB device. `like` is the model it is taken from."""

    like: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    inner: int
    vocabulary: int
    tied: bool
    batch: int

    @property
    def linear(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of a block's linear layers."""
        wide, narrow = self.heads * self.head_size, self.key_heads * self.head_size
        attention = [(self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden)]
        return [*attention, (self.hidden, self.inner), (self.hidden, self.inner), (self.inner, self.hidden)]

    @property
    def body(self) -> int:
        """Weights every token is multiplied with."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear)

    @property
    def head(self) -> int:
        """Weights of the output layer."""
        return self.vocabulary * self.hidden

    @property
    def adapter(self) -> int:
        """Weights of LoRA beside every linear layer but the output layer."""
        return self.layers * sum(RANK * (inputs + outputs) for inputs, outputs in self.linear)

    @property
    def parameters(self) -> int:
        """All of them: body, norms, embedding and, unless it is tied to that, output layer."""
        return self.body + self.hidden * (2 * self.layers + 1) + self.head * (1 if self.tied else 2)


SHAPES = {
    "tiny": Shape("nothing: to try this command", 64, 2, 4, 2, 16, 128, 512, True, 4),
    "0.5b": Shape("Qwen2.5-0.5B", 896, 24, 14, 2, 64, 4864, 151_936, True, 8),
    "1b": Shape("Llama-3.2-1B", 2048, 16, 32, 8, 64, 8192, 128_256, True, 8),
    "3b": Shape("Llama-3.2-3B", 3072, 28, 24, 8, 128, 8192, 128_256, True, 4),
    "8b": Shape("Llama-3.1-8B", 4096, 32, 32, 8, 128, 14_336, 128_256, False, 2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    if chosen.device == "cuda" and not (device := device_name()):
        print("There is no CUDA device here, so bench.gpu measured nothing. `--shapes tiny --device cpu` tries every part of it on a processor.")
        return 0
    if chosen.device == "cpu":
        device = "processor"
    results = Results(chosen.results, f"{device}/length {chosen.length}, {chosen.steps} steps")
    sound = True
    for shape in chosen.shapes:
        for method in chosen.methods:
            for side in chosen.sides:
                sound &= measure(results, shape, method, side, chosen)
        if not chosen.keep:
            shutil.rmtree(chosen.folder / shape, ignore_errors=True)
    print(table(results, chosen, device))
    return 0 if sound else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=[name for name in SHAPES if name != "tiny"])
    parser.add_argument("--methods", nargs="+", choices=["full", "lora"], default=["full", "lora"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--steps", type=int, default=24, help=f"optimiser steps, of which the first {WARM} are not timed")
    parser.add_argument("--length", type=int, default=1024, help="tokens of the longest row")
    parser.add_argument("--batch", type=int, help="examples of a step; default: what fits 80 GB, by shape")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu computes in float32")
    parser.add_argument("--peak", type=float, help="the device's dense bfloat16 FLOPs per second, where this command does not know them")
    parser.add_argument("--folder", type=Path, default=STATE, help="where the models are made (16 GB for 8b) and removed again")
    parser.add_argument("--results", type=Path, default=STATE / "results.json")
    parser.add_argument("--keep", action="store_true", help="leave the models where they are")
    chosen = parser.parse_args(arguments)
    if chosen.steps <= WARM:
        parser.error(f"--steps must be above {WARM}: so many are not timed")
    chosen.folder = chosen.folder.resolve()
    return chosen


class Results:
    """What was measured under one heading (device and settings), in a file that is written whole after every run."""

    def __init__(self, file: Path, heading: str) -> None:
        self.file, self.heading = file, heading
        self._kept: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def get(self, key: str) -> dict[str, Any] | None:
        return self._kept.get(f"{self.heading}/{key}")

    def put(self, key: str, value: dict[str, Any]) -> None:
        self._kept[f"{self.heading}/{key}"] = value
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".tmp")
        draft.write_text(json.dumps(self._kept, indent=1))
        draft.replace(self.file)


def key(shape: str, method: str, side: str, batch: int | None) -> str:
    return f"{shape}/{method}/{side}/{batch or SHAPES[shape].batch}"


def measure(results: Results, shape: str, method: str, side: str, chosen: argparse.Namespace) -> bool:
    """One run, unless its result is there. False when it broke for another reason than memory."""
    name = key(shape, method, side, chosen.batch)
    kept = results.get(name)
    if kept and "failed" not in kept:
        return True
    python = interpreter(side)
    if python is None:
        print(f"{name}: trl is not installed here; left out", flush=True)
        return True
    folder = chosen.folder / shape
    if not (folder / "tokenizer.json").exists() and (failed := make_model(folder, shape, chosen.device)):
        print(f"{name}: the model could not be made: {failed}", flush=True)
        return False
    command = [python, "-m", "bench.runs.gpu_fettle"] if side == "fettle" else [python, str(RUNS / f"gpu_{side.removesuffix('_defaults')}.py")]
    result = run(command, write_job(folder, shape, method, side, chosen))
    results.put(name, result)
    print(f"{name}: {said(result)}", flush=True)
    return "failed" not in result


def said(result: dict[str, Any]) -> str:
    if "failed" in result:
        return f"failed: {result['failed']}"
    return f"{speed(result):.0f} tokens/s" if result["fits"] else "does not fit"


def interpreter(side: str) -> str | None:
    """The Python of a side, or None where its packages are not installed."""
    if not side.startswith("trl") or (find_spec("trl") and find_spec("datasets")):
        return sys.executable
    own = ROOT / ".state" / "bench-trl" / "bin" / "python"
    return str(own) if own.exists() else None


def make_model(folder: Path, shape: str, device: str) -> str:
    """Random weights and a tokenizer of one word a token, made once. What went wrong, if anything did."""
    job = write(folder.with_suffix(".json"), {"folder": str(folder), "device": device, "shape": asdict(SHAPES[shape])})
    result = run([sys.executable, str(RUNS / "gpu_model.py")], job)
    return str(result.get("failed") or ("" if result["fits"] else "it does not fit into the device's memory"))


def write_job(folder: Path, shape: str, method: str, side: str, chosen: argparse.Namespace) -> Path:
    batch = chosen.batch or SHAPES[shape].batch
    job = {
        "model": str(folder),
        "folder": str(chosen.folder / "run"),
        "method": method,
        "rank": RANK,
        "rows": rows(chosen.steps * batch, chosen.length),
        "batch_size": batch,
        "steps": chosen.steps,
        "warm": WARM,
        "device": chosen.device,
        "defaults": side.endswith("_defaults"),
    }
    return write(chosen.folder / "job.json", job)


def write(file: Path, job: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(job))
    return file


def rows(count: int, length: int) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids without the end token): every row half to all of `length` with its end token, the same on every call."""
    random, words = Random(0), SHAPES["tiny"].vocabulary
    lengths = [random.randint(length // 2, length) for _ in range(count)]
    ids = [[random.randrange(2, words) for _ in range(size - 1)] for size in lengths]
    return [(row[: len(row) // 2], row[len(row) // 2 :]) for row in ids]


def run(command: list[str], job: Path) -> dict[str, Any]:
    """The last line a run prints: {"fits": ...} and what it measured, or {"failed": its last words}."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    given = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": visible, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run([*command, str(job)], cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {LIMIT} s"}
    if done.returncode == -9:
        return {"failed": "killed by the system, which does so when the machine's own memory is full"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def device_name() -> str:
    """The first CUDA device's name, empty without one. Asked in another process, so that no memory of the device stays taken."""
    ask = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def peak(device: str) -> float | None:
    """Dense bfloat16 FLOPs per second of a whole device; a slice of one (MIG) has an unknown part of them."""
    return None if "MIG" in device else next((value for name, value in PEAKS.items() if name in device), None)


def flops(shape: Shape, method: str, timed: Sequence[Sequence[int]]) -> int:
    """Model FLOPs of training on rows of (tokens, of which are predicted for the loss)."""
    tokens, predicted = sum(size for size, _ in timed), sum(answer for _, answer in timed)
    attention = 12 * shape.layers * shape.heads * shape.head_size * sum(size * size for size, _ in timed)
    each = 6 if method == "full" else 4
    adapter = 0 if method == "full" else 6 * shape.adapter * tokens
    return each * (shape.body * tokens + shape.head * predicted) + adapter + attention


def speed(result: dict[str, Any]) -> float:
    """Tokens per second, padding not counted."""
    return float(sum(size for size, _ in result["timed"]) / result["seconds"])


def table(results: Results, chosen: argparse.Namespace, device: str) -> str:
    most = chosen.peak or peak(device)
    lines = ["| shape | parameters | method | side | batch | tokens/s | of Fettle's | MFU | peak memory GB |", "|---|---|---|---|---|---|---|---|---|"]
    versions: dict[str, str] = {}
    for shape in chosen.shapes:
        for method in chosen.methods:
            ours = results.get(key(shape, method, "fettle", chosen.batch))
            for side in chosen.sides:
                if found := results.get(key(shape, method, side, chosen.batch)):
                    lines.append(line(shape, method, side, chosen.batch or SHAPES[shape].batch, found, ours, most))
                    versions |= found.get("versions", {})
    lines += ["", f"{results.heading.replace('/', ', ')}; {', '.join(f'{name} {number}' for name, number in versions.items())}"]
    return "\n".join(lines)


def line(shape: str, method: str, side: str, batch: int, found: dict[str, Any], ours: dict[str, Any] | None, most: float | None) -> str:
    start = f"| {shape} | {SHAPES[shape].parameters / 1e9:.2f} B | {method} | {side.replace('_', ' ')} | {batch} "
    if "timed" not in found:
        return f"{start}| {said(found)} | | | |"
    share = f"{speed(found) / speed(ours):.2f}" if ours and "timed" in ours else ""
    used = "peak unknown" if most is None else f"{100 * flops(SHAPES[shape], method, found['timed']) / found['seconds'] / most:.1f} %"
    return f"{start}| {speed(found):.0f} | {share} | {used} | {found['peak_memory_bytes'] / 1e9:.1f} |"


if __name__ == "__main__":
    sys.exit(main())
