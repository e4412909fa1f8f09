"""How a child process ends with its parent: the kernel's word on Linux, and everywhere a pipe that closes when the parent is gone."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TextIO

PR_SET_PDEATHSIG = 1
ORPHANED = 3
"""Exit code of a process whose parent has gone."""
LOST = 4
"""Exit code of a process whose run on several devices has lost another of its processes."""
LEFT = 5
"""Exit code of a process that was asked to leave and had nothing to save, or not the time."""
AWAY = 6
"""Exit code of a process that could not go on without a service that is away (worker/outage.py)."""


def die_with_parent(parent: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel (Linux) to send this process a signal when its parent dies; elsewhere the closed pipe ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, sign)
        if os.getppid() != parent:
            sys.exit("the parent has gone")


def listen(pipe: TextIO, hear: Callable[[str], None] = lambda _: None) -> None:
    """Hear the parent's lines from now on, in a thread of its own; when the pipe closes, the parent is gone and so is this process."""

    def attend() -> None:
        for line in pipe:
            hear(line.strip())
        os._exit(ORPHANED)

    threading.Thread(target=attend, daemon=True, name="lifeline").start()
