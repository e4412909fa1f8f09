"""The importer: a thread of web that starts a child for every upload that waits, one or two for chores, and clears up after those that were killed."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from app.db import reading
from app.domain import chore as chores
from app.domain import upload as uploads
from app.domain import worker as workers
from app.rounds import Rounds
from app.services import imports
from app.services.upload_files import place
from app.services.uploads import nudged

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
STOP_SECONDS = 3.0
"""Children have so long to put away what they have in hand."""
MOST_UPLOADS = 2
"""Uploads worked on at once by one web process; each takes a core and a half."""

LOOKED_AT = ("health",)
LANES = (LOOKED_AT, tuple(kind for kind in chores.KINDS if kind not in LOOKED_AT))
"""One chore of each of these is done at a time."""

ROOT = Path(__file__).resolve().parents[1]


class Importer(Rounds):
    """Children end with this thread's process, whatever ends it (`app.tied`), and so nobody writes for a web process that is gone."""

    def __init__(self) -> None:
        super().__init__("importer", [self._reap, self._begin, self._sweep], nudged)
        self._uploads: dict[int, subprocess.Popen[bytes]] = {}
        self._chores: dict[Sequence[str], subprocess.Popen[bytes]] = {}
        self._swept = 0.0

    def stop(self) -> None:
        super().stop()
        children = (*self._uploads.values(), *self._chores.values())
        for child in children:
            child.terminate()
        ending = time.monotonic() + STOP_SECONDS
        for child in children:
            try:
                child.wait(timeout=max(0.0, ending - time.monotonic()))
            except subprocess.TimeoutExpired:  # whatever it leaves is swept
                child.kill()
                child.wait()

    def _begin(self) -> None:
        with reading() as session:
            waiting = [upload for upload in uploads.waiting(session) if upload.id not in self._uploads and place(upload.file).exists()]
            # Tokens are counted by the engine process.
            engine = workers.alive(session, "interactive")
            found = {lane: chores.waiting(session, [kind for kind in lane if kind != "lengths" or engine]) for lane in LANES if lane not in self._chores}
        for upload in waiting[: MOST_UPLOADS - len(self._uploads)]:
            self._uploads[upload.id] = _start("upload", upload.id)
        for lane, chore in found.items():
            # A person waits for an upload, and for a version's health; nobody waits for any other chore.
            if chore is not None and (lane == LOOKED_AT or not self._uploads):
                self._chores[lane] = _start("chore", chore)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            if cleared := imports.sweep():
                log.warning("cleared what imports left behind", things=cleared)

    def _reap(self) -> None:
        """Children that ended. What a killed one held is cleared at once; nobody has to wait for its lease."""
        for key, child in [*self._uploads.items()]:
            if child.poll() is None:
                continue
            del self._uploads[key]
            nudged.set()
            if child.returncode:
                log.warning("an importing child ended", upload=key, status=child.returncode)
                imports.lost(key)
        for lane, child in [*self._chores.items()]:
            if child.poll() is not None:
                del self._chores[lane]
                nudged.set()


def _start(what: str, key: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "app.tied", sys.executable, "-m", "app.import_child", what, str(key)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
