"""What it saves to read rows behind one copy of the start that they share (worker/engine/cascade.py): `python -m bench.cascade`.

The starter model on a processor, weights prepacked: the questions of so many rows behind one start are read, and then steps are written; with the start in every
row's own cache and with one copy of it, in turn, in one process.
"""

import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.data import MODEL, prepare_model
from worker.engine import cascade
from worker.engine.load import Loaded, load
from worker.engine.prefix import Prefix, read
from worker.engine.reading import Continuing

ROUNDS, STEPS, OWN = 5, 8, 15
CASES = ((1, 334), (1, 3000), (4, 334), (4, 600), (8, 334), (16, 64), (16, 128), (16, 334), (16, 1500))


def main() -> None:
    prepare_model()
    cascade.LEAST_ROWS, cascade.LEAST_COPIES = 1, 0
    loaded = load(Path(MODEL), device="cpu", answering=True)
    draw = random.Random(0)
    print(
        "| rows | start | questions, a copy a row, ms | one copy, ms | ratio | a step, a copy a row, ms | one copy, ms | ratio |\n|---|---|---|---|---|---|---|---|"
    )
    for rows, length in CASES:
        start = read(loaded.model, [draw.randrange(1000, 40_000) for _ in range(length)], loaded.device)
        prompts = [[*start.ids, *(draw.randrange(1000, 40_000) for _ in range(OWN))] for _ in range(rows)]
        pairs = [(once(replace(loaded, cascades=False), start, prompts), once(loaded, start, prompts)) for _ in range(ROUNDS)]
        cells = []
        for part in range(2):
            copied, apart = (1000 * statistics.median(pair[side][part] for pair in pairs) for side in range(2))
            ratio = statistics.median(pair[0][part] / pair[1][part] for pair in pairs)
            cells.append(f"{copied:.0f} | {apart:.0f} | **{ratio:.2f}**")
        print(f"| {rows} | {length} | {' | '.join(cells)} |", flush=True)
    print(
        f"\n{OWN} tokens a question; a step: the median of {STEPS}; medians of {ROUNDS}. torch {torch.__version__} with {torch.get_num_threads()} threads, Python {sys.version.split()[0]}"
    )


def once(loaded: Loaded, start: Prefix, prompts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Seconds until the questions are read, and of a step."""
    began = time.perf_counter()
    reading = Continuing(loaded, prompts, start)
    while (logits := reading.forward()) is None:
        pass
    read_in, steps = time.perf_counter() - began, []
    for _ in range(STEPS):
        reading.feed(logits.argmax(-1).tolist())
        began = time.perf_counter()
        logits = reading.forward()
        assert logits is not None
        steps.append(time.perf_counter() - began)
    return read_in, statistics.median(steps)


if __name__ == "__main__":
    main()
