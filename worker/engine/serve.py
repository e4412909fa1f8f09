"""The heart of the engine process: one thread that loads models, batches requests and writes their answers step by step.

Prompts that arrive together are read as one batch, what they share only once; as soon as they are read they join the batch of the same
model that is being written. Batches take turns step by step, so a short answer never waits for a long one. Models leave memory least
recently used first, never while one of them is answering.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.domain.rendering import Rendered
from app.errors import FettleError, Unavailable
from worker.engine import encode
from worker.engine.asking import Client, ScoreRequest, ServeRequest, Sink
from worker.engine.batches import within_tokens
from worker.engine.fit import tokenizer_of
from worker.engine.generate import Finish, Generation, Prompt, make_ready, prepare
from worker.engine.load import Loaded
from worker.engine.score import Scoring
from worker.engine.shelf import Notice, Room, Shelf, Waits
from worker.engine.starts import LEAST, Set, Starts, plan, same
from worker.engine.waits import watch

__all__ = ["Scheduler", "ScoreRequest", "ServeRequest", "count", "lengths"]

logger = logging.getLogger(__name__)

GATHER = 0.002
"""Seconds an idle scheduler waits after the first request for others that arrive together with it."""

PARK = 1.0
"""Seconds between two looks whether there is room by now for those who wait because a job has the memory."""

TELL = 5.0
"""Seconds after which they are told again why they wait."""

CALM = 0.5
"""Seconds without any request after which a model that was loaded for one is made ready for what others may ask of it."""

MOST_GROUPS = 8
"""Batches under way at once: bounds the memory of their caches."""

MOST_TOKENS = {"cpu": 16384, "cuda": 262144}
"""Tokens that the cache of one batch may come to hold, padding included."""


@dataclass(eq=False)
class _Group:
    """A batch being answered; its clients by the rows of the generation. A scoring has one client."""

    model: str
    work: Generation | Scoring
    clients: dict[int, Client]

    @property
    def reading(self) -> Sequence[Sequence[int]]:
        """The prompts that are not read yet."""
        return self.work.prompts() if isinstance(self.work, Generation) and not self.work.writing else ()


class Scheduler:
    """Answers requests with local models, within a budget of memory for their parameters."""

    def __init__(
        self, budget_bytes: int, *, max_batch: int = 32, device: str = "auto", room: Room | None = None, between: Callable[[], None] = lambda: None
    ) -> None:
        """`room` shares the devices' memory with other processes. `between` is called between steps, when what became known has been handed to the
        sinks: a place to send it in one go."""
        self._shelf, self._max_batch, self._between = Shelf(budget_bytes, device, room), max_batch, between
        self._waiting: deque[Client] = deque()
        self._held: list[Client] = []
        """Those whose prompt begins like one that is being read: they go on from there as soon as it is."""
        self._groups: deque[_Group] = deque()
        self._stepping: set[str] = set()
        """The model whose batch is out of the queue for a step."""
        self._open = self._row = 0
        self._changed = threading.Condition()
        self._parked: list[Client] = []
        """Those whose model has no room, because a job has it: looked at again every PARK seconds, and nobody waits behind them."""
        self._look_at = 0.0
        self._needed: Mapping[str, Notice] = {}
        """By device, what is told to those whose model would have to leave it for a job."""
        self._give_back: tuple[Mapping[str, int] | None] | None = None
        """Bytes of idle models to give back before the next step."""
        self._closed = False
        self._full = False
        """The first in the queue needs memory that only a model in mid-answer can give."""
        self._thread = threading.Thread(target=self._run, name="engine-scheduler", daemon=True)
        self._thread.start()

    def submit(self, request: ServeRequest | ScoreRequest, sink: Sink, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Queue a request. Its events go to `sink`, from the scheduler's thread, and end with `done` or `error`:

        {"type": "notice", "text"} and more of the room's words while it waits for memory or is answered elsewhere than usual, {"type":
        "loading", "fraction"}, {"type": "token", "text"} with "index" and "logprobs" where they were asked for,
        {"type": "done", "reason", "input_tokens", "output_tokens", "latency_ms"} with "answers" when there are several, {"type": "error",
        "status", "code", "message", "advice"}. A scoring sends {"type": "scores", "row", "likelihoods"} for each prompt and {"type":
        "done", "reason", "tokens"} (of each label). `cancelled` is asked before every step.
        """
        with self._changed:
            if self._closed:
                raise _closed()
            self._waiting.append(Client(request, sink, cancelled))
            self._open += 1
            self._changed.notify()

    def answering(self) -> int:
        """How many requests wait or are being answered."""
        return self._open

    def loaded(self) -> dict[str, int]:
        """Bytes of every model in memory, by its key, least recently used first."""
        return self._shelf.sizes()

    def busy(self) -> list[str]:
        """The keys of the models that are answering."""
        return list({group.model for group in tuple(self._groups)} | self._stepping)

    def release_idle(self, least: Mapping[str, int] | None = None) -> None:
        """Give back, before the next step, the memory of models that are neither answering nor pinned: of all, or of each device until it is so many bytes."""
        with self._changed:
            self._give_back = (least,)
            self._changed.notify()

    def hold_back(self, notices: Mapping[str, Notice]) -> None:
        """While a job waits for memory of these devices, requests for models that are there and not pinned wait too, and are told this."""
        self._needed = notices

    def pin(self, keys: Collection[str]) -> None:
        """Keep these models once they are loaded; all others may leave."""
        self._shelf.pinned = frozenset(keys)

    def close(self, timeout: float = 10.0) -> None:
        """End after the present step. Whoever still waits for an answer is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    # Everything below runs in the scheduler's thread.

    def _run(self) -> None:
        over = watch()
        while self._await_work():
            while batch := self._next_batch():
                self._try(batch, partial(self._begin, batch))
            if self._groups:
                self._take_turn(self._groups.popleft())
            self._try([], self._between)
        for client in [*self._waiting, *self._held, *self._parked, *(client for group in self._groups for client in group.clients.values())]:
            self._end(client, _error(_closed()))
        self._try([], self._between)
        over()

    def _take_turn(self, group: _Group) -> None:
        """One step of a batch. A method of its own: a model whose batch this thread still names cannot leave memory while it waits for more work."""
        self._stepping = {group.model}
        well = self._try(list(group.clients.values()), partial(self._advance, group))
        if well and not group.work.done:
            self._go_on(group)
        else:
            self._full = False
        self._stepping = set()
        if not group.reading or not well:
            self._let_go()

    def _await_work(self) -> bool:
        """Sleep until there is something to do. False when it is time to end."""
        with self._changed:
            patience = PARK if self._parked else CALM if self._shelf.any_fresh() else None
            found = self._changed.wait_for(lambda: self._closed or self._give_back is not None or self._waiting or self._groups, patience)
            asked, self._give_back = self._give_back, None
            if self._parked and time.monotonic() >= self._look_at:
                self._waiting.extend(self._parked)
                self._parked.clear()
        if asked is not None:
            self._shelf.drop_idle(self._busy(), *asked)
        if not found and (fresh := self._shelf.fresh()):
            self._try([], partial(make_ready, fresh))
        if self._waiting and not self._groups:
            time.sleep(GATHER)
        return not self._closed

    def _busy(self) -> set[str]:
        return {group.model for group in self._groups}

    def _next_batch(self) -> list[Client]:
        """Requests for the model that was asked for first. While that one has no room, those behind it wait too, so that a large
        model is not passed over for ever."""
        with self._changed:
            if not self._waiting or self._full or len(self._groups) >= MOST_GROUPS:
                return []
            model, room, batch = self._waiting[0].request.model, self._max_batch, list[Client]()
            for client in self._waiting:
                if client.request.model == model and (client.answers <= room or not batch):
                    batch.append(client)
                    room -= client.answers
            self._waiting = deque(client for client in self._waiting if client not in batch)
            return batch

    def _begin(self, batch: list[Client]) -> None:
        """Load the model if need be and make the batch groups; a request that cannot be answered leaves alone."""
        here = [client for client in batch if not self._has_left(client)]
        for client in batch:
            if client not in here:
                self._end(client, {"type": "done", **asdict(Finish("cancelled", 0, 0, 0.0))})
        if not here:
            return
        request = here[0].request
        needed = self._needed.get(self._shelf.device(request.model) or "")
        if needed and request.model not in self._shelf.pinned:
            self._park(here, needed)
            return
        try:
            loaded = self._shelf.take(request.model, request.folder, request.adapter, self._busy(), partial(self._announce, here))
        except Waits as waits:
            self._park(here, waits.notice)
            return
        if loaded is None:
            self._full = True
            with self._changed:
                self._waiting.extendleft(reversed(here))
            return
        if notice := self._shelf.notice(request.model):
            self._tell(here, notice)
        ready: list[tuple[Client, Prompt]] = []
        for client in here:
            self._try([client], partial(self._prepare, client, loaded, ready))
        for rows, shared in _sets(ready, loaded, self._shelf.starts(request.model)) if ready else ():
            work = Generation(loaded, [ready[row][1] for row in rows], shared.prefix, shared.shared, self._row)
            self._groups.append(_Group(request.model, work, {self._row + at: ready[row][0] for at, row in enumerate(rows)}))
            self._row += len(rows)

    def _park(self, clients: list[Client], notice: Notice) -> None:
        self._tell(clients, notice)
        self._parked += clients
        self._look_at = time.monotonic() + PARK

    def _tell(self, clients: list[Client], notice: Notice) -> None:
        """Say what is worth knowing, and say it again now and then, so that whoever waits knows that somebody is there."""
        for client in clients:
            if notice != client.notice or time.monotonic() - client.told > TELL:
                client.notice, client.told = notice, time.monotonic()
                self._send(client, {"type": "notice", **notice})

    def _prepare(self, client: Client, loaded: Loaded, ready: list[tuple[Client, Prompt]]) -> None:
        request = client.request
        if isinstance(request, ScoreRequest):
            self._groups.append(_Group(request.model, Scoring(loaded, request.prompts, request.labels), {0: client}))
            return
        client.prompt = client.prompt or prepare(loaded, request.rendered, request.parameters, partial(self._has_left, client))
        worth = LEAST + self._shelf.starts(request.model).covered(client.prompt.ids)
        if any(same(ids, client.prompt.ids) >= worth for group in self._groups if group.model == request.model for ids in group.reading):
            self._held.append(client)
        else:
            ready.append((client, client.prompt))

    def _let_go(self) -> None:
        """A batch has been read: those who waited for that may begin."""
        with self._changed:
            self._waiting.extendleft(reversed(self._held))
            self._held.clear()

    def _go_on(self, group: _Group) -> None:
        """A batch that is not done waits for its next turn, by itself or in another batch of its model."""
        for other in self._groups:
            if other.model == group.model and self._joins(other.work, group.work):
                other.work.take_in(group.work)  # type: ignore[union-attr,arg-type]
                other.clients |= group.clients
                return
        self._groups.append(group)

    def _joins(self, one: Generation | Scoring, other: Generation | Scoring) -> bool:
        """Whether two batches of a model can be one that stays within bounds."""
        if not isinstance(one, Generation) or not isinstance(other, Generation) or not one.joins(other):
            return False
        return one.answers + other.answers <= self._max_batch and one.tokens_with(other) <= _most_tokens(one.device)

    def _advance(self, group: _Group) -> None:
        if isinstance(group.work, Scoring):
            self._score(group.work, group.clients[0])
            return
        read = group.work.writing
        for delta in group.work.step():
            client = group.clients[delta.row]
            if delta.error:
                self._end(client, _error(delta.error))
            if delta.text or delta.logprobs:
                self._send(client, client.token(delta))
            if delta.finish and (last := client.finished(delta.index, delta.finish)):
                self._end(client, last)
            if delta.finish or delta.error:
                client.left -= 1
            if not client.left:
                del group.clients[delta.row]
        if not read and group.work.writing and not group.work.done:
            group.work.leave_starts(self._shelf.starts(group.model))

    def _score(self, work: Scoring, client: Client) -> None:
        if self._has_left(client):
            work.leave()
            self._end(client, {"type": "done", "reason": "cancelled"})
            return
        for row, likelihoods in work.step():
            self._send(client, {"type": "scores", "row": row, "likelihoods": likelihoods})
        if work.done:
            self._end(client, {"type": "done", "reason": "stop", "tokens": work.lengths})

    def _has_left(self, client: Client) -> bool:
        answer: list[bool] = []
        # When asking fails the answer goes on: its sink will tell whether anybody still listens.
        self._try([], lambda: answer.append(client.cancelled()))
        return client.gone or client.answered or any(answer)

    def _announce(self, clients: list[Client], fraction: float) -> None:
        for client in clients:
            self._send(client, {"type": "loading", "fraction": fraction})
        self._try([], self._between)

    def _end(self, client: Client, event: Mapping[str, Any]) -> None:
        """The last event of a request, whoever comes to send it first."""
        if not client.answered:
            client.answered = True
            self._send(client, event)
            with self._changed:
                self._open -= 1

    def _send(self, client: Client, event: Mapping[str, Any]) -> None:
        if not client.gone:
            client.gone = not self._try([], partial(client.sink, event))

    def _try(self, clients: list[Client], work: Callable[[], None]) -> bool:
        """Do it; when it fails, tell these clients why and go on serving all others. Whether it worked."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # a process door: one bad request must not end the thread that serves everybody
            event = _error(_explained(error))
            for client in clients:
                self._end(client, event)
            return False
        return True


