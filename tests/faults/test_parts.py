"""The processes under a supervisor: started, noticed when they die, started again more slowly, ended with everything they started."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from app.broker import wait
from app.parts import LOG_BYTES, STEADY_SECONDS, Part, end, launch
from app.supervisor import run_and_tell

pytestmark = pytest.mark.faults

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def part(tmp_path: Path, *command: str) -> Part:
    log = tmp_path / "logs" / "part.log"
    return Part("part", lambda: launch(command, log), log)


def ended_code(part: Part) -> int | None:
    assert part.process is not None
    part.process.wait(10)
    return part.ended()


def test_an_ordinary_process_ends_when_it_is_asked(tmp_path: Path) -> None:
    one = part(tmp_path, *SLEEP)
    one.start()
    began = time.monotonic()
    one.grace = 5
    end([one])
    assert time.monotonic() - began < 3
    assert one.process is not None
    assert one.process.returncode == -signal.SIGTERM


def test_a_stubborn_process_is_killed_with_what_it_started_elsewhere(tmp_path: Path) -> None:
    one = part(tmp_path, sys.executable, "-c", STUBBORN)
    one.start()
    assert wait(lambda: one.tail().strip().isdigit(), 10)
    grandchild = psutil.Process(int(one.tail()))
    one.grace = 0.5
    end([one])
    assert one.process is not None
    assert one.process.returncode == -signal.SIGKILL
    assert wait(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE, 5)


def test_a_process_that_dies_is_noticed_once_and_waits_longer_each_time(tmp_path: Path) -> None:
    one = part(tmp_path, sys.executable, "-c", "import sys; print('why I died'); sys.exit(3)")
    pauses = []
    for _ in range(7):
        one.start()
        assert ended_code(one) == 3
        assert one.ended() is None
        pauses.append(one.pause)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert one.tail().splitlines()[-1] == "why I died"


def test_a_process_that_ran_long_enough_is_forgiven(tmp_path: Path) -> None:
    one = part(tmp_path, sys.executable, "-c", "pass")
    one.failures = 6
    one.start()
    one.began -= STEADY_SECONDS
    assert ended_code(one) == 0
    assert one.pause == 1


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    one = part(tmp_path, sys.executable, "-c", "print('new')")
    one.log.parent.mkdir()
    one.log.write_bytes(b"old\n" * (LOG_BYTES // 4 + 1))
    one.start()
    assert ended_code(one) == 0
    assert one.tail() == "new"
    assert one.log.with_suffix(".old.log").stat().st_size > LOG_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="the wish to end with the parent is Linux's")
def test_what_a_killed_parent_started_ends_too(tmp_path: Path) -> None:
    code = f"from app.parts import launch; from pathlib import Path; import time; print(launch({SLEEP!r}, Path({str(tmp_path / 'x.log')!r})).pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert wait(lambda: SLEEP[-1] in psutil.Process(child).cmdline() and "app.tied" not in psutil.Process(child).cmdline(), 5)
        parent.kill()
    assert wait(lambda: gone(child), 5)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_command_that_is_told_about_says_its_lines_and_its_last_word_when_it_fails() -> None:
    said: list[str] = []
    assert run_and_tell([sys.executable, "-c", "print('one'); print('two')"], said.append) == ""
    assert run_and_tell([sys.executable, "-c", "import sys; print('three'); sys.exit('no network')"], said.append) == "no network"
    assert said == ["one", "two", "three", "no network"]


def test_a_command_that_is_told_about_ends_with_who_listens(tmp_path: Path) -> None:
    pids: list[int] = []

    def listen(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_and_tell([sys.executable, "-c", STUBBORN], listen)
    assert wait(lambda: gone(pids[0]), 5)
