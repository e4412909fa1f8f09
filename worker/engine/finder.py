"""The learning-rate range test (Smith 2017, arXiv 1506.01186): a short run whose rate rises step by step, and where its loss fell fastest."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import torch

from app.errors import Invalid
from worker.engine.batches import Example
from worker.engine.folders import write_file
from worker.engine.loop import Batches
from worker.engine.preflight import step
from worker.engine.reporting import Reporter, Stopped

STEPS = 60
BELOW, ABOVE, MOST = 1000.0, 100.0, 1.0
"""The test goes from the method's usual rate divided by BELOW to that rate times ABOVE, and never beyond MOST."""
SMOOTHING = 0.9
"""Weight of the past in the smoothed loss: a memory of ten steps, of sixty."""
WORSE = 4.0
"""It ends when the smoothed loss is so many times its best."""
FILE = "finder.json"


def chosen(model: Any, batches: Batches, usual: float, folder: Path, resume: bool, reporter: Reporter) -> float:
    """The learning rate for this run. A resumed run takes the one it found before. Raises Stopped, or Invalid `no_rate`."""
    file = folder / FILE
    if resume and file.exists():
        return float(json.loads(file.read_text())["learning_rate"])
    curve = measure(model, batches, usual / BELOW, min(MOST, usual * ABOVE), reporter)
    rate = float(f"{steepest(curve):.2g}")
    write_file(file, json.dumps({"learning_rate": rate, "curve": curve}))
    reporter.log(
        f"Learning rate {rate:g}: the loss fell fastest there, over {len(curve)} steps from {curve[0][0]:.2g} to {curve[-1][0]:.2g}; {usual:g} is usual."
    )
    return rate


def measure(model: Any, batches: Batches, low: float, high: float, reporter: Reporter) -> list[tuple[float, float]]:
    """(rate, smoothed loss) of each step. Trainable parameters and random state are afterwards what they were, bit for bit."""
    trainable = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=low, weight_decay=0.0, fused=True)
    curve: list[tuple[float, float]] = []
    mean, best = 0.0, math.inf
    with _untouched(model, trainable):
        for at, parts in enumerate(islice(cycle(_steps(batches)), STEPS)):
            rate = low * (high / low) ** (at / (STEPS - 1))
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss, _ = step(model, parts, batches.pad, optimiser, batches.savings)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (at + 1))
            if not math.isfinite(smooth) or smooth > WORSE * best:
                break
            best = min(best, smooth)
            curve.append((rate, smooth))
            reporter.step(at + 1, STEPS, {"finder_rate": rate, "finder_loss": smooth}, None)
            if reporter.should_stop():
                raise Stopped
    return curve


def steepest(curve: Sequence[tuple[float, float]]) -> float:
    """The rate at which the loss fell fastest over the logarithm of the rate. Raises Invalid `no_rate` when it never fell.

    It is taken as it is, without a safety factor: a loss falls fastest well before the rate at which it begins to rise, so it already stands
    on the safe side.
    The first tenth is left out: so few losses are smoothed into one there that a lucky batch would be the steepest place.
    """
    slopes = [((two[1] - one[1]) / math.log(two[0] / one[0]), one[0]) for one, two in pairwise(curve)][STEPS // 10 :]
    fastest = min(slopes, default=(0.0, 0.0))
    if fastest[0] >= 0:
        raise Invalid("no_rate", "The loss fell at no learning rate that was tried.", "Give a learning rate, or look at the rows and the prompt.")
    return fastest[1]


def _steps(batches: Batches) -> list[list[list[Example]]]:
    """The first of the run's own optimiser steps, each as its micro-batches."""
    return [[[batches.examples[index] for index in part] for part in parts] for parts in batches.steps[:STEPS]]


@contextmanager
def _untouched(model: Any, trainable: Sequence[torch.Tensor]) -> Iterator[None]:
    """What happens inside leaves no trace in the parameters, their gradients, the mode of the model or any random number."""
    kept, mode = [tensor.detach().to("cpu", copy=True) for tensor in trainable], model.training
    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(trainable, kept, strict=True):
                tensor.copy_(value)
                tensor.grad = None
        model.train(mode)