def _sets(ready: Sequence[tuple[Client, Prompt]], loaded: Loaded, starts: Starts) -> Iterable[tuple[list[int], Set]]:
    """The numbers of the prompts of each batch, which has room for them, and what they share."""
    together = [Set(list(range(len(ready))), None, 0)]
    for one in together if loaded.encoder_decoder else plan([prompt.ids for _, prompt in ready], starts):
        lengths = [(len(ready[row][1].ids) + ready[row][1].parameters.max_tokens) * ready[row][1].parameters.n for row in one.rows]
        for part in within_tokens(lengths, _most_tokens(loaded.device)):
            yield [one.rows[at] for at in part], one


def _most_tokens(device: torch.device) -> int:
    return MOST_TOKENS.get(device.type, MOST_TOKENS["cpu"])


def _error(error: FettleError) -> dict[str, Any]:
    return {"type": "error", "status": error.status, **error.as_dict()}


def _explained(error: Exception) -> FettleError:
    if isinstance(error, torch.OutOfMemoryError) or (isinstance(error, FettleError) and error.code == "out_of_memory"):
        return Unavailable(
            "out_of_memory", "The model ran out of memory while it was loaded, or answering.", "Use a shorter prompt, or ask again when less is going on."
        )
    if isinstance(error, FettleError):
        return error
    logger.error("the engine failed at a request", exc_info=error)
    return FettleError("engine_failed", "The engine failed at this request.", "The worker's log has the details.")


def _closed() -> Unavailable:
    return Unavailable("engine_closed", "The engine is shutting down.", "Send the request again in a minute.")


def count(folder: Path, rendered: Rendered) -> encode.Count:
    """Tokens of a prompt for the model in `folder`, total and per part, with its tokenizer alone. Safe from any thread."""
    return encode.count(tokenizer_of(folder), rendered)


def lengths(folder: Path, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens of each text for the model in `folder`, and how many of them it does not know. Safe from any thread."""
    return encode.lengths(tokenizer_of(folder), texts)
