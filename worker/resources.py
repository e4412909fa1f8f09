"""What a job takes while it runs: processor, memory and GPU of its process and all that this has started, as metric points over seconds.

A thread beside the parent's watch, so that a driver which does not answer delays neither a heartbeat nor a stop. Nothing is counted that belongs to
somebody else on the machine.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psutil
import pynvml
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import transaction
from app.domain import metric as metrics
from app.domain.job import Fenced, Job

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
GROWTH = 0.005
"""A long job is looked at less and less often, every half per cent of its age: about 1,100 times in a day and 1,500 in a week."""


@lru_cache
def gpus() -> tuple[Any, ...]:
    """The driver's handles of this machine's GPUs; none where there is no driver."""
    try:
        pynvml.nvmlInit()
        return tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()


class Gauge:
    """Reads a process with all its descendants; each reading's processor time is that since the one before."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._spent = self._processes()[0]  # a process that goes on with another job spent some before
        self._read_at = time.monotonic()
        self._seen = [0] * len(gpus())

    def read(self) -> dict[str, float]:
        """{`resource/cores`, `resource/memory`} and where there is a GPU {`resource/gpu_memory`, `resource/gpu`}: cores in use, bytes, bytes, percent.

        Empty when the process is gone.
        """
        spent, memory = self._processes()
        if not spent:
            return {}
        passed, self._read_at = time.monotonic() - self._read_at, time.monotonic()
        worked = sum(seconds - self._spent.get(key, 0.0) for key, seconds in spent.items())
        self._spent = spent
        found = {metrics.CORES: max(0.0, worked) / max(passed, 1e-3), metrics.MEMORY: float(memory)}
        return found | (self._gpus({pid for pid, _ in spent}) if gpus() else {})

    def _processes(self) -> tuple[dict[tuple[int, float], float], int]:
        """Seconds of processor time of each living process, and the memory of all."""
        spent: dict[tuple[int, float], float] = {}
        memory = 0
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess), process.oneshot():
                    times = process.cpu_times()
                    spent[process.pid, process.create_time()] = times.user + times.system
                    memory += process.memory_info().rss
        return spent, memory

    def _gpus(self, pids: set[int]) -> dict[str, float]:
        memory, busy = 0, []
        for index, handle in enumerate(gpus()):
            with suppress(pynvml.NVMLError):
                mine = [one for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid in pids]
                memory += sum(one.usedGpuMemory or 0 for one in mine)
                if mine:
                    busy.append(self._busy(index, handle, pids))
        return {metrics.GPU_MEMORY: float(memory), metrics.GPU: sum(busy) / len(busy) if busy else 0.0}

    def _busy(self, index: int, handle: Any, pids: set[int]) -> float:
        """Percent of the time since the last reading in which these processes kept the GPU at work; the whole GPU's where the driver does not tell processes apart."""
        try:
            samples = pynvml.nvmlDeviceGetProcessUtilization(handle, self._seen[index])
        except pynvml.NVMLError:
            return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        self._seen[index] = max((one.timeStamp for one in samples), default=self._seen[index])
        shares: dict[int, list[int]] = {}
        for one in samples:
            if one.pid in pids:
                shares.setdefault(one.pid, []).append(one.smUtil)
        return min(100.0, sum(sum(values) / len(values) for values in shares.values()))


@contextmanager
def metered(job: Job, pid: int) -> Iterator[None]:
    """Record what the process takes until the block ends, or the job is no longer ours."""
    ended = threading.Event()
    thread = threading.Thread(target=_meter, args=(job, Gauge(pid), ended), name=f"meter of job {job.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(EVERY_SECONDS)


def _meter(job: Job, gauge: Gauge, ended: threading.Event) -> None:
    # Seconds since the job first started: an attempt goes on where the one before it ended.
    before = ((job.heartbeat_at or 0) - (job.started_at or 0)) / 1000 - time.monotonic()
    while not ended.wait(max(EVERY_SECONDS, GROWTH * (before + time.monotonic()))):
        values = gauge.read()
        if not values:
            return
        try:
            _record(job, round(before + time.monotonic()), values)
        except Fenced:
            return
        except SQLAlchemyError as error:
            log.warning("what the job takes is not written", job=job.id, reason=str(error))


def _record(job: Job, second: int, values: Mapping[str, float]) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", job.attempt, [(second, values)])
