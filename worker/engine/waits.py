"""How the threads of one operation wait for each other: spinning while nobody else needs their cores, asleep while somebody does.

Many operations of a small model are over before a sleeping thread is awake, so on idle cores spinning is faster by half. Beside a busy core it is slower
by a multiple: who spins keeps waiting for a thread that is not being run, and keeps the core from it. Fewer threads are no way out for a job, as their
number is part of what makes a run exact. `python -m bench.threads` measures it; docs/benchmarks.md has the table.

libgomp, with which torch's operations share their work, hardly spins while a process has more of its threads than there are cores (GOMP_SPINCOUNT in its
manual). So threads that do nothing send the others to sleep: there are some while others are busy. Where torch uses another library nothing changes.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import psutil

SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""For the environment of a process, read when torch is loaded: one of libgomp's own values, of which it would take one or another by what was loaded before torch."""

LOOK_SECONDS = 0.25
"""Between two looks at what else the machine does: the kernel counts in hundredths of a second."""

BUSY = 0.5
"""Cores that others keep busy, beyond those that this process leaves free, from which threads sleep: about where spinning begins to cost more than it gains (`python -m bench.threads`)."""

KINDS = ("user", "nice", "system", "irq", "softirq", "steal")
"""Of processor time that is spent; a guest's is in `user`."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""How much of the processor a container may use, in cgroup v2: "QUOTA PERIOD" in microseconds, or "max PERIOD"."""


class Threads:
    """Looks at what else the machine does, and has the threads of this process sleep while that is much. For use by one thread."""

    def __init__(self, busy: Callable[[], tuple[float, float]] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`busy` gives the processor seconds (of everybody, of this process) spent so far on the cores this process may use."""
        self._busy, self._clock = busy or seconds_busy, clock
        self._seen, self._looked = self._busy(), clock()
        self._over: threading.Event | None = None

    @property
    def asleep(self) -> bool:
        """Whether threads sleep while they wait."""
        return self._over is not None

    def look(self) -> None:
        """Sleep or spin from now on, by what others did since the last look."""
        (every, own), (every_before, own_before) = self._busy(), self._seen
        now = self._clock()
        others = ((every - every_before) - (own - own_before)) / max(now - self._looked, 1e-9)
        self._seen, self._looked = (every, own), now
        mine, team = len(cores()), _team()
        if others >= mine - team + BUSY or team > min(mine, _quota()):
            self.sleep()
        else:
            self.spin()

    def sleep(self) -> None:
        """Have more threads than cores."""
        team = _team()
        if self._over is not None or team == 1:
            return
        self._over = threading.Event()
        for _ in range(max(0, len(cores()) - team) // (team - 1) + 1):
            _told(partial(_idle, self._over))

    def spin(self) -> None:
        """Let them go."""
        if self._over is not None:
            self._over.set()
            self._over = None


def watch() -> Callable[[], None]:
    """From now on the threads of this process spin or sleep by what else the machine does, until the function that is returned is called."""
    threads, over = Threads(), threading.Event()

    def look_on() -> None:
        while not over.wait(LOOK_SECONDS):
            threads.look()
        threads.spin()

    thread = threading.Thread(target=look_on, name="waits", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


def seconds_busy() -> tuple[float, float]:
    """Processor seconds (of everybody, of this process) spent so far on the cores that this process may use."""
    mine, each = cores(), psutil.cpu_times(percpu=True)
    return sum(getattr(each[core], kind, 0.0) for core in mine if core < len(each) for kind in KINDS), time.process_time()


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(psutil.cpu_count() or 1))


def _quota() -> float:
    """Cores that this process may keep busy on the average."""
    try:
        most, period = QUOTA.read_text().split()
        return float("inf") if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return float("inf")


def _team() -> int:
    """How many threads share an operation. Asked in a new thread: torch tells an older one what it was when that first asked."""
    return _told(_number)


def _told(work: Callable[[Callable[[int], None]], None]) -> int:
    """What `work` tells of its team, in a thread of its own, which may go on after that."""
    said: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=work, args=(said.put,), name="idle team", daemon=True).start()
    return said.get()


def _number(tell: Callable[[int], None]) -> None:
    import torch  # here, because the parent of jobs reads SPINNING and never loads it

    tell(torch.get_num_threads())


def _idle(over: threading.Event, tell: Callable[[int], None]) -> None:
    """A team of this thread's own, which an operation makes that is large enough to be shared, kept until it is not needed any more."""
    import torch

    torch.zeros(1 << 18).add_(1)
    tell(torch.get_num_threads())
    over.wait()
