"""`python -m app.readers.child PATH`: reads one file under caps and writes frames to standard output; options come as JSON on standard input.

A file can be made to cost anything: here it can cost this process, never the one that asked.
"""

import resource
import sys
from pathlib import Path

import msgspec

from app.readers import CPU_SECONDS, MEMORY
from app.readers.frames import Capped, write
from app.readers.options import Options
from app.readers.pipeline import frames


def limit() -> None:
    """Cap this process: memory, processor time, no core dumps, and not a byte written to any file."""
    _cap(resource.RLIMIT_CPU, CPU_SECONDS)
    _cap(resource.RLIMIT_CORE, 0)
    _cap(resource.RLIMIT_FSIZE, 0)
    statm = Path("/proc/self/statm")
    if statm.exists():  # elsewhere than on Linux the address space is not known; the cap on time still holds
        _cap(resource.RLIMIT_AS, int(statm.read_text().split()[0]) * resource.getpagesize() + MEMORY)


def _cap(what: int, soft: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main() -> None:
    """The process door. Ends with status 0 once everything is told; a cap on time ends it with SIGXCPU."""
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=Options)
    limit()
    try:
        for frame in frames(Path(sys.argv[1]), options):
            write(frame, sys.stdout.buffer)
    except MemoryError:
        write(Capped(), sys.stdout.buffer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
