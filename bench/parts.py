"""What parts of a training step cost, done in two ways: `python -m bench.parts`. Processor seconds, starter model, sst2, all cores.

The adapters' dropout: torch's against the engine's (`worker/engine/dropout.py`), a whole step of LoRA r16 on all linear layers. The
optimiser: torch's plain AdamW against its fused one, which the engine uses, one update of full fine-tuning. The precision: a step in float32 against
one in bfloat16 over float32 parameters, which the engine uses on processors that multiply it in hardware (`worker/engine/precision.py`).
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from app.domain.methods import METHODS
from bench.data import MODEL, TASKS, prepare_model, rows
from bench.shared import BATCH, step

REPEATS = 6
PRECISION_METHODS = ("lora", "full", "prompt_tuning", "prefix")


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_model()
    print("| part | torch's | ours | ratio |\n|---|---|---|---|")
    sides = {"a step of LoRA, by its dropout": dropout(), "an update of all weights, by AdamW": optimiser()}
    for title, pair in (sides | {f"a step of {method}, by its precision": precision(method) for method in PRECISION_METHODS}).items():
        theirs, ours = in_turn(*pair)
        print(f"| {title} | {theirs:.2f} | {ours:.2f} | **{theirs / ours:.2f}** |", flush=True)
    import torch

    print(f"\n{REPEATS} of each in turn; torch {torch.__version__}, {torch.get_num_threads()} threads, Python {sys.version.split()[0]}")


def in_turn(*sides: Callable[[], float]) -> list[float]:
    """Mean seconds of each side, one after the other; the first round warms up."""
    took = [[side() for side in sides] for _ in range(REPEATS + 1)][1:]
    return [sum(side) / REPEATS for side in zip(*took, strict=True)]


def tuned(method: str) -> tuple[Any, dict[str, Any]]:
    """The starter model set up for a method, and one batch of sst2."""
    from worker.engine.batches import collate
    from worker.engine.fit import fit_examples
    from worker.engine.load import load
    from worker.engine.methods import METHODS as HALVES

    loaded = load(MODEL, device="cpu")
    found, _ = rows("sst2", BATCH, 1)
    examples, _ = fit_examples(loaded.tokenizer, TASKS["sst2"].template, found, 512)
    return HALVES[method](loaded.model, METHODS[method](), []).train(), collate(examples, 0)


def dropout() -> tuple[Callable[[], float], Callable[[], float]]:
    from torch import nn

    from worker.engine.dropout import BitDropout

    model, batch = tuned("lora")
    places = [(model.get_submodule(name.rpartition(".")[0]), module) for name, module in model.named_modules() if name.endswith(".lora_dropout.default")]

    def with_dropout(make: Callable[[float], nn.Module]) -> Callable[[], float]:
        kept = [make(own.p) for _, own in places]

        def run() -> float:
            for (parent, _), one in zip(places, kept, strict=True):
                parent["default"] = one
            return step(model, batch)

        return run

    return with_dropout(nn.Dropout), with_dropout(BitDropout)


def precision(method: str) -> tuple[Callable[[], float], Callable[[], float]]:
    from worker.engine.precision import computing

    model, batch = tuned(method)

    def computed(*, mixed: bool) -> Callable[[], float]:
        return lambda: step(model, batch, computing(model.device, mixed=mixed))

    return computed(mixed=False), computed(mixed=True)


def optimiser() -> tuple[Callable[[], float], Callable[[], float]]:
    import torch

    from worker.engine.load import load

    def updating(*, fused: bool) -> Callable[[], float]:
        model: Any = load(MODEL, device="cpu").model
        for tensor in model.parameters():
            tensor.grad = torch.zeros_like(tensor)
        own = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=fused)

        def run() -> float:
            began = time.process_time()
            own.step()
            return time.process_time() - began

        return run

    return updating(fused=False), updating(fused=True)


if __name__ == "__main__":
    main()
