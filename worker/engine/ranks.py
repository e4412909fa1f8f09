"""The processes of one run, seen from inside one of them: which one it is, and how all of them come to the same decision.

Rank 0 is the process that was asked to run: it alone reports, writes files and is asked to stop. What depends on time or on the
outside is decided there and told to the others, so that all do the same thing in the same step and none waits for one that left.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState

from worker.engine.place import Place

TIME_OUT = timedelta(minutes=30)
"""Longer than anything one rank does alone: checkpoints, reports to a slow database."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run. A run of one process is the same with nobody to talk to."""

    rank: int = 0
    world: int = 1
    device: str | None = None
    """The torch device this rank drives; None when the run has one process, which may choose for itself."""

    @property
    def first(self) -> bool:
        return self.rank == 0

    def tell(self, value: Any = None) -> Any:
        """What rank 0 says (anything JSON can hold), on every rank. All ranks have to call it."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(text)])
        dist.broadcast(size, 0)
        said = torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(said, 0)
        return json.loads(bytes(said.tolist()))

    def exchange(self, *figures: float) -> list[tuple[float, ...]]:
        """What every rank says, by rank. All ranks have to say as many figures."""
        if self.world == 1:
            return [figures]
        own = torch.tensor(figures, dtype=torch.float64)
        said = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(said, own)
        return [tuple(one.tolist()) for one in said]

    def most(self, own: int) -> int:
        """The largest figure of all ranks, on every rank: where all wait for the one that has most to do. All ranks have to ask."""
        return int(max(figure for (figure,) in self.exchange(own)))

    def on_one_device(self, peaks: Iterable[float]) -> int:
        """Of the bytes that each rank's process holds at its peak, those of the device that has most to hold: a processor has all of them at once."""
        return int(sum(peaks) if self.device == "cpu" else max(peaks))

    def meet(self) -> None:
        """Wait until every rank has come here."""
        if self.world > 1:
            dist.all_reduce(torch.zeros(1))

    def threads(self, wanted: int | None) -> None:
        """Give this process so many processor threads; without a wish, its share of what torch takes for one process."""
        if wanted or (self.world > 1 and self.device == "cpu"):
            torch.set_num_threads(wanted or max(1, torch.get_num_threads() // self.world))


ALONE = Ranks()


@contextmanager
def joined(place: Place, device: str) -> Iterator[Ranks]:
    """Join the processes of the run for as long as it takes. `device` is auto, cpu or cuda."""
    if place.world == 1:
        yield ALONE
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(place.local)
    # What is said between ranks is said from the processor's memory, so that it never waits for the GPU.
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo",
        init_method=f"file://{place.meeting}" if place.meeting else "env://",
        rank=place.rank,
        world_size=place.world,
        timeout=TIME_OUT,
    )
    try:
        yield Ranks(place.rank, place.world, f"cuda:{place.local}" if on_gpu else "cpu")
    finally:
        dist.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
