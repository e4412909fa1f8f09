"""The name under which this worker process is known."""

import os
import socket

from app.settings import settings


def this_host() -> str:
    """How the names of all workers of this host begin. A machine may go by another name than its host's, and several containers by one name."""
    return f"{settings().machine_name}:" + (f"{socket.gethostname()}-" if settings().machine else "")


def worker_name() -> str:
    """The machine and the worker's main process (a pool process answers with its parent's number)."""
    return f"{this_host()}{os.environ.get('FETTLE_WORKER_PROCESS', os.getpid())}"
