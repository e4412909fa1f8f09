"""The processes that `fettle up` looks after: start one, notice its end, start it again more and more slowly, end them all."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil

LOG_BYTES = 10_000_000
STEADY_SECONDS = 60.0
LONGEST_PAUSE = 30.0


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


def end(parts: Sequence[Part], seconds: float) -> None:
    """Ask the processes to end, wait, and kill with all their descendants those that have not."""
    running = [part.process for part in parts if part.process is not None and part.process.poll() is None]
    families = [member for process in running for member in _family(process)]
    for process in running:
        process.terminate()
    late = _wait(running, seconds)
    for process in late:
        families += _family(process)
    _kill(families)
    for process in late:
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
