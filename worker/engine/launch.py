"""The processes of a run over several devices: starts those besides this one, watches them, and lets none outlive it.

Started by a launcher (`accelerate launch`, torchrun), which does all this itself, it only says which process this is.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any, Self

import torch

from app.errors import FettleError, Invalid
from worker.engine.lifeline import LOST
from worker.engine.place import Place, launched
from worker.engine.reporting import Lost
from worker.engine.spec import TrainSpec, to_json

START_SECONDS = 300.0
"""The most that importing torch may take on a machine whose processes all do it at once."""

SETTLE_SECONDS = 3.0
"""How long to look for the process whose end broke a conversation: its end shows a moment later."""

END_SECONDS = 5.0
"""How long a process has to end by itself, and rank 0 to notice that another one has; one that cannot be freed from waiting for it ends as LOST."""


@contextmanager
def started(spec: TrainSpec) -> Iterator[Place]:
    """The place of this process, with the run's other processes at work around it.

    Raises Invalid for what this machine cannot do, and Lost (or the reason it gave itself) when one of them ended early.
    """
    if place := launched():
        _refuse_other_layout(spec, place)
        yield place
        return
    count = spec.parameters.devices
    if count == 1:
        yield Place()
        return
    _refuse_too_many(spec)
    with tempfile.TemporaryDirectory(prefix="fettle-ranks-") as folder:
        place = Place(0, count, 0, str(Path(folder) / "meeting"))
        with _environment(place), Crew(place, spec):
            yield place


class Crew:
    """The processes of ranks 1 and up, from when all of them are ready to when none is left."""

    def __init__(self, place: Place, spec: TrainSpec) -> None:
        self._place, self._spec = place, spec
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self._ready: set[int] = set()
        self._lost: dict[int, FettleError] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._gather()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Whoever talks to a process that has ended gets a RuntimeError of torch's, which says less than the process itself did.
        reason = None
        if isinstance(error, RuntimeError):
            with self._changed:
                self._changed.wait_for(lambda: self._lost, SETTLE_SECONDS)
            reason = self._reason()
        self._end()
        if reason:
            raise reason from error

    def _gather(self) -> None:
        for rank in range(1, self._place.world):
            self._start(rank)
        with self._changed:
            self._changed.wait_for(lambda: self._lost or len(self._ready) == len(self._processes), START_SECONDS)
        if len(self._ready) < len(self._processes):
            raise self._reason() or Lost("rank_lost", "The run's other processes did not start in time.", "Look at the load of this machine.")

    def _start(self, rank: int) -> None:
        place = replace(self._place, rank=rank, local=rank)
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.engine.rank", str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=os.environ | place.environment(), start_new_session=True,
        )  # fmt: skip
        self._processes[rank] = process
        assert process.stdin, "it was asked for a pipe"
        with suppress(BrokenPipeError):  # then it has ended, and its exit code says how
            process.stdin.write(f"{json.dumps(asdict(place))}\n{to_json(self._spec)}\n")
            process.stdin.flush()
        thread = threading.Thread(target=self._attend, args=(rank, process), daemon=True, name=f"rank {rank}")
        thread.start()
        self._threads.append(thread)

    def _attend(self, rank: int, process: "subprocess.Popen[str]") -> None:
        """Hear what a process says until it ends. When it ends early and rank 0 stays stuck in waiting for it, this process ends too."""
        assert process.stdout, "it was asked for a pipe"
        with process.stdout:
            for line in process.stdout:
                self._hear(rank, json.loads(line))
        code = process.wait()
        if code == 0 or self._closing.is_set():
            return
        with self._changed:
            self._lost.setdefault(rank, _ending(rank, self._place.world, code))
            self._changed.notify_all()
        if not self._closing.wait(SETTLE_SECONDS + END_SECONDS):
            sys.stderr.write(f"{self._reason()}\n")
            sys.stderr.flush()
            os._exit(LOST)

    def _hear(self, rank: int, said: dict[str, Any]) -> None:
        with self._changed:
            if error := said.get("error"):
                code, message, advice = (error.pop(name) for name in ("code", "message", "advice"))
                self._lost[rank] = Invalid(code, message, advice, detail=error)
            else:
                self._ready.add(rank)
            self._changed.notify_all()

    def _reason(self) -> FettleError | None:
        """Why the run broke: what a process said itself comes before a kill, and that before those that ended because of it."""
        with self._changed:
            return min(self._lost.values(), key=lambda error: {"rank_killed": 1, "rank_lost": 2}.get(error.code, 0), default=None)

    def _end(self) -> None:
        self._closing.set()
        for process in self._processes.values():
            with suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]  # it was asked for a pipe
        deadline = time.monotonic() + END_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for thread in self._threads:
            thread.join()


@contextmanager
def _environment(place: Place) -> Iterator[None]:
    # Without OMP_NUM_THREADS accelerate would set torch's number of threads as it likes.
    values = {"OMP_NUM_THREADS": str(torch.get_num_threads()), **place.environment()}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ending(rank: int, world: int, code: int) -> FettleError:
    who = f"Process {rank + 1} of the run's {world}"
    if code > 0:
        return Lost("rank_lost", f"{who} ended with exit code {code}.", "The job's process log has its last words.")
    name = Signals(-code).name
    advice = "Often that means: out of memory. Raise accumulation, or lower batch_size, max_length or devices." if name == "SIGKILL" else "Run it again."
    return Lost("rank_killed", f"{who} was killed by {name}.", advice)


def _refuse_too_many(spec: TrainSpec) -> None:
    count = spec.parameters.devices
    if spec.device == "cpu" or not torch.cuda.is_available():
        return  # any number of processes runs on a processor, none of them faster
    if ":" in spec.device:
        raise Invalid("one_device", f"{spec.device} names a single device, and the run asks for {count}.", "Ask for cuda or auto, or set devices to 1.")
    there = torch.cuda.device_count()
    if count > there:
        has = "one GPU" if there == 1 else f"{there} GPUs"
        raise Invalid("too_many_devices", f"This machine has {has}; the run asks for {count}.", f"Set devices to {there} or fewer.")


def _refuse_other_layout(spec: TrainSpec, place: Place) -> None:
    if spec.parameters.devices not in (1, place.world):
        raise Invalid(
            "other_layout", f"devices is {spec.parameters.devices}, but the launcher started {place.world} processes.", f"Set devices to {place.world} or 1."
        )
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise Invalid("other_layout", "The launcher is set to FSDP.", "Leave that out of its configuration, and set sharding to fsdp.")
