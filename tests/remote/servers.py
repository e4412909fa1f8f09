"""Starting the test servers, and asking what they saw."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from app.broker import wait
from tests.house.rules import ROOT
from tests.installation import free_port

START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A server of the tests on this machine."""

    port: int

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.place}"

    def ask(self, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def requests(self, fault: str = "") -> list[dict[str, Any]]:
        """What the fault server was asked, at one fault's path or at all."""
        return [one for one in self.ask("/log")["requests"] if one["path"].startswith(f"/{fault}")]


@contextmanager
def running(module: str, *arguments: str, ready: str) -> Iterator[Server]:
    """A server module in its own process, from when it answers at `ready` on."""
    server = Server(free_port())
    with subprocess.Popen([sys.executable, "-m", module, *arguments, str(server.port)], cwd=ROOT) as process:
        try:
            assert wait(lambda: process.poll() is not None or _answers(server, ready), START_SECONDS) and process.poll() is None
            yield server
        finally:
            process.terminate()


def _answers(server: Server, path: str) -> bool:
    try:
        server.ask(path)
    except OSError:
        return False
    return True
