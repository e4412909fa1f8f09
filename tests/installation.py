"""`fettle up` in a data folder of its own, for tests that need a whole installation."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from app.broker import wait
from tests.house.rules import ROOT

START_SECONDS = 180


@dataclass
class Running:
    """A `fettle up` in a data folder of its own."""

    process: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, *words: str) -> list[int]:
        """The processes whose command line holds all these words, oldest first."""
        found = []
        for process in self.family():
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:  # it has ended since
                continue
            if all(word in line for word in words):
                found.append(process.pid)
        return found

    def ready(self) -> bool:
        return bool(self.state()["ready"])

    def state(self) -> dict[str, Any]:
        """What /readyz says; that nothing answers where nothing does."""
        connection = HTTPConnection("127.0.0.1", int(self.environment["FETTLE_PORT"]), timeout=5)
        try:
            connection.request("GET", "/readyz")
            state: dict[str, Any] = json.loads(connection.getresponse().read())
            return state
        except (OSError, ValueError):
            return {"ready": False, "workers": [], "engine": []}
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, port: int) -> dict[str, str]:
    """No setting from outside, and no package index: the starter model is not fetched here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FETTLE_", "PIP_"))}
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    own = {"FETTLE_DATA": str(folder / "data"), "FETTLE_PORT": str(port), "XDG_RUNTIME_DIR": str(runtime)}
    return {**kept, **own, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}


def start(folder: Path, port: int, more: Mapping[str, str] | None = None) -> Running:
    """`more` are settings beside those of every test."""
    output, given = folder / "up.txt", environment(folder, port) | dict(more or {})
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "app.cli", "up"], cwd=ROOT, env=given, stdout=file, stderr=file)
    running = Running(process, given, output)
    assert wait(lambda: "Ctrl-C ends everything" in running.said() or process.poll() is not None, START_SECONDS), running.said()
    assert process.poll() is None, running.said()
    return running
