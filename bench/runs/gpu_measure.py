"""What every run of bench.gpu does in the same way, whoever trains. Standard library and torch only: a peer's environment runs it too."""

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

Work = list[list[tuple[int, int]]]
"""By step, the rows it trained on: (tokens, of which are predicted for the loss)."""


class Clock:
    """Seconds from the end of step `warm` to the end of step `steps`, with the device's work done at both ends."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self._warm, self._last, self._cuda = chosen["warm"], chosen["steps"], chosen["device"] == "cuda"
        self._steps = 0
        self._began = self.seconds = 0.0

    def step(self) -> bool:
        """An optimiser step has ended. True when it was the last one."""
        self._steps += 1
        if self._steps == self._warm:
            self._began = self._now()
        if self._steps == self._last:
            self.seconds = self._now() - self._began
        return bool(self._steps == self._last)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


class Counting:
    """A collator that remembers how much work each batch is; what it hands on is the other collator's."""

    def __init__(self, collator: Any) -> None:
        self._collator = collator
        self.work: Work = []

    def __call__(self, features: Sequence[dict[str, Any]]) -> Any:
        self.work.append([(len(row["input_ids"]), sum(label != -100 for label in row["labels"])) for row in features])
        return self._collator(features)


def job() -> dict[str, Any]:
    """The run to do: the JSON file named on the command line."""
    chosen: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    if chosen["device"] == "cpu":
        torch.set_num_threads(1)
    return chosen


def features(chosen: dict[str, Any], end: int) -> list[dict[str, list[int]]]:
    """The job's rows as Trainer takes them."""
    whole = [(prompt, [*answer, end]) for prompt, answer in chosen["rows"]]
    return [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer} for prompt, answer in whole]


def precision(chosen: dict[str, Any]) -> torch.dtype:
    """What a model's weights are loaded in: bfloat16, but float32 where they are trained themselves or on a processor."""
    return torch.bfloat16 if chosen["device"] == "cuda" and chosen["method"] != "full" else torch.float32


def is_memory(error: BaseException) -> bool:
    """Whether the device's memory was too small."""
    return isinstance(error, torch.OutOfMemoryError) or "CUDA out of memory" in str(error) or "ALLOC_FAILED" in str(error)


def finish(chosen: dict[str, Any], clock: Clock, work: Work, names: Sequence[str]) -> None:
    """Print what was measured and end the process: libraries with threads of their own may take seconds to."""
    timed = [row for step in work[chosen["warm"] : chosen["steps"]] for row in step]
    cuda = chosen["device"] == "cuda"
    memory = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say({"fits": True, "seconds": clock.seconds, "timed": timed, "peak_memory_bytes": memory, "versions": {name: _version(name) for name in names}})


def say(result: dict[str, Any]) -> None:
    sys.stdout.flush()
    print(json.dumps(result), flush=True)
    os._exit(0)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a source folder
        return "(source)"
