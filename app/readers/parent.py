"""The door for files: reads one through a child process, which may die of it."""

import logging
import selectors
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import IO, cast

import msgspec

from app.errors import Invalid
from app.readers import CPU_SECONDS, MEMORY
from app.readers.frames import LENGTH, Capped, End, Frame, decode
from app.readers.options import Options, check

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds `app`."""

# No secrets reach the child: its environment is this and nothing else. Arrow and the C library take memory as it is needed,
# not in arenas of address space, so that the cap on it means what it says.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

AHEAD = 1 << 20
"""How many bytes the child may have written that nobody has taken yet: it reads on while its frames are stored. Where the system allows less, a little less
is read ahead."""

DETECT = Options()

log = logging.getLogger(__name__)


def read_file(
    path: str | Path,
    mapping: Mapping[str, str | list[str] | None] | None = None,
    timeout: float = 60.0,
    options: Options = DETECT,
) -> Generator[Frame, None, None]:
    """The frames of a file, as they come: Found, then Chunk and Broken in the order of the file, then End.

    `timeout` is how many seconds the child may keep silent; time the caller takes between frames does not count. One frame is
    in memory at a time. Leaving the iteration early ends the child. Raises Invalid when an option cannot be used, or when the
    child ran into a cap, fell silent or died.
    """
    options = options if mapping is None else replace(options, mapping=mapping)
    check(options)
    # -P: no module is imported from the working folder.
    command = [sys.executable, "-P", "-m", "app.readers.child", str(Path(path).resolve())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=ENVIRONMENT, start_new_session=True) as child:
        with suppress(OSError):
            fcntl(cast("IO[bytes]", child.stdout), F_SETPIPE_SZ, AHEAD)
        try:
            yield from _frames(child, msgspec.json.encode(asdict(options)), timeout)
        finally:
            child.kill()


def _frames(child: subprocess.Popen[bytes], options: bytes, timeout: float) -> Iterator[Frame]:
    stdin, stdout = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
    with suppress(BrokenPipeError):  # a child that is dead already is found out below
        stdin.write(options)
    stdin.close()
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)

        def take(size: int) -> bytes:
            """Bytes of the pipe; fewer than asked for only at its end."""
            taken = bytearray()
            while len(taken) < size:
                if not selector.select(timeout):
                    raise _too_costly(f"more than {timeout:g} seconds")
                piece = stdout.read(size - len(taken))
                if not piece:
                    break
                taken += piece
            return bytes(taken)

        while len(head := take(LENGTH.size)) == LENGTH.size:
            try:
                frame = decode(take(LENGTH.unpack(head)[0]))
            except msgspec.MsgspecError:
                break
            if isinstance(frame, Capped):
                raise _too_costly(f"more than {MEMORY >> 20} MB of memory")
            yield frame
            if isinstance(frame, End):
                return
    raise _died(child)


def _too_costly(what: str) -> Invalid:
    return Invalid("too_costly", f"Reading this file would take {what}.", "Split it into smaller files, or export it again as CSV (UTF-8).")


def _died(child: subprocess.Popen[bytes]) -> Invalid:
    """The child ended without its last frame."""
    words = cast("IO[bytes]", child.stderr).read().decode(errors="replace")
    status = child.wait()
    if status == -signal.SIGXCPU:
        return _too_costly(f"more than {CPU_SECONDS} seconds of processor time")
    if status == -signal.SIGKILL:
        return _too_costly("more memory than this machine has free")
    if -status in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        log.warning("a file ended its reader with signal %s", -status)
        return Invalid("damaged_file", "This file is damaged in a way that ended its reader.", "Write it again, or export the table as CSV (UTF-8).")
    log.error("the reading child ended with status %s: %s", status, words[-2000:])
    return Invalid("reader_failed", "The file could not be read: its reader stopped without an answer.", "Export it again as CSV (UTF-8) and try once more.")
