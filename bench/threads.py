"""How long an answer takes by how its threads wait for each other, on an idle machine and beside a busy core: `python -m bench.threads`.

The engine's scheduler writes 16 tokens, and a LoRA run makes a step, in a process of its own with the starter model: with all threads spinning, with all
of them asleep while they wait, with one thread, and as Fettle does it (spinning, asleep while others need a core).
"""

import os
import queue
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.rendering import render
from bench.data import MODEL, TASKS, prepare_model, rows
from bench.lab import question, template
from worker.engine.waits import SPINNING

TOKENS = 16
ANSWERS = 3
PARAMETERS = Parameters(max_tokens=TOKENS, min_tokens=TOKENS, stop=[])
SLEEPING = {"GOMP_SPINCOUNT": "100"}
WAYS: dict[str, tuple[dict[str, str], str]] = {
    "all threads, spinning": (SPINNING, "all"),
    "all threads, sleeping": (SLEEPING, "all"),
    "one thread": (SPINNING, "one"),
    "as Fettle does it": (SPINNING, "watched"),
}
"""What to call it, how it waits, and how many threads."""
SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of a core, kept busy by others in slices of 10 ms: where sleeping begins to be worth it (BUSY in worker/engine/waits.py)."""
OTHERS = """
import sys, time
share = float(sys.argv[1])
while True:
    began = time.perf_counter()
    while time.perf_counter() - began < 0.01 * share:
        pass
    time.sleep(0.01 * (1 - share))
"""


def main() -> None:
    prepare_model()
    print("| seconds | an answer, idle machine | one core busy | a step, idle machine | one core busy |\n|---|---|---|---|---|")
    for name, (waits, count) in WAYS.items():
        calm, beside = measured(waits, count), beside_others(1.0, waits, count)
        print(f"| {name} | {calm[0]:.2f} | {beside[0]:.2f} | {calm[1]:.2f} | {beside[1]:.2f} |", flush=True)
    print(
        f"\n{TOKENS} tokens, the median of {ANSWERS} answers; the longest of the first steps of 16 rows of sst2, LoRA; {os.cpu_count()} cores, Python {sys.version.split()[0]}\n"
    )
    print("| share of a core that others keep busy | a step, spinning | sleeping |\n|---|---|---|")
    for share in SHARES:
        spinning, sleeping = (beside_others(share, waits, "all")[1] for waits in (SPINNING, SLEEPING))
        print(f"| {share:.0%} | {spinning:.2f} | {sleeping:.2f} |", flush=True)


def beside_others(share: float, waits: dict[str, str], count: str) -> tuple[float, float]:
    with subprocess.Popen([sys.executable, "-c", OTHERS, str(share)]) as other:
        found = measured(waits, count)
        other.kill()
    return found


def measured(waits: dict[str, str], count: str) -> tuple[float, float]:
    """Seconds of an answer and of a step."""
    given = os.environ | waits | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", "bench.threads", count], env=given, capture_output=True, text=True, check=True)
    answer, step = map(float, done.stdout.split())
    return answer, step


def measure(count: str) -> tuple[float, float]:
    """Seconds of an answer, the median, the first one left out; and of a step, the second."""
    import torch

    from worker.engine import waits
    from worker.engine.serve import Scheduler

    if count == "one":
        torch.set_num_threads(1)
    look = waits.Threads.look if count == "watched" else lambda _: None
    with patch.object(waits.Threads, "look", look):
        scheduler = Scheduler(2 << 30, device="cpu")
        took = answers(scheduler)
        scheduler.close()
        end = waits.watch()
        seconds = step()
        end()
    return statistics.median(took[1:]), seconds


def step() -> float:
    """Of a LoRA run, the second time it is made."""
    from worker.engine.fit import fit_examples
    from worker.engine.forward import Savings
    from worker.engine.load import load
    from worker.engine.methods import METHODS as PREPARE
    from worker.engine.preflight import hardest_step
    from worker.engine.preflight import measure as measure_step

    loaded, parameters = load(MODEL, device="cpu"), METHODS["lora"]()
    model = PREPARE["lora"](loaded.model, parameters, [])
    examples, _ = fit_examples(loaded.tokenizer, TASKS["sst2"].template, rows("sst2", 64, 1)[0], 512)
    savings = Savings.of(model, parameters, 512)
    parts = hardest_step(examples, parameters, 0, model.device, savings)
    return [measure_step(model, parts, 0, savings).seconds_per_step for _ in range(2)][-1]


def answers(scheduler: Any) -> list[float]:
    from worker.engine.serve import ServeRequest

    took = []
    for number in range(ANSWERS + 1):
        events: queue.Queue[Mapping[str, Any]] = queue.Queue()
        began = time.perf_counter()
        wanted = ServeRequest("starter", MODEL, None, render(template(0), {"input": question(number)}), PARAMETERS)
        scheduler.submit(wanted, lambda event, events=events: events.put(event))
        while events.get()["type"] not in ("done", "error"):
            pass
        took.append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(*measure(sys.argv[1]))
    else:
        main()
