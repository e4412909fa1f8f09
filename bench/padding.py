"""What padding costs a training step, and what shared rows leave of it: `python -m bench.padding`.

Each task's training order (batches of 16, passes within the processor's budget) three ways: random steps padded to the longest example, steps from length
buckets, and random steps whose short examples share rows. First the tokens computed for a token of the examples, which are counted; then the tokens of
examples a second of LoRA and full fine-tuning, steps of the three ways in turn in one process, threads spinning as on an idle machine; last what wider
rows cost where nothing is padded (ATTENTION in worker/engine/batches.py).
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from app.domain.methods import METHODS
from app.domain.shape import PASS_TOKENS
from bench.data import MODEL, TASKS, prepare_model, rows

ROWS, BATCH, STEPS = 512, 16, 6
SHORT = 42
"""Tokens of an example where only the width of rows differs: the mean of sst2."""


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_model()
    print("| task | tokens, mean and longest | padded | length buckets | shared rows | passes a step, by way |\n|---|---|---|---|---|---|")
    for task in TASKS:
        print(counted(task), flush=True)
    print(f"\n{ROWS} rows of each task, batches of {BATCH}, one epoch; at most {PASS_TOKENS['cpu']} tokens a pass\n")
    print("| sst2, tokens of examples a second | padded | length buckets | shared rows |\n|---|---|---|---|")
    for method in ("lora", "full"):
        print(timed(method), flush=True)
    print(f"\n| tokens of a row, of {BATCH} examples of {SHORT} | tokens a second, LoRA |\n|---|---|")
    for line in widened():
        print(line, flush=True)


def ways() -> list[Any]:
    from worker.engine.batches import BUCKET
    from worker.engine.forward import Savings

    return [Savings(), Savings(bucket=BUCKET), Savings(pack=True)]


def loaded() -> Any:
    from worker.engine.load import load

    return load(MODEL, device="cpu")


def examples_of(task: str, tokenizer: Any) -> list[Any]:
    from worker.engine.fit import fit_examples

    return list(fit_examples(tokenizer, TASKS[task].template, rows(task, ROWS, 1)[0], 1024)[0])


def counted(task: str) -> str:
    """One row of the first table."""
    from torch import device

    from worker.engine.batches import size
    from worker.engine.load import load_tokenizer
    from worker.engine.preflight import planned

    examples = examples_of(task, load_tokenizer(MODEL))
    lengths = list(map(len, examples))
    ratios, passes = [], []
    for savings in ways():
        steps = planned(examples, METHODS["lora"](batch_size=BATCH, epochs=1, max_length=1024), 1, device("cpu"), savings)
        parts = [part for step in steps for part in step]
        ratios.append(sum(size([examples[at] for at in part], pack=savings.pack) for part in parts) / sum(lengths))
        passes.append(len(parts) / len(steps))
    each = " | ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"| {task} | {sum(lengths) / len(lengths):.0f}, {max(lengths)} | {each} | {', '.join(f'{count:.1f}' for count in passes)} |"


def timed(method: str) -> str:
    """One row of the second table."""
    from torch.optim import AdamW

    from worker.engine.forward import Savings
    from worker.engine.methods import METHODS as PREPARE
    from worker.engine.preflight import planned, step

    base, parameters = loaded(), METHODS[method](batch_size=BATCH)
    model = PREPARE[method](base.model, parameters, []).train()
    examples = examples_of("sst2", base.tokenizer)
    optimiser = AdamW([one for one in model.parameters() if one.requires_grad], lr=0.0, weight_decay=0.0, fused=True)
    own = Savings.of(model, parameters, 1024)
    several = [replace(own, pack=one.pack, bucket=one.bucket) for one in ways()]
    plans = [planned(examples, parameters, 0, model.device, one) for one in several]
    tokens, seconds = [0] * len(several), [0.0] * len(several)
    for number in range(STEPS + 1):  # the first one warms up
        for at, savings in enumerate(several):
            parts = [[examples[index] for index in part] for part in plans[at][number]]
            began = time.perf_counter()
            step(model, parts, 0, optimiser, savings)
            if number:
                seconds[at] += time.perf_counter() - began
                tokens[at] += sum(len(example) for part in parts for example in part)
    return f"| {method} | " + " | ".join(f"{count / took:.0f}" for count, took in zip(tokens, seconds, strict=True)) + " |"


def widened() -> Iterator[str]:
    """The rows of the third table."""
    from torch.optim import AdamW

    from worker.engine import batches
    from worker.engine.forward import Savings
    from worker.engine.methods import METHODS as PREPARE
    from worker.engine.preflight import step

    model = PREPARE["lora"](loaded().model, METHODS["lora"](), []).train()
    optimiser = AdamW([one for one in model.parameters() if one.requires_grad], lr=0.0, weight_decay=0.0, fused=True)
    savings = Savings(pack=True, mixed=Savings.of(model, METHODS["lora"](), SHORT).mixed)
    examples = [batches.Example(tuple(range(100 + row, 100 + row + SHORT - 2)), (5, 6)) for row in range(BATCH)]
    seconds = dict.fromkeys((1, 2, 4, 8, 16), 0.0)
    for number in range(STEPS + 1):
        for together in seconds:
            cut = [list(range(at, at + together)) for at in range(0, BATCH, together)]
            with patch.object(batches, "lanes", lambda _, cut=cut: cut):
                began = time.perf_counter()
                step(model, [examples], 0, optimiser, savings)
            seconds[together] += (time.perf_counter() - began) * bool(number)
    for together, took in seconds.items():
        yield f"| {together * SHORT} | {STEPS * BATCH * SHORT / took:.0f} |"


if __name__ == "__main__":
    from worker.engine.waits import SPINNING

    if "GOMP_SPINCOUNT" not in os.environ:  # read when torch is loaded
        os.environ |= SPINNING
    main()
