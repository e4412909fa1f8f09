"""The commands of docker-compose.yml with its environment, as plain processes: PostgreSQL, and Valkey over TCP."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import broker
from app.broker import wait
from tests.house.rules import ROOT
from tests.installation import free_port

pytestmark = pytest.mark.slow
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def environment(name: str, places: dict[str, str]) -> dict[str, str]:
    """The service's environment, with the places of this machine where compose would put its own."""
    declared = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()}
    assert places.keys() <= declared.keys() | {"FETTLE_HOST", "FETTLE_PORT"}
    return {**os.environ, **declared, **{key: value for key, value in places.items() if key in declared}}


@contextmanager
def tcp_broker(folder: Path, port: int) -> Iterator[None]:
    folder.mkdir()
    words = [*broker.command(Path(f"/tmp/fettle-test-{port}.sock"), folder), "--port", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        yield
        process.terminate()


@contextmanager
def service(name: str, places: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *SERVICES[name]["command"]], cwd=ROOT, env=environment(name, places), stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def once(words: list[str], name: str, places: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=environment(name, places), capture_output=True, text=True, timeout=120, check=False)


def test_the_same_commands_run_without_docker(postgresql_url: str, tmp_path: Path) -> None:
    web, redis = free_port(), free_port()
    places = {
        "FETTLE_DATABASE_URL": postgresql_url,
        "FETTLE_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "FETTLE_SECRET_KEY": "0123456789abcdef0123456789abcdef",
        "FETTLE_DATA": str(tmp_path / "data"),
        "FETTLE_HOST": "127.0.0.1",
        "FETTLE_PORT": str(web),
    }
    for name in ("migrate", "samples"):
        done = once(["app.cli", *SERVICES[name]["command"]], name, places)
        assert done.returncode == 0, done.stderr
    with ExitStack() as stack:
        stack.enter_context(tcp_broker(tmp_path / "broker", redis))
        for name in ("web", "worker-cpu", "engine-cpu"):
            stack.enter_context(service(name, places, tmp_path / f"{name}.log"))
        assert wait(lambda: status(web, "/readyz") == 200, 120), "\n".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
        assert status(web, "/healthz") == 200
        for name in ("worker-cpu", "engine-cpu"):
            probe = SERVICES[name]["healthcheck"]["test"]
            assert probe[:3] == ["CMD", "python", "-m"]
            assert once(probe[3:], name, places).returncode == 0
    assert once(["worker.healthcheck", "gpu"], "worker-cpu", places).returncode == 1, "workers say good-bye"
