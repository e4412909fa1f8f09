"""What is on disk only while somebody works on it: gone with the block, with a process that is told to end, and with the next sweep after one that was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from app.broker import wait
from app.db import reading
from app.domain import chore as chores
from app.domain.access import Who
from app.services import imports, likeness, upload_files, uploads
from app.settings import settings
from tests.house.rules import ROOT
from tests.services.uploading import sent, table

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def sketches() -> list[Path]:
    return list(settings().folder.glob("near-*"))


def passing() -> list[Path]:
    return list(upload_files.folder().glob("passing-*"))


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (1, 1))


@contextmanager
def elsewhere(code: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process of the installation that has entered a block and stays in it."""
    lines = (
        f"import time\nfrom app.services import likeness, upload_files\nfrom io import BytesIO\nwith {code}:\n    print('in', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", lines], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@ONE
def test_what_a_killed_process_left_is_swept_and_what_others_work_on_is_not(person: Who) -> None:
    with elsewhere("likeness.sketching(), upload_files.passing(BytesIO(b'text'))"), likeness.sketching(), upload_files.passing(BytesIO(b"text")):
        age(*sketches(), *passing())
        assert imports.sweep() == 0 and len(sketches()) == len(passing()) == 2
    assert len(sketches()) == len(passing()) == 1, "its own went with the block"
    age(*sketches(), *passing())
    assert imports.sweep() == 2 and not sketches() and not passing()


@ONE
def test_what_has_just_been_made_is_left_alone(person: Who) -> None:
    settings().folder.mkdir(parents=True, exist_ok=True)
    (made := settings().folder / "near-made").mkdir()
    assert imports.sweep() == 0 and made.exists()


@ONE
def test_a_child_that_is_told_to_end_takes_its_sketches_with_it(person: Who) -> None:
    uploads.import_now(person, sent(table(20_000)))
    with reading() as session:
        key = chores.waiting(session, ["near_duplicates"])
    child = subprocess.Popen([sys.executable, "-m", "app.import_child", "chore", str(key)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert wait(lambda: bool(sketches()), 30)
        child.terminate()
        assert child.wait(20) == 128 + signal.SIGTERM and not sketches()
    finally:
        child.kill()
        child.wait()
