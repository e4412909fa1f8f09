"""The name under which this worker process is known."""

import os
import socket


def worker_name() -> str:
    """The machine and the worker's main process (a pool process answers with its parent's number)."""
    return f"{socket.gethostname()}:{os.environ.get('FETTLE_WORKER_PROCESS', os.getpid())}"
