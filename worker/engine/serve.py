"""The heart of the engine process: one thread that loads models, batches requests and writes their answers step by step.

Requests that arrive together for one model become one batch. Batches take turns step by step, so a short answer never waits for a
long one. Models leave memory least recently used first, never while one of them is answering.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.errors import FettleError, Unavailable
from worker.engine import encode
from worker.engine.fit import tokenizer_of
from worker.engine.generate import Finish, Generation, Prompt, prepare
from worker.engine.load import Loaded
from worker.engine.score import Scoring
from worker.engine.shelf import Shelf

logger = logging.getLogger(__name__)

GATHER = 0.005
"""Seconds an idle scheduler waits after the first request for others that arrive together with it."""

MOST_GROUPS = 8
"""Batches under way at once: bounds the memory of their caches."""

Sink = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class ServeRequest:
    """What to answer and with which model: `model` is its key, the same for every request that may share its weights."""

    model: str
    folder: Path
    adapter: Path | None
    rendered: Rendered
    parameters: Parameters


@dataclass(frozen=True)
class ScoreRequest:
    """Prompts to find the likelihood of each label for, with which model."""

    model: str
    folder: Path
    adapter: Path | None
    prompts: tuple[Rendered, ...]
    labels: tuple[str, ...]


@dataclass(eq=False)
class _Client:
    request: ServeRequest | ScoreRequest
    sink: Sink
    cancelled: Callable[[], bool]
    answered: bool = False
    gone: bool = False
    """Its sink failed: nobody reads the answer any more."""


@dataclass(eq=False)
class _Group:
    """A batch being answered; clients stand in the order of the generation's rows. A scoring has one client."""

    model: str
    work: Generation | Scoring
    clients: list[_Client]


