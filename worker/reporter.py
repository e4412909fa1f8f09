"""The engine's only way out of a job's process: metric points, samples, log lines, progress, and whether to stop.

Points are gathered and written at most once a second, in one short fenced transaction each. A write that finds the lease
gone raises Fenced, which ends the process: somebody else has the job now.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from app.db import transaction
from app.domain import device as devices
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import trial as trials
from app.errors import Away
from worker.outage import OUTAGES, PATIENCE_SECONDS, told
from worker.weights import Sender

PAUSE_SECONDS = 1.0
MEASURED_SECONDS = 2.0
"""So long rows are asked before it is said what is left: a guess helps nobody."""

T = TypeVar("T")


class JobReporter:
    """Implements `worker.engine.reporting.Reporter` over the database."""

    def __init__(self, job_id: int, token: str, attempt: int, stop: threading.Event) -> None:
        self._job, self._token, self._attempt, self._stop = job_id, token, attempt, stop
        self._points: list[tuple[int, Mapping[str, float]]] = []
        self._samples: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._progress: dict[str, object] = {}
        self._trials: dict[int, dict[str, object]] = {}
        self._first: tuple[float, int] | None = None
        self._written = 0.0
        self._phase = "load"
        self._step_and_save = 0.0
        self._sender = Sender()

    def phase(self, name: str, total: int | None = None) -> None:
        self._phase, self._first = name, None

        def enter() -> None:
            with transaction() as session:
                jobs.enter(session, self._job, self._token, name, total)

        self.patiently(lambda: self.flush(wait=True))
        self.patiently(enter)
        self._written = 0.0  # a phase counts in units of its own, so its first progress is written at once

    def pace(self, step_seconds: float, save_seconds: float) -> None:
        self._step_and_save = step_seconds + save_seconds

    def leaving_seconds(self) -> float:
        """What the next safe place to stop at is away. Before the first step there is nothing worth waiting for."""
        return math.inf if self._phase in ("load", "preflight") else self._step_and_save

    def patiently(self, work: Callable[[], T]) -> T:
        """What this returns, tried again while the database or the object store is away: minutes of training should not end because of that. Raises Fenced.

        It ends earlier when the job is asked to stop: then nobody waits for it any more.
        """
        deadline, said = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                return work()
            except OUTAGES as error:
                if time.monotonic() > deadline or self._stop.wait(PAUSE_SECONDS):
                    raise
                if isinstance(error, Away) and not said:
                    said = True
                    self.log(told(error))
                    self.flush()
                else:
                    _say(told(error))

    def step(self, done: int, total: int, values: Mapping[str, float], eta_seconds: float | None) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._points.append((done, finite))
        self.progress(done, total, eta_seconds)

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        self._progress = {"step": done, "total_steps": total, "eta_seconds": eta_seconds}
        if time.monotonic() - self._written >= PAUSE_SECONDS:
            self.flush()

    def rows(self, done: int, total: int) -> None:
        """Progress in rows, which cost about the same each: what is left is reckoned from what came since the first of them were told."""
        now = time.monotonic()
        self._first = self._first or (now, done)
        took, came = now - self._first[0], done - self._first[1]
        self.progress(done, total, took / came * (total - done) if came > 0 and took >= MEASURED_SECONDS else None)

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002  # the word of the table and the API
        # A model may write any character; PostgreSQL holds every one but this.
        self._samples.append({"trial": trial, "step": step, "row": row, "input": input, "gold": gold, "text": text.replace("\0", "\ufffd")})

    def log(self, text: str) -> None:
        _say(text)
        self._lines += text.splitlines()
        if time.monotonic() - self._written >= PAUSE_SECONDS:
            self.flush()

    def settle(self) -> None:
        self.patiently(lambda: self.flush(wait=True))

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        self.log(f"checkpoint at step {step}: {folder.name}, manifest {manifest_sha256[:12]}")
        self._sender.send(next((parent for parent in folder.parents if parent.name.startswith("attempt-")), folder))

    def close(self) -> None:
        """The run is left: what it reported and saved so far is where the next attempt finds it."""
        self.flush()
        self._sender.close()

    def trial(self, number: int, parameters: Mapping[str, object], state: str, step: int, value: float | None, reason: str | None = None) -> None:
        self._trials[number] = {"number": number, "parameters": dict(parameters), "state": state, "step": step, "value": value, "reason": reason}

    def measured(self, peak_bytes: int) -> None:
        def give_back() -> None:
            with transaction() as session:
                devices.measured(session, devices.job_holder(self._job, self._attempt), peak_bytes)

        self.patiently(give_back)

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def flush(self, *, wait: bool = False) -> None:
        """Write what was gathered; while the database is away it is kept for the next time, unless the caller wants to `wait`. Raises Fenced."""
        if not (self._points or self._samples or self._lines or self._progress or self._trials):
            return
        try:
            with transaction() as session:
                if self._trials:
                    trials.record(session, self._job, self._token, list(self._trials.values()))
                metrics.record(session, self._job, self._token, self._attempt, self._points, self._lines, self._samples, **self._progress)
        except OUTAGES as error:
            if wait:
                raise
            _say(told(error))
            self._written = time.monotonic()
            return
        self._points, self._samples, self._lines, self._progress, self._trials = [], [], [], {}, {}
        self._written = time.monotonic()


def _say(text: str) -> None:
    """To the process's log. A disk that is full must not end a run that could still say so."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
