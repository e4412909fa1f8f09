"""Threads spin while nobody else needs their cores, and sleep meanwhile."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
import torch

from worker.engine import waits
from worker.engine.waits import BUSY, Threads, seconds_busy

WAITING = """
import time
import torch
from worker.engine.waits import Threads

def spent():  # what threads spend that have nothing to do, after an operation they shared
    torch.zeros(1 << 20).add_(1)
    began = time.process_time()
    time.sleep(0.2)
    return time.process_time() - began

torch.set_num_threads(2)
threads = Threads()
found = [spent()]
for change in (threads.sleep, threads.sleep, threads.spin, threads.sleep):
    change()
    time.sleep(0.05)
    found.append(spent())
print(*found)
"""


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="libgomp, and threads that could spin")
def test_a_waiting_thread_spends_nothing_while_it_sleeps() -> None:
    given = os.environ | {"GOMP_SPINCOUNT": "100000000000"}  # spinning for minutes, so that it is seen
    done = subprocess.run([sys.executable, "-c", WAITING], env=given, capture_output=True, text=True, check=True)
    first, asleep, still, spinning, again = map(float, done.stdout.split())
    assert min(first, spinning) > 4 * max(asleep, still, again), done.stdout


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads on two cores."""
    monkeypatch.setattr(waits, "cores", lambda: [0, 1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def looked(others: float) -> bool:
    """Whether threads sleep after a second in which others kept so many cores busy."""
    now, every, own = 0.0, 0.0, 0.0
    threads = Threads(lambda: (every, own), lambda: now)
    now, every, own = 1.0, 1.0 + others, 1.0
    threads.look()
    asleep = threads.asleep
    threads.spin()
    return asleep


@pytest.mark.usefixtures("team")
def test_threads_sleep_and_spin_with_the_load_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(BUSY) and not looked(BUSY - 0.1)
    monkeypatch.setattr(waits, "cores", lambda: [0, 1, 2, 3])
    assert not looked(2.0) and looked(2.0 + BUSY), "what others do on cores that are free is in nobody's way"


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(("told", "asleep"), [("100000 100000", True), ("200000 100000", False), ("max 100000", False), ("nonsense", False), (None, False)])
def test_threads_sleep_where_a_container_may_use_fewer_cores(told: str | None, asleep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "QUOTA", tmp_path / "cpu.max")
    if told is not None:
        (tmp_path / "cpu.max").write_text(f"{told}\n")
    assert looked(0.0) is asleep


@pytest.mark.usefixtures("team")
def test_the_number_of_threads_is_that_of_now_also_for_a_thread_that_asked_before() -> None:
    asked, go = SimpleQueue[int](), SimpleQueue[None]()

    def ask() -> None:
        for _ in range(2):
            go.get()
            asked.put(waits._team())

    threading.Thread(target=ask, daemon=True).start()
    go.put(None)
    assert asked.get(timeout=10) == 2
    torch.set_num_threads(1)
    go.put(None)
    assert asked.get(timeout=10) == 1


def test_one_thread_waits_for_nobody() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    threads = Threads()
    threads.sleep()
    assert not threads.asleep
    torch.set_num_threads(before)


def test_what_this_process_does_is_not_what_others_do() -> None:
    every, own = seconds_busy()
    torch.randn(600, 600) @ torch.randn(600, 600)
    spun = sum(number * number for number in range(2_000_000))
    after = seconds_busy()
    assert spun and after[1] - own > 0.05 and after[0] - every > 0.03, "it is among what everybody does"
