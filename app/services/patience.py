"""A file that is read while its sender waits: no longer, and no more of it, than anybody waits for an answer."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from app.errors import Invalid
from app.readers.frames import Chunk, Frame
from app.readers.options import Options
from app.readers.parent import read_file

SECONDS = 5.0
ROWS, CHARACTERS = 20_000, 20_000_000
"""What is read at most while somebody waits. The size of a packed file says nothing of that."""


class Long(Exception):
    """There is more in the file, or it takes longer to read: whoever sent it follows an upload instead."""


def to_its_end(path: Path, options: Options) -> Generator[Frame, None, None]:
    """The frames of a file that nobody waits for."""
    return read_file(path, options=options)


def briefly(path: Path, options: Options) -> Generator[Frame, None, None]:
    """The frames of a file. Raises Long, and Invalid as read_file does."""
    ending, rows, characters = time.monotonic() + SECONDS, 0, 0
    try:
        with closing(read_file(path, timeout=SECONDS, options=options)) as frames:
            for frame in frames:
                if isinstance(frame, Chunk):
                    rows += len(frame.examples)
                    characters += sum(len(one.input) + len(one.output or "") + sum(map(len, one.cells.values())) for one in frame.examples)
                if rows > ROWS or characters > CHARACTERS or time.monotonic() > ending:
                    raise Long
                yield frame
    except Invalid as error:
        if error.code == "too_costly" and time.monotonic() > ending:  # it kept silent for so long
            raise Long from error
        raise
