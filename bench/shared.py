"""What reading a batch's common start once saves: `python -m bench.shared`. Processor seconds of forward and backward, starter model, one thread.

Every method takes the same batches of its own training order both ways, in turn, one after the other in one process.
"""

import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from app.domain.methods import METHODS
from app.domain.rendering import without_opening
from bench.data import MODEL, TASKS, prepare_model, rows

ROWS, BATCH, STEPS = 128, 16, 4


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)
    prepare_model()
    print("| task | method | soft prompt + shared tokens | row | every row | once | ratio |\n|---|---|---|---|---|---|---|")
    for task in ("sst2", "trec6"):
        for method in METHODS:
            print(line(task, method), flush=True)
    print(f"\nBatches of {BATCH}, {STEPS} steps each way; torch {torch.__version__}, Python {sys.version.split()[0]}")


def line(task: str, method: str) -> str:
    """One row of the table: lengths in tokens (the row's is the mean padded length), seconds of the processor."""
    from worker.engine.batches import collate, schedule
    from worker.engine.fit import fit_examples
    from worker.engine.forward import reads_shared_starts
    from worker.engine.load import load
    from worker.engine.methods import METHODS as PREPARE
    from worker.engine.prefix import virtual_tokens
    from worker.engine.spec import TrainSpec
    from worker.engine.train import opening_ids

    asking, parameters = TASKS[task].template, METHODS[method]()
    template = without_opening(asking) if METHODS[method].soft else asking
    found, _ = rows(task, ROWS, 1)
    spec = TrainSpec(MODEL, template, found, [], TASKS[task].labels, method, parameters, 0, Path(), opening=asking)
    loaded = load(MODEL, device="cpu")
    model = PREPARE[method](loaded.model, parameters, opening_ids(loaded.tokenizer, spec)).train()
    assert reads_shared_starts(model)
    examples, _ = fit_examples(loaded.tokenizer, template, found, parameters.max_length)
    batches = [[examples[at] for at in chosen] for chosen in schedule([len(example) for example in examples], BATCH, STEPS, 0)]
    took = {False: 0.0, True: 0.0}
    for number, batch in enumerate([batches[0], *batches]):
        for share in took:
            seconds = step(model, collate(batch, 0, share=share))
            took[share] += seconds if number else 0.0  # the first one warms up
    shared = collate(batches[0], 0, share=True)["start"].shape[1]
    width = sum(collate(batch, 0)["input_ids"].shape[1] for batch in batches) / len(batches)
    lengths = f"{virtual_tokens(model)} + {shared} | {width:.0f}"
    return f"| {task} | {method} | {lengths} | {took[False]:.2f} | {took[True]:.2f} | **{took[False] / took[True]:.2f}** |"


def step(model: Any, batch: dict[str, Any], forward: AbstractContextManager[Any] | None = None) -> float:
    """Processor seconds of one forward and backward; the forward pass alone inside `forward`."""
    from worker.engine.preflight import answer_loss

    began = time.process_time()
    with forward or nullcontext():
        loss = answer_loss(model, batch, 1)
    loss.backward()  # type: ignore[no-untyped-call]
    took = time.process_time() - began
    model.zero_grad(set_to_none=True)
    return took


if __name__ == "__main__":
    main()
