"""The devices of this machine, the one this worker's jobs run on, and how a job waits until there is memory for it. Loads no torch."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import transaction
from app.domain import device as devices
from app.domain.footprint import UNSURE
from app.domain.job import WRITES, Job
from app.domain.shape import PROCESS_BYTES
from app.errors import Conflict, Invalid
from app.settings import settings
from worker.engine.disk import free_bytes
from worker.engine.reporting import Reporter, Stopped
from worker.identity import this_host, worker_name

LOOK_SECONDS = 0.5
GPUS = "FETTLE_WORKER_GPUS"
"""Tells a worker's processes over which GPUs it may spread a job, now that FETTLE_DEVICE names the one that it took."""
USABLE = 0.99
"""Of a GPU's memory: the driver keeps a little (0.6 % of an H100's)."""
CGROUP = Path("/sys/fs/cgroup/memory.max")


def here() -> list[dict[str, Any]]:
    """Every device: {name, title, memory}, GPUs first, the processor last; `memory` is what models and jobs may take of it."""
    return [device | {"memory": _allowed(_shared(device))} for device in _there()]


def _shared(device: dict[str, Any]) -> int:
    """Of a GPU's memory not what the driver keeps, nor what the engine's process has there however few models it has."""
    whole: int = device["memory"]
    return int(USABLE * whole) - PROCESS_BYTES["cuda"] if device["name"].startswith("cuda") else whole


def _allowed(memory: int) -> int:
    return min(settings().device_memory or memory, memory)


