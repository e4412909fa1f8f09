"""From nothing to a running Fettle: the commands, the Python they need, the versions they install."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.house.rules import ROOT

OUTSIDE = re.compile(r"^(torch|triton|setuptools|cuda-.*|nvidia-(?!ml-py).*)==")
LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(name: str) -> set[tuple[str, str]]:
    """The packages of a lock with their versions; a package may stand there once for each range of Python."""
    return set(re.findall(r"^([a-zA-Z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def sh(*words: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run(["/bin/sh", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_an_old_python_is_refused_with_a_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.exit(sys.version_info < (3, 11))` does there
    old.chmod(0o755)
    done = sh("scripts/python.sh", "-c", "print(1)", path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Fettle needs Python 3.11 or newer")


def test_a_python_that_is_new_enough_runs_what_it_is_given() -> None:
    assert sh("scripts/python.sh", "-c", "print(6 * 7)").stdout == "42\n"


@pytest.mark.security
@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_hashes(name: str) -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    assert len(blocks) == len(locked(name)) > 80
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("name", LOCKS)
def test_torch_and_its_drivers_stand_outside_the_lock(name: str) -> None:
    assert not [line for line in (ROOT / name).read_text().splitlines() if OUTSIDE.match(line)]


def test_both_locks_agree() -> None:
    run, dev = (locked(name) for name in LOCKS)
    assert run <= dev
    assert "pytest" in {package for package, _ in dev - run}


def test_every_command_is_listed_and_can_be_planned() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert {"help", "run", "test", "dev", "check", "bench", "test-faults", "test-security", "lock"} <= set(commands)
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert set(commands) == set(phony[1].split())
    help_text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^  make {command} +\S", help_text, re.MULTILINE) for command in commands)
    for command in commands:
        assert subprocess.run(["make", "--dry-run", command], cwd=ROOT, capture_output=True, check=False).returncode == 0
