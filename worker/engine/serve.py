"""The heart of the engine process: one thread that loads models, batches requests and writes their answers step by step.

Requests that arrive together for one model become one batch. Batches take turns step by step, so a short answer never waits for a
long one. Models leave memory least recently used first, never while one of them is answering.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.errors import FettleError, Invalid, Unavailable
from worker.engine import encode
from worker.engine.generate import Delta, Generation, Prompt, prepare
from worker.engine.load import Loaded, load, load_tokenizer, needed_bytes

logger = logging.getLogger(__name__)

GATHER = 0.005
"""Seconds an idle scheduler waits after the first request for others that arrive together with it."""

Sink = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class ServeRequest:
    """What to answer and with which model: `model` is its key, the same for every request that may share its weights."""

    model: str
    folder: Path
    adapter: Path | None
    rendered: Rendered
    parameters: Parameters


@dataclass(eq=False)
class _Client:
    request: ServeRequest
    sink: Sink
    cancelled: Callable[[], bool]
    gone: bool = False
    """Its sink failed: nobody reads the answer any more."""


@dataclass(eq=False)
class _Group:
    """A batch being answered; clients stand in the order of the generation's rows."""

    model: str
    generation: Generation
    clients: list[_Client]


class Scheduler:
    """Answers requests with local models, within a budget of memory for their parameters."""

    def __init__(self, budget_bytes: int, *, max_batch: int = 8, device: str = "auto") -> None:
        self._budget, self._max_batch, self._device = budget_bytes, max_batch, device
        self._models: dict[str, Loaded] = {}
        """Least recently used first."""
        self._waiting: deque[_Client] = deque()
        self._groups: deque[_Group] = deque()
        self._changed = threading.Condition()
        self._give_back = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine-scheduler", daemon=True)
        self._thread.start()

    def submit(self, request: ServeRequest, sink: Sink, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Queue a request. Its events go to `sink`, from the scheduler's thread, ending in `done` or `error`:

        {"type": "loading", "model"}, {"type": "token", "text"}, {"type": "done", "reason", "input_tokens", "output_tokens",
        "latency_ms"}, {"type": "error", "code", "message", "advice"}. `cancelled` is asked before every step.
        """
        with self._changed:
            if self._closed:
                raise Unavailable("engine_closed", "The engine is shutting down.", "Try again in a minute.")
            self._waiting.append(_Client(request, sink, cancelled))
            self._changed.notify()

    def loaded(self) -> dict[str, int]:
        """Bytes of every model in memory, by its key, least recently used first."""
        with self._changed:
            return {key: model.bytes for key, model in self._models.items()}

    def release_idle(self) -> None:
        """Give back the memory of every model that is not answering, before the next step."""
        with self._changed:
            self._give_back = True
            self._changed.notify()

    def close(self, timeout: float = 10.0) -> None:
        """Stop after the present step. Whoever still waits for an answer is told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while self._await_work():
            for client in self._take_waiting():
                self._try(lambda client=client: self._admit(client), [client])  # type: ignore[misc]  # mypy cannot infer the default
            ...
