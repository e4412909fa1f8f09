"""A process's place among those of its run."""

import os
import sys
from dataclasses import dataclass

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(frozen=True)
class Place:
    """Which process of how many this is, rank 0 being the one that was asked to run."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Its number among those on this machine: the device it drives."""
    meeting: str | None = None
    """The file over which the processes find each other. None: over MASTER_ADDR and MASTER_PORT, as a launcher has set them."""

    def environment(self) -> dict[str, str]:
        """The variables by which torch, accelerate and transformers know the same. Nothing is said over a wire that leaves the machine."""
        numbers = {"RANK": self.rank, "WORLD_SIZE": self.world, "LOCAL_RANK": self.local, "LOCAL_WORLD_SIZE": self.world}
        wires = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
        return {**{name: str(number) for name, number in numbers.items()}, **wires}


def launched() -> Place | None:
    """The place a launcher (`accelerate launch`, torchrun) gave this process. None without one, or when it started a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
