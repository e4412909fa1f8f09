"""The caps of the reading child: on memory, processor time and files written."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.readers import CPU_SECONDS, MEMORY

LIBRARIES = 2 << 30
"""Bytes of address space a library may take while it is loaded; most of it is never touched."""

_STATM = Path("/proc/self/statm")


def limit() -> None:
    """Cap this process: memory, processor time, no core dumps, and not a byte written to any file."""
    _cap(resource.RLIMIT_CPU, CPU_SECONDS)
    _cap(resource.RLIMIT_CORE, 0)
    _cap(resource.RLIMIT_FSIZE, 0)
    if _STATM.exists():  # elsewhere than on Linux the address space is not known; the cap on time still holds
        _cap(resource.RLIMIT_AS, _allowed() + LIBRARIES)
        _lower(_allowed())


@contextmanager
def loading() -> Iterator[None]:
    """Load a library: the address space it takes does not count, the memory it uses does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or not _STATM.exists():
        yield
        return
    _lower(hard)
    try:
        yield
    finally:
        _lower(_allowed())


def _allowed() -> int:
    """The address space of this process once it uses all the memory it may use."""
    size, resident = (int(pages) * resource.getpagesize() for pages in _STATM.read_text().split()[:2])
    return size + MEMORY - resident


def _lower(soft: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _cap(what: int, soft: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(what, (value, value if what == resource.RLIMIT_AS else hard))
