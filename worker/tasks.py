"""Doors: one short task for each kind of message, and the signals that start and end a worker process."""

import os
import signal
from typing import Any

from celery.signals import worker_init, worker_process_init, worker_ready, worker_shutting_down

from app.db import engine
from worker import parent, presence
from worker.celery_app import celery
from worker.engine.lifeline import die_with_parent
from worker.engine.waits import SPINNING


@celery.task(name="fettle.work")
def work(queue: str) -> None:
    """Something waits in this queue: claim and run jobs until nothing does."""
    before = signal.signal(signal.SIGTERM, lambda *_: parent.leave())  # a pool process at work hands its job back; an idle one just ends
    try:
        parent.drain(queue)
    finally:
        signal.signal(signal.SIGTERM, before)


@celery.task(name="fettle.generate")
def generate(request: str) -> None:
    """A person or a program waits for an answer."""
    from worker import interactive  # here, because only the engine process may load torch

    try:
        interactive.generate(request)
    except Exception:
        interactive.refuse(request)
        raise


@worker_init.connect
def _init(sender: Any = None, **_: Any) -> None:
    presence.started(sender)


@worker_ready.connect
def _ready(sender: Any = None, **_: Any) -> None:
    if presence.serves("interactive"):
        os.environ.update(SPINNING | os.environ)  # unless whoever runs it has said otherwise
        from worker import interactive

        interactive.scheduler()  # the engine process is ready once torch is loaded, not before
    presence.ready(sender)


@worker_process_init.connect
def _process(**_: Any) -> None:
    engine().dispose(close=False)  # connections of the process this one was forked from are not ours to use
    die_with_parent(os.getppid(), signal.SIGTERM)  # a pool process whose worker was killed hands its job back, and never works on unseen


@worker_shutting_down.connect
def _leave(**_: Any) -> None:
    parent.leave()
    if presence.serves("interactive"):
        from worker import interactive

        interactive.close()
    presence.ended()