@lru_cache
def _there() -> list[dict[str, Any]]:
    """The same with all their memory. GPUs are asked for without loading torch."""
    import pynvml

    found: list[dict[str, Any]] = []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append({"name": f"cuda:{index}", "title": pynvml.nvmlDeviceGetName(handle), "memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)})
    except pynvml.NVMLError:  # no driver: no GPU
        pass
    return [*found, {"name": "cpu:0", "title": f"{os.cpu_count()} CPU cores", "memory": _memory()}]


def driver() -> dict[str, str]:
    """Versions of the GPUs' `driver` and of the newest `cuda` that it can run; nothing where there is no driver."""
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return {"driver": str(pynvml.nvmlSystemGetDriverVersion()), "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}"}
    return {}


def in_use(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with all their memory, and `used`: the bytes that everybody on this machine has of each now."""
    whole = {device["name"]: device["memory"] for device in _there()}
    return [device | {"memory": _allowed(whole[device["name"]]), "used": _used(device["name"])} for device in found]


def _used(name: str) -> int:
    import pynvml

    if name.startswith("cuda"):
        with suppress(pynvml.NVMLError):
            return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(int(name.partition(":")[2]))).used)
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)


def _memory() -> int:
    """Of the machine, or of the container if that is less."""
    room: int = psutil.virtual_memory().total
    with suppress(OSError, ValueError):
        room = min(room, int(CGROUP.read_text()))
    return room


def usable() -> list[dict[str, Any]]:
    """Those that FETTLE_DEVICE allows for jobs: all GPUs or, without any, the processor; or the one it names. Raises Invalid for one that is not there."""
    every, chosen = here(), settings().device
    if chosen == "auto":
        return every[:-1] or every
    named = chosen if ":" in chosen else f"{chosen}:0"
    found = [device for device in every if device["name"] == named]
    if not found:
        raise Invalid(
            "no_device", f"This machine has no {named}; it has {', '.join(device['name'] for device in every)}.", "Set FETTLE_DEVICE to one of these."
        )
    return found


def take() -> str:
    """The first usable device that no other worker has: from now on its jobs are ours, as long as `keep` is called. Raises Conflict in words."""
    held = []
    with transaction() as session:
        devices.found(session, settings().machine_name, here())
        for device in usable():
            other = _hold(session, device["name"])
            if other is None:
                return str(device["name"])
            held.append(f"{device['name']} is held by worker {other}")
    raise Conflict(
        "device_held",
        f"This worker has no device: {', '.join(held)}.",
        f"One worker runs the jobs of a device. End that one, or name a free device with FETTLE_DEVICE. A worker that died is forgotten after {devices.HELD_SECONDS} s.",
    )


def _hold(session: Session, name: str) -> str | None:
    """Take or keep a device; the living worker that has it, if there is one."""
    other = devices.hold(session, settings().machine_name, name, worker_name())
    if other is not None and _is_dead(other):
        other = devices.hold(session, settings().machine_name, name, worker_name(), [other])
    return other


def keep() -> str | None:
    """Go on having this worker's devices; gives the worker that has them instead, if we were silent for too long."""
    with transaction() as session:
        devices.found(session, settings().machine_name, here())
        devices.renew(session, worker_name())
        return devices.hold(session, settings().machine_name, own(), worker_name())


def _is_dead(worker: str) -> bool:
    """Whether a worker of this host is known to have ended. Of another host, or container, only its silence tells."""
    process = worker.removeprefix(this_host())
    return process.isdecimal() and not psutil.pid_exists(int(process))


def room() -> dict[str, int]:
    """The free bytes that a job of each kind would find here, measured where it will write: the folders of the storage may be disks of their own."""
    return {kind: free_bytes(settings().storage_folder / folder) for kind, folder in WRITES.items()}


def gpus() -> list[str]:
    """The GPUs over which this worker may spread a job: all that FETTLE_DEVICE allowed before the worker took one of them."""
    told = os.environ.get(GPUS)
    found = told.split(",") if told is not None else [str(device["name"]) for device in usable()] if settings().device == "auto" else [own()]
    return [name for name in found if name.startswith("cuda")]


def spread_over(count: int) -> str:
    """What a run over so many devices is told to run on: this worker's device, or every process the GPU of its own number."""
    return "cuda" if count > 1 and own().startswith("cuda") else settings().device


def torch_name(device: str) -> str:
    """A device as torch and FETTLE_DEVICE call it."""
    return "cpu" if device.startswith("cpu") else device


def wait_for_memory(job: Job, needed: int, reporter: Reporter, count: int = 1) -> None:
    """Return when the job has `needed` bytes of its device, or all of it if that is less; of `count` devices when it runs on several.

    The lease ends with the job's process, whose parent gives it back. Where another worker has one of several devices it waits for that, too. Raises Stopped.
    """
    names = _span(count)
    if len(names) > 1:
        _wait(reporter, lambda: _take_all(names))
    for name in names:
        _wait(reporter, partial(_ask, job, needed, name))


def _wait(reporter: Reporter, ask: Callable[[], str | None]) -> None:
    """Ask until nothing is in the way; what is, is said whenever that changes. Raises Stopped."""
    told = ""
    while (reason := ask()) is not None:
        if reason != told:
            reporter.log(reason)
            told = reason
        if reporter.should_stop():
            raise Stopped
        time.sleep(LOOK_SECONDS)


def _span(count: int) -> list[str]:
    """This worker's device and as many more as the job runs on."""
    return gpus()[:count] if count > 1 and own().startswith("cuda") else [own()]


def _take_all(names: Sequence[str]) -> str | None:
    """Take all these devices or none, for as long as the job runs; why that cannot be yet."""
    with transaction() as session:
        for name in names:
            other = _hold(session, name)
            if other is not None:
                devices.let_go(session, worker_name(), but=own())
                return f"Waits for {name}, which worker {other} has: the job runs on {len(names)} devices. End that worker."
    return None


def _ask(job: Job, needed: int, name: str) -> str | None:
    """One try; why there is none yet."""
    with transaction() as session:
        device = devices.find(session, settings().machine_name, name, lock=True)
        if device is None:  # nobody shares this device: a process started by hand
            return None
        pinned = sum(lease.bytes for lease in devices.leases(session, device) if lease.pinned)
        most = min(device.memory, int(needed * UNSURE))
        # The estimate is generous: beside a pinned model the job takes what there is, as long as that may do.
        wanted = max(min(device.memory, needed), min(most, device.memory - pinned))
        devices.ask(session, device, devices.job_holder(job.id, job.attempt), "job", job.name, wanted, job.id, settings().lease_seconds)
        session.flush()
        return devices.waits_for(session, job.id)


def own() -> str:
    """The device of this worker, or of the worker whose job this process is."""
    named = settings().device
    return str(usable()[0]["name"]) if named == "auto" else named if ":" in named else f"{named}:0"


def free(job: Job) -> None:
    """The process of this attempt has ended."""
    with suppress(SQLAlchemyError), transaction() as session:  # else they run out
        devices.give_back(session, devices.job_holder(job.id, job.attempt))
        devices.let_go(session, worker_name(), but=own())


def hand_over(before: Job, job: Job) -> None:
    """The process of one job goes on with another, and keeps what it has in memory."""
    with suppress(SQLAlchemyError), transaction() as session:  # else it is asked for anew, as any job does
        devices.hand_over(session, devices.job_holder(before.id, before.attempt), job.id, job.attempt, settings().lease_seconds)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"devices": here(), **driver()}))
