"""Memory of this process and its device: how much there is, how much was used at most, and giving it back."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from app.domain.methods.base import MethodParameters
from app.domain.shape import PROCESS_BYTES
from app.errors import Invalid

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CGROUP = Path("/sys/fs/cgroup")
SHARE = 0.95
"""Of what is available; the rest is for whoever else is on the machine."""

LARGE = 1 << 20
"""Bytes from which on a block is the system's own, and goes back to it when it is freed."""

NOT_ENOUGH = ("not enough memory", "out of memory", "bad_alloc", "allocate memory", "could not create a primitive", "could not create a memory object")
"""What the CPU's allocators and oneDNN say; torch gives them no exception of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (isinstance(error, RuntimeError) and any(text in str(error) for text in NOT_ENOUGH))


LOWER = "Lower batch_size or max_length, raise accumulation or switch checkpointing on, or end what else uses that memory; then retry."


@contextmanager
def memory_told(device: torch.device, where: Callable[[], str], advice: str = LOWER) -> Iterator[None]:
    """Inside, running out of memory is an error for a person, with what the process held at most. Raises Invalid `out_of_memory`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        peak = peak_memory(device)
        raise Invalid(
            "out_of_memory",
            f"{where()} ran out of memory; at its peak the process held {peak / 1e9:.2f} GB.",
            advice,
            detail={"peak_memory_bytes": peak},
        ) from error


def save_memory(parameters: MethodParameters) -> None:
    """For a run that was told to save memory (it has an accumulation, or recomputes activations), let glibc return large blocks to the system as soon
    as they are freed, instead of raising that limit to 32 MB by itself.

    Left alone it keeps freed activations in a heap full of holes: one step of LoRA with activation checkpointing on SmolLM2-135M, 8
    examples of 128 tokens, peaked at 2.34 GB; so it peaks at 1.29 GB. It costs time (28 % more of the processor on steps of 16 short
    rows), so other runs do without. It holds for the rest of the process; nothing happens elsewhere than on glibc.
    """
    if sys.platform == "linux" and ((parameters.accumulation or 1) > 1 or parameters.checkpointing):
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(-3, LARGE)  # M_MMAP_THRESHOLD


def release(device: torch.device) -> None:
    """Give back what is no longer held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def forget_peak(device: torch.device) -> None:
    """Count the peak from here on, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most memory in bytes that this process has had so far: of the GPU, its context and what torch keeps there once it was freed among it;
    resident on a processor."""
    if device.type == "cuda":
        return PROCESS_BYTES["cuda"] + int(torch.cuda.max_memory_reserved(device))
    resident = _status("VmHWM")
    if resident is not None:
        return resident
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere


def available() -> int:
    """Bytes this process can still take without pushing anybody out: the machine's, or the container's if that is less."""
    room = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        files = next(int(line.split()[1]) for line in (CGROUP / "memory.stat").read_text().splitlines() if line.startswith("inactive_file "))
        room = min(room, limit - used + files)
    return room


@contextmanager
def capped(device: torch.device, share: int = 1) -> Iterator[None]:
    """Inside, an allocation on the CPU beyond what is available, or beyond one of `share` equal parts of it, fails with an error, where Linux would grant it and kill the process
    later without a word. The cap is a soft RLIMIT_DATA: it counts private memory a process may write to, as it is asked for and not
    as it is touched. A lower limit that is there already stays. On a GPU the allocator refuses by itself.
    """
    held = _status("VmData")
    if device.type != "cpu" or held is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([held + int(SHARE * available() / share), *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _status(name: str) -> int | None:
    """A size in bytes out of /proc/self/status; None where there is no such file."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
