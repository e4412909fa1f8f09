"""What shapes cost that are new to a process, on one GPU: `python -m bench.gpu_shapes [--shape 0.5b] [--method full]`.

The engine's train() twice over the same steps, each of a length of its own, in a fresh process with cuDNN's attention and in one without it, as the
engine has it. Milliseconds of steps 6 to 13. The model is bench.gpu's. Says so and ends well where there is no GPU.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench import gpu

FIRST, LAST = 5, 13
STEPS = 16


class Done(Exception):
    """The last step that is timed has ended."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_shapes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=list(gpu.SHAPES), default="0.5b")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--attention", choices=["engine", "cudnn"], help="measure this one only, in this process")
    chosen = parser.parse_args(arguments)
    if not gpu.device_name():
        print("There is no CUDA device here, so bench.gpu_shapes measured nothing.")
        return
    if chosen.attention:
        print(" | ".join(f"{1000 * step(chosen, chosen.attention == 'cudnn'):.0f}" for _ in range(2)))
        return
    if not (gpu.STATE / chosen.shape / "tokenizer.json").exists() and (failed := gpu.make_model(gpu.STATE / chosen.shape, chosen.shape, "cuda")):
        sys.exit(f"The model could not be made: {failed}")
    print("| attention | ms a step, in a new process | again |\n|---|---|---|")
    for attention in ("cudnn", "engine"):
        command = [sys.executable, "-W", "ignore", "-m", "bench.gpu_shapes", "--shape", chosen.shape, "--method", chosen.method, "--attention", attention]
        print(f"| {attention} | {subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()} |", flush=True)


def step(chosen: argparse.Namespace, cudnn: bool) -> float:
    """Seconds of a step."""
    import torch

    from bench.runs.gpu_fettle import spec
    from worker.engine.reporting import NullReporter
    from worker.engine.train import train

    class Timer(NullReporter):
        began = took = 0.0

        def phase(self, name: Any, total: int | None = None) -> None:
            if name == "preflight":  # the model is there
                torch.backends.cuda.enable_cudnn_sdp(cudnn)
            super().phase(name, total)

        def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
            if "loss" in values and done in (FIRST, LAST):
                torch.cuda.synchronize()
                now = time.perf_counter()
                self.took, self.began = (now - self.began) / (LAST - FIRST), now
                if done == LAST:
                    raise Done

    batch = gpu.SHAPES[chosen.shape].batch
    job = {"model": str(gpu.STATE / chosen.shape), "folder": str(gpu.STATE / "run"), "method": chosen.method, "rank": gpu.RANK, "steps": STEPS}
    timer = Timer()
    try:
        train(spec(job | {"rows": gpu.rows(STEPS * batch, 1024), "batch_size": batch, "device": "cuda"}), timer)
    except Done:
        torch.cuda.empty_cache()
    return timer.took


if __name__ == "__main__":
    main()
