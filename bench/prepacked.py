"""What it saves to keep weights in the order in which the processor's kernels read them (worker/engine/prepacked.py): `python -m bench.prepacked`.

All linear layers of the starter model, one after the other, so that no weight is still in the processor's cache: torch's own order and oneDNN's
in turn, in one process, for products of a few rows (the step of a batch that is being written) and of many (a prompt that is read).
"""

import statistics
import sys
import time
from collections.abc import Sequence

import torch
from torch import nn

from bench.data import MODEL, prepare_model
from worker.engine.load import load
from worker.engine.prepacked import Prepacked

ROUNDS = 7
ROWS = (1, 2, 4, 8, 16, 32, 64, 352)


def main() -> None:
    prepare_model()
    plain = [module for module in load(MODEL, device="cpu").model.modules() if type(module) is nn.Linear and module.out_features < 49_152]
    began = time.perf_counter()
    with torch.no_grad():
        ready = [Prepacked(layer) for layer in plain]
        took = time.perf_counter() - began
        print("| rows | torch's order, ms | prepacked, ms | ratio |\n|---|---|---|---|")
        for rows in ROWS:
            states = {width: torch.randn(rows, width) for width in {layer.in_features for layer in plain}}
            pairs = [(seconds(plain, states), seconds(ready, states)) for _ in range(ROUNDS)]
            ours, theirs = statistics.median(one for _, one in pairs), statistics.median(one for one, _ in pairs)
            print(f"| {rows} | {1000 * theirs:.0f} | {1000 * ours:.0f} | **{statistics.median(one / other for one, other in pairs):.2f}** |", flush=True)
    print(
        f"\n{len(plain)} layers, prepacked in {took:.1f} s; torch {torch.__version__} with {torch.get_num_threads()} threads, Python {sys.version.split()[0]}"
    )


def seconds(layers: Sequence[nn.Module], states: dict[int, torch.Tensor]) -> float:
    began = time.perf_counter()
    for layer in layers:
        layer(states[layer.in_features])  # type: ignore[index]
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
