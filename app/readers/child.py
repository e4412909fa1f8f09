"""`python -m app.readers.child PATH`: reads one file under caps and writes frames to standard output; options come as JSON on standard input.

A file can be made to cost anything: here it can cost this process, never the one that asked.
"""

import gc
import sys
from pathlib import Path

import msgspec

from app.readers.caps import limit
from app.readers.frames import Capped, write
from app.readers.options import Options
from app.readers.pipeline import frames

OBJECTS = 100_000
"""Rows are made by the million and none is part of a cycle: looking for cycles among them so much more seldom saves a tenth of the time."""


def main() -> None:
    """The process door. Ends with status 0 once everything is told; a cap on time ends it with SIGXCPU."""
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=Options)
    limit()
    gc.set_threshold(OBJECTS)
    try:
        for frame in frames(Path(sys.argv[1]), options):
            write(frame, sys.stdout.buffer)
    except MemoryError:
        write(Capped(), sys.stdout.buffer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
