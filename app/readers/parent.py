"""Reads a file through a child process that may die of it."""

import logging
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from app.errors import Invalid
from app.readers.columns import check_mapping
from app.readers.frames import LENGTH, Capped, End, Frame, Options, decode

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds `app`."""

log = logging.getLogger(__name__)


def read_file(path: str | Path, mapping: Mapping[str, str | None] | None = None, timeout: float = 60.0, options: Options | None = None) -> Iterator[Frame]:
    """The frames of a file, as they come: Found, then Chunk and Broken in the order of the file, then End.

    `timeout` is how many seconds the child may keep silent while it is waited for; time the caller takes between frames does
    not count. One chunk is in memory at a time. Leaving the iteration early ends the child. Raises Invalid when the mapping names
    something else than input, output and split, or the child was killed, ran into a cap or fell silent.
    """
    wanted = msgspec.structs.replace(options or Options(), mapping=check_mapping(mapping)) if mapping is not None else options or Options()
    command = [sys.executable, "-P", "-m", "app.readers.child", str(Path(path).resolve())]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}, bufsize=0)
        ...
