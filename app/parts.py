"""The processes that `fettle up` looks after: start one, notice its end, start it again more and more slowly, end them all."""

import errno
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil

from app.errors import Unavailable
from app.settings import Settings

LOG_BYTES = 10_000_000
FILES, FEWEST_FILES = 4096, 256
"""Open files: what a process asks for, and what it cannot do without."""
STEADY_SECONDS = 60.0
LONGEST_PAUSE = 30.0


def enough_files() -> None:
    """Raise the number of files this process and its children may have open, as far as that is allowed. Raises Unavailable when it stays too small.

    Asked before anything starts: running out of them later breaks connections and checkpoints in the middle.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < FEWEST_FILES:
        raise Unavailable("too_few_files", f"Only {soft} files may be open at once here; Fettle needs {FEWEST_FILES}.", f"Raise it: ulimit -n {FILES}")


def fit_to_start(here: Settings, *, jobs: bool = True) -> None:
    """Raises Unavailable in words for what would break later, in the middle of something: too few open files, folders that cannot be written to and,
    where jobs run, no shared memory."""
    enough_files()
    if jobs:
        _writable(here.run_folder, "XDG_RUNTIME_DIR")
        _shared_memory()
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise Unavailable("not_writable", "There is no folder for temporary files: none of the usual ones can be written to.", "Set TMPDIR to one.") from error
    _writable(here.folder, "FETTLE_DATA")


def _writable(folder: Path, name: str) -> None:
    """A disk that is full is no reason not to start: what is there can be read."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-probe-"):
            return
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return
        advice = f"Mount it writable, give this account the right to write there, or set {name} to another folder."
        raise Unavailable("not_writable", f"Nothing can be written to {folder}: {(error.strerror or str(error)).lower()}.", advice) from error


def _shared_memory() -> None:
    """Locks between a worker's processes are files in it."""
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        message = f"There is no shared memory for a worker's processes: {(error.strerror or str(error)).lower()}."
        raise Unavailable("no_shared_memory", message, "Free or enlarge /dev/shm; a container gets it with --shm-size=64m.") from error


def launch(command: Sequence[str], log: Path) -> "Popen[bytes]":
    """Start a command in a session of its own (Ctrl-C does not reach it), tied to this process, its output in a log file."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    with log.open("ab") as output:
        return Popen([sys.executable, "-m", "app.tied", *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


@dataclass
class Part:
    """One process and how it has been doing. `run` starts it."""

    name: str
    run: Callable[[], "Popen[bytes]"]
    log: Path
    process: "Popen[bytes] | None" = None
    failures: int = 0
    began: float = field(default_factory=time.monotonic)
    due: float = 0.0
    grace: float = 6.0
    """Seconds that it has to end by itself."""

    def start(self) -> None:
        self.began = time.monotonic()
        self.process = self.run()

    def ended(self) -> int | None:
        """The exit code of a process that has just ended, once; from then on the part waits until `due`."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            return None
        now = time.monotonic()
        self.failures = 1 if now - self.began > STEADY_SECONDS else self.failures + 1
        self.due = now + self.pause
        self.process = None
        return code

    @property
    def pause(self) -> float:
        """Seconds before the next start: 1, 2, 4, up to 30."""
        return float(min(LONGEST_PAUSE, 2.0 ** (self.failures - 1)))

    def tail(self, lines: int = 8) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def end(parts: Sequence[Part]) -> None:
    """Ask the processes to end, wait for each as long as it may take, and kill with all their descendants those that have not."""
    running = {part.process: part.grace for part in parts if part.process is not None and part.process.poll() is None}
    families = {process: _family(process) for process in running}
    for process in running:
        process.terminate()
    began = time.monotonic()
    for process in sorted(running, key=lambda process: running[process]):
        late = _wait([process], began + running[process] - time.monotonic())
        _kill([*families[process], *(member for one in late for member in _family(one))])
        process.wait()


def kill(process: "Popen[Any]") -> None:
    """Kill a process with everything it has started."""
    _kill(_family(process))


def _kill(members: Sequence[psutil.Process]) -> None:
    for member in members:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def _family(process: "Popen[Any]") -> list[psutil.Process]:
    """A process and everything it has started, in whatever session that is."""
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait(processes: Sequence["Popen[bytes]"], seconds: float) -> list["Popen[bytes]"]:
    """Those that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    late = list(processes)
    while late and time.monotonic() < deadline:
        time.sleep(0.05)
        late = [process for process in late if process.poll() is None]
    return late