class Scheduler:
    """Answers requests with local models, within a budget of memory for their parameters."""

    def __init__(self, budget_bytes: int, *, max_batch: int = 8, device: str = "auto") -> None:
        self._shelf, self._max_batch = Shelf(budget_bytes, device), max_batch
        self._waiting: deque[_Client] = deque()
        self._groups: deque[_Group] = deque()
        self._changed = threading.Condition()
        self._give_back = self._closed = False
        self._full = False
        """The first in the queue needs memory that only a model in mid-answer can give."""
        self._thread = threading.Thread(target=self._run, name="engine-scheduler", daemon=True)
        self._thread.start()

    def submit(self, request: ServeRequest | ScoreRequest, sink: Sink, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Queue a request. Its events go to `sink`, from the scheduler's thread, and end with `done` or `error`:

        {"type": "loading", "model"}, {"type": "token", "text"}, {"type": "done", "reason", "input_tokens", "output_tokens",
        "latency_ms"}, {"type": "error", "code", "message", "advice"}. A scoring sends {"type": "scores", "row", "likelihoods"} for each
        prompt and {"type": "done", "reason"}. `cancelled` is asked before every step.
        """
        with self._changed:
            if self._closed:
                raise _closed()
            self._waiting.append(_Client(request, sink, cancelled))
            self._changed.notify()

    def loaded(self) -> dict[str, int]:
        """Bytes of every model in memory, by its key, least recently used first."""
        return self._shelf.sizes()

    def release_idle(self) -> None:
        """Give back, before the next step, the memory of every model that is not answering."""
        with self._changed:
            self._give_back = True
            self._changed.notify()

    def close(self, timeout: float = 10.0) -> None:
        """End after the present step. Whoever still waits for an answer is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    # Everything below runs in the scheduler's thread.

    def _run(self) -> None:
        while self._await_work():
            while batch := self._next_batch():
                self._try(batch, partial(self._begin, batch))
            if self._groups:
                group = self._groups.popleft()
                if self._try(group.clients, partial(self._advance, group)) and not group.work.done:
                    self._groups.append(group)
                else:
                    self._full = False
        for client in [*self._waiting, *(client for group in self._groups for client in group.clients)]:
            self._end(client, {"type": "error", **_closed().as_dict()})

    def _await_work(self) -> bool:
        """Sleep until there is something to do. False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._give_back or self._waiting or self._groups)
            if self._give_back:
                self._shelf.drop_idle(self._busy())
                self._give_back = False
        if self._waiting and not self._groups:
            time.sleep(GATHER)
        return not self._closed

    def _busy(self) -> set[str]:
        return {group.model for group in self._groups}

    def _next_batch(self) -> list[_Client]:
        """Requests for the model that was asked for first. While that one has no room, those behind it wait too, so that a large
        model is not passed over for ever."""
        with self._changed:
            if not self._waiting or self._full or len(self._groups) >= MOST_GROUPS:
                return []
            model = self._waiting[0].request.model
            batch = [client for client in self._waiting if client.request.model == model][: self._max_batch]
            self._waiting = deque(client for client in self._waiting if client not in batch)
            return batch

    def _begin(self, batch: list[_Client]) -> None:
        """Load the model if need be and make the batch a group; a request that cannot be answered leaves alone."""
        here = [client for client in batch if not self._has_left(client)]
        for client in batch:
            if client not in here:
                self._end(client, {"type": "done", **asdict(Finish("cancelled", 0, 0, 0.0))})
        if not here:
            return
        request = here[0].request
        loaded = self._shelf.take(request.model, request.folder, request.adapter, self._busy(), partial(self._announce, here))
        if loaded is None:
            self._full = True
            with self._changed:
                self._waiting.extendleft(reversed(here))
            return
        ready: list[tuple[_Client, Prompt]] = []
        for client in here:
            self._try([client], partial(self._join, client, loaded, ready))
        if ready:
            clients, prompts = zip(*ready, strict=True)
            self._groups.append(_Group(request.model, Generation(loaded, prompts), list(clients)))

    def _join(self, client: _Client, loaded: Loaded, ready: list[tuple[_Client, Prompt]]) -> None:
        request = client.request
        if isinstance(request, ScoreRequest):
            self._groups.append(_Group(request.model, Scoring(loaded, request.prompts, request.labels), [client]))
        else:
            ready.append((client, prepare(loaded, request.rendered, request.parameters, partial(self._has_left, client))))

    def _advance(self, group: _Group) -> None:
        if isinstance(group.work, Scoring):
            self._score(group.work, group.clients[0])
            return
        for delta in group.work.step():
            client = group.clients[delta.row]
            if delta.text:
                self._send(client, {"type": "token", "text": delta.text})
            if delta.finish:
                self._end(client, {"type": "done", **asdict(delta.finish)})

    def _score(self, work: Scoring, client: _Client) -> None:
        if self._has_left(client):
            work.leave()
            self._end(client, {"type": "done", "reason": "cancelled"})
            return
        for row, likelihoods in work.step():
            self._send(client, {"type": "scores", "row": row, "likelihoods": likelihoods})
        if work.done:
            self._end(client, {"type": "done", "reason": "stop"})

    def _has_left(self, client: _Client) -> bool:
        answer: list[bool] = []
        # When asking fails the answer goes on: its sink will tell whether anybody still listens.
        self._try([], lambda: answer.append(client.cancelled()))
        return client.gone or any(answer)

    def _announce(self, clients: list[_Client]) -> None:
        for client in clients:
            self._send(client, {"type": "loading", "model": client.request.model})

    def _end(self, client: _Client, event: Mapping[str, Any]) -> None:
        """The last event of a request, whoever comes to send it first."""
        if not client.answered:
            client.answered = True
            self._send(client, event)

    def _send(self, client: _Client, event: Mapping[str, Any]) -> None:
        if not client.gone:
            client.gone = not self._try([], partial(client.sink, event))

    def _try(self, clients: list[_Client], work: Callable[[], None]) -> bool:
        """Do it; when it fails, tell these clients why and go on serving all others. Whether it worked."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # a process door: one bad request must not end the thread that serves everybody
            event = {"type": "error", **_explained(error).as_dict()}
            for client in clients:
                self._end(client, event)
            return False
        return True


def _explained(error: Exception) -> FettleError:
    if isinstance(error, FettleError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return Unavailable("out_of_memory", "The model ran out of memory while answering.", "Use a shorter prompt, or ask again when less is going on.")
    logger.error("the engine failed at a request", exc_info=error)
    return FettleError("engine_failed", "The engine failed at this request.", "The worker's log has the details.")


def _closed() -> Unavailable:
    return Unavailable("engine_closed", "The engine is shutting down.", "Send the request again in a minute.")


def count(folder: Path, rendered: Rendered) -> encode.Count:
    """Tokens of a prompt for the model in `folder`, total and per part, with its tokenizer alone. Safe from any thread."""
    return encode.count(tokenizer_of(folder), rendered)


def lengths(folder: Path, texts: Sequence[str]) -> list[int]:
    """Tokens of each text for the model in `folder`. Safe from any thread."""
    return encode.lengths(tokenizer_of(folder), texts)
