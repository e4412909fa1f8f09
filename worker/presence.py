"""A worker process says that it is there, and looks at the table now and then in case no message comes."""

import os
import platform
import threading
from importlib.metadata import version
from typing import Any

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import transaction
from app.domain import worker as workers
from worker import parent
from worker.identity import worker_name

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5.0
LOOK_SECONDS = 10.0
_ended = threading.Event()
_queue = ["gpu"]
_looker: list[threading.Thread] = []


def devices() -> list[dict[str, Any]]:
    """What models can run on here. GPUs are asked for without loading torch."""
    import pynvml

    found: list[dict[str, Any]] = []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append({"name": f"cuda:{index}", "title": pynvml.nvmlDeviceGetName(handle), "memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)})
    except pynvml.NVMLError:  # no driver: no GPU
        pass
    return found or [{"name": "cpu:0", "title": f"{os.cpu_count()} CPU cores", "memory": psutil.virtual_memory().total}]


def serves(queue: str) -> bool:
    """Does this process take messages of this queue?"""
    return queue in _queue


def started(sender: Any) -> None:
    """Remember which queue this process serves."""
    os.environ["FETTLE_WORKER_PROCESS"] = str(os.getpid())
    queues = list(getattr(sender, "app", sender).amqp.queues.consume_from) if sender is not None else []
    _queue[:] = queues or ["gpu"]


def ready(sender: Any) -> None:
    """Begin to beat and, on a job queue, to look at the table."""
    del sender
    threading.Thread(target=_beat, name="presence", daemon=True).start()
    if not serves("interactive"):
        _looker.append(threading.Thread(target=_look, name="idle-look", daemon=True))
        _looker[0].start()


def ended() -> None:
    """Stop looking, let a job of the looking thread hand itself back, and say good-bye."""
    _ended.set()
    for thread in _looker:
        thread.join(parent.LEAVE_SECONDS)
    try:
        with transaction() as session:
            workers.gone(session, f"{worker_name()}/{_queue[0]}")
    except SQLAlchemyError as error:
        log.warning("could not say goodbye", reason=str(error))


def _beat() -> None:
    about = {"python": platform.python_version(), **{name: version(name) for name in ("torch", "transformers", "peft")}}
    kind = "engine" if serves("interactive") else "worker"
    while True:
        try:
            with transaction() as session:
                workers.present(session, f"{worker_name()}/{_queue[0]}", kind, _queue[0], devices(), about)
        except SQLAlchemyError as error:
            log.warning("presence not written", reason=str(error))
        if _ended.wait(BEAT_SECONDS):
            return


def _look() -> None:
    while not _ended.wait(LOOK_SECONDS):
        try:
            parent.drain(_queue[0])
        except (SQLAlchemyError, OSError) as error:
            log.warning("could not look for jobs", reason=str(error))
