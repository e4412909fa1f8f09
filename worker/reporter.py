"""The engine's only way out of a job's process: metric points, samples, log lines, progress, and whether to stop.

Points are gathered and written at most once a second, in one short fenced transaction each. A write that finds the lease
gone raises Fenced, which ends the process: somebody else has the job now.
"""

import math
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from app.db import transaction
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import trial as trials

PAUSE_SECONDS = 1.0


class JobReporter:
    """Implements `worker.engine.reporting.Reporter` over the database."""

    def __init__(self, job_id: int, token: str, attempt: int, stop: threading.Event) -> None:
        self._job, self._token, self._attempt, self._stop = job_id, token, attempt, stop
        self._points: list[tuple[int, Mapping[str, float]]] = []
        self._samples: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._progress: dict[str, object] = {}
        self._trials: dict[int, dict[str, object]] = {}
        self._written = 0.0

    def phase(self, name: str, total: int | None = None) -> None:
        self.flush()
        with transaction() as session:
            jobs.enter(session, self._job, self._token, name, total)
        self._written = 0.0  # a phase counts in units of its own, so its first progress is written at once

    def step(self, done: int, total: int, values: Mapping[str, float], eta_seconds: float | None) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._points.append((done, finite))
        self.progress(done, total, eta_seconds)

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        self._progress = {"step": done, "total_steps": total, "eta_seconds": eta_seconds}
        if time.monotonic() - self._written >= PAUSE_SECONDS:
            self.flush()

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002  # the word of the table and the API
        # A model may write any character; PostgreSQL holds every one but this.
        self._samples.append({"trial": trial, "step": step, "row": row, "input": input, "gold": gold, "text": text.replace("\0", "\ufffd")})

    def log(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        self._lines += text.splitlines()
        if time.monotonic() - self._written >= PAUSE_SECONDS:
            self.flush()

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        self.log(f"checkpoint at step {step}: {folder.name}, manifest {manifest_sha256[:12]}")

    def trial(self, number: int, parameters: Mapping[str, object], state: str, step: int, value: float | None, reason: str | None = None) -> None:
        self._trials[number] = {"number": number, "parameters": dict(parameters), "state": state, "step": step, "value": value, "reason": reason}

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def flush(self) -> None:
        """Write what was gathered. Raises Fenced."""
        if not (self._points or self._samples or self._lines or self._progress or self._trials):
            return
        try:
            with transaction() as session:
                if self._trials:
                    trials.record(session, self._job, self._token, list(self._trials.values()))
                metrics.record(session, self._job, self._token, self._attempt, self._points, self._lines, self._samples, **self._progress)
        except OperationalError as error:
            sys.stderr.write(f"the database does not answer, so the report waits: {error.orig}\n")
            self._written = time.monotonic()
            return
        self._points, self._samples, self._lines, self._progress, self._trials = [], [], [], {}, {}
        self._written = time.monotonic()
