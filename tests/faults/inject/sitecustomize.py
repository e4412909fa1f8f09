"""Faults inside processes under test: the folder of this file stands first on their PYTHONPATH, and Python imports it at its start.

TEST_FAULTS names them, as JSON: {"kill": [37]} and so on, see `Faults`. Those that strike once leave a mark in TEST_FAULTS_FOLDER.
"""

import ctypes
import datetime as dt
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WANTED: dict[str, Any] = json.loads(os.environ.get("TEST_FAULTS", "{}"))
MARKS = Path(os.environ.get("TEST_FAULTS_FOLDER", "."))
WRONG_CLOCK = "skew" in WANTED or "jump" in WANTED
JUMPED = MARKS / "jump"


def once(name: str) -> bool:
    """True for the first process that asks."""
    try:
        (MARKS / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die(sign: signal.Signals = signal.SIGKILL) -> None:
    os.kill(os.getpid(), sign)
    time.sleep(60)


def loop(module: Any) -> None:
    """Faults of single steps, which count from 1."""
    step, fill = module.Loop.training_step, module.Loop._fill

    def training_step(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        now = self.state.global_step + 1
        time.sleep(WANTED.get("slow", 0))
        if now == WANTED.get("kill") and once("kill"):
            die()
        if now == WANTED.get("segfault"):
            die(signal.SIGSEGV)
        if now == WANTED.get("harm") and once("harm"):
            newest = max(self.folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
            os.truncate(newest / "optimizer.pt", (newest / "optimizer.pt").stat().st_size // 2)
            die()
        if now == WANTED.get("cuda_memory"):
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if now == WANTED.get("out_of_memory"):
            out_of_memory()
        if now == WANTED.get("fill") and once("fill"):
            fill_disk()
        if now == WANTED.get("hold") and once("hold"):
            ctypes.PyDLL(None).sleep(int(WANTED["hold_seconds"]))  # a long C call that keeps the interpreter's lock
        if now == WANTED.get("stall") and once("stall"):
            time.sleep(WANTED["stall_seconds"])
        if now == WANTED.get("jump"):
            before = time.time()
            once("jump")
            (MARKS / "jumped").write_text(f"{time.time() - before:.0f}")
        return step(self, model, inputs, *rest)

    def filled(self: Any, own: Path | None) -> None:
        if WANTED.get("kill_in_checkpoint", 0) and self.state.global_step >= WANTED["kill_in_checkpoint"] and once("kill_in_checkpoint"):
            module.save_trainable(self.model, Path(str(own)) / module.TENSORS)
            die()
        fill(self, own)

    module.Loop.training_step, module.Loop._fill = training_step, filled


def fill_disk() -> None:
    folder, stat = Path(os.environ["TEST_FILL"]), os.statvfs(os.environ["TEST_FILL"])
    (folder / "filler").write_bytes(bytes(stat.f_bavail * stat.f_frsize))


def artefact(module: Any) -> None:
    """Another program takes the room between the look at the disk and the writing of a merged model."""
    if "fill_merge" in WANTED:
        room = module.room

        def taken(*values: Any) -> Any:
            if once("fill_merge"):
                fill_disk()
            return room(*values)

        module.room = taken
    if WANTED.get("kill_merge"):
        whole = module.whole

        @contextmanager
        def cut(target: Path) -> Iterator[Path]:
            with whole(target) as folder:
                yield folder
                if "exports" in target.parts and once("kill_merge"):
                    die()

        module.whole = cut


def evaluate(module: Any) -> None:
    """Dies with answers that are not stored yet, after others that are."""
    answer = module.Answerer.answer

    def answered(self: Any, rows: Any, done: int) -> Any:
        found = answer(self, rows, done)
        if "kill_rows" in WANTED and done >= WANTED["kill_rows"] and once("kill_rows"):
            die()
        return found

    module.Answerer.answer = answered


def out_of_memory() -> None:
    """The kernel's own killer where a memory cgroup can be made; else its count and its signal."""
    if (group := os.environ.get("TEST_CGROUP")) and Path(group).exists():
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
        held = []
        while True:
            held.append(bytearray(os.urandom(1 << 20)) * 16)
    count = Path(os.environ["TEST_VMSTAT"])
    count.write_text(f"oom_kill {int(count.read_text().split()[1]) + 1}\n")
    die()


def preflight(module: Any) -> None:
    if "nan" in WANTED:
        calm = module.answer_loss
        calls = iter(range(1, 10**9))

        def answer_loss(*values: Any) -> Any:
            loss = calm(*values)
            return loss * float("nan") if next(calls) > WANTED["nan"] else loss

        module.answer_loss = answer_loss


def tune(module: Any) -> None:
    """What happens between a result on disk and its row."""
    finish = module.finish

    def finished(*values: Any) -> None:
        if "wait_before_finish" in WANTED:
            (MARKS / "before_finish").touch()
            while not (MARKS / "go_on").exists():
                time.sleep(0.02)
        if WANTED.get("kill_before_finish") and once("kill_before_finish"):
            die()
        finish(*values)

    module.finish = finished


def upload_files(module: Any) -> None:
    """The web process dies between an upload's file and its row."""
    if "kill_after_store" in WANTED:
        store = module.store

        def stored(*values: Any) -> Any:
            found = store(*values)
            if once("kill_after_store"):
                die()
            return found

        module.store = stored


def reporter(module: Any) -> None:
    if "pace" in WANTED:
        module.JobReporter.pace = lambda self, step, save: setattr(self, "_step_and_save", WANTED["pace"])


def parent(module: Any) -> None:
    if "TEST_VMSTAT" in os.environ and not os.environ.get("TEST_CGROUP"):
        module.VMSTAT = Path(os.environ["TEST_VMSTAT"])


def celery_clock(module: Any) -> None:
    """Celery asks `datetime` for the time, in C, which knows nothing of `time.time`: it is given one whose now is this process's."""
    if WRONG_CLOCK:

        class Skewed(dt.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return cls.fromtimestamp(time.time(), tz)

            @classmethod
            def utcnow(cls) -> Any:
                return cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

        module.datetime = Skewed


def wrong_by() -> float:
    """Seconds by which the clock is wrong: from this process's start on (`skew`), or for all of them since a run has reached a step (`jump`)."""
    jumped = WANTED["jump_seconds"] if "jump" in WANTED and JUMPED.exists() else 0
    return float(WANTED.get("skew", 0) + jumped)


def skew_clock() -> None:
    """A wrong clock for whoever asks it in seconds or in nanoseconds."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + wrong_by()
    time.time_ns = lambda: real_ns() + int(wrong_by() * 10**9)


PATCHES: dict[str, Callable[[Any], None]] = {
    "worker.engine.preflight": preflight,
    "app.services.upload_files": upload_files,
    "worker.engine.loop": loop,
    "worker.engine.artefact": artefact,
    "worker.evaluate": evaluate,
    "worker.tune": tune,
    "worker.parent": parent,
    "worker.reporter": reporter,
    "celery.worker.request": celery_clock,
    "celery.app.base": celery_clock,
}


class Finder(importlib.abc.MetaPathFinder):
    """Lets a module load as ever, then changes it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if WANTED or "TEST_VMSTAT" in os.environ:
    sys.meta_path.insert(0, Finder())
if WRONG_CLOCK:
    skew_clock()
