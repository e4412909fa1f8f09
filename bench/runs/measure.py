"""What every run measures in the same way, whoever trains. Standard library and torch only: the peers' environments run it too."""

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

IGNORED = -100
CHUNK = 16


class Clock:
    """Seconds by the wall and of the processor from the end of the first step to the end of the last: start-up and warm-up are left out."""

    def __init__(self) -> None:
        self.steps = 0
        self.began = self.ended = (0.0, 0.0)

    def step(self) -> None:
        """An optimiser step has ended."""
        now = (time.perf_counter(), time.process_time())
        self.steps += 1
        if self.steps == 1:
            self.began = now
        self.ended = now

    def result(self, batch_size: int) -> dict[str, Any]:
        """Timed examples, seconds and the process's peak resident memory so far, in bytes."""
        wall, processor = (end - start for start, end in zip(self.began, self.ended, strict=True))
        return {
            "steps": self.steps,
            "examples": (self.steps - 1) * batch_size,
            "wall_seconds": wall,
            "processor_seconds": processor,
            "peak_memory_bytes": peak_memory(),
        }


def peak_memory() -> int:
    """The process's peak resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def job() -> dict[str, Any]:
    """The run to do: the JSON file named on the command line. Fixes the threads."""
    chosen: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(chosen["threads"])
    return chosen


def validation_loss(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> float:
    """Nats per answer token over rows of (prompt ids, answer ids), in float32, with nothing but torch and the model's forward."""
    model.eval()
    total, tokens = 0.0, 0
    ordered = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))
    for start in range(0, len(ordered), CHUNK):
        part = ordered[start : start + CHUNK]
        width = max(len(prompt) + len(answer) for prompt, answer in part)
        ids, labels = torch.zeros(len(part), width, dtype=torch.long), torch.full((len(part), width), IGNORED)
        mask = torch.zeros_like(ids)
        for at, (prompt, answer) in enumerate(part):
            size = len(prompt) + len(answer)
            ids[at, :size], mask[at, :size], labels[at, len(prompt) : size] = torch.tensor(prompt + answer), 1, torch.tensor(answer)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"))
        tokens += sum(len(answer) for _, answer in part)
    return total / tokens


def finish(measured: dict[str, Any], chosen: dict[str, Any], model: Any, names: Sequence[str]) -> None:
    """Print the result: times and memory as they stood when training ended (`Clock.result`), then the validation loss of the trained model."""
    from importlib.metadata import version

    loss = validation_loss(model, chosen["validation"])
    sys.stdout.flush()
    print(json.dumps({**measured, "validation_loss": loss, "versions": {name: version(name) for name in names}}))
    sys.stdout.flush()
    os._exit(0)  # libraries with threads of their own may take seconds to end
