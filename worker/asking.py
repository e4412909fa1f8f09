"""Asking an endpoint about many rows, several at once, each for itself: what every light job does. Loads no torch.

A row that the endpoint refuses (its text, its length), or whose answer it does not hold to what was asked, is kept as that and told in the log. A row
that was not answered (time-out, broken off) is left out and the others go on; then the job fails with how many are missing, and a retry asks only
those. What had begun is not asked for again by itself: it may be paid for, so that is for a person to say. What cannot get better by asking on (a wrong
key, no quota, nobody there for a while) ends the job at once. While running requests cannot be counted, because the queue service is away, every row
waits. Answers are kept within a second: they were paid for.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from app.errors import Away, FettleError
from app.remote.client import Client
from app.remote.spec import EndpointSpec, Price, Usage
from worker import predictions
from worker.engine.reporting import Stopped
from worker.outage import PATIENCE_SECONDS, PAUSE_SECONDS, told
from worker.reporter import JobReporter

SAVE_SECONDS = 1.0
LOOK_SECONDS = 0.1
END_SECONDS = 2.0
"""How long requests under way may still take after a stop was asked for: they are paid for."""

GIVE_UP = 10
"""So many failures one after another, without an answer between them, are the endpoint's and not the rows'."""

REFUSED_ONLY = 5
"""So many refusals before the first answer are the request's fault and not the rows'."""

NOT_HELD = "constraint_ignored"
"""The answer came, and did not keep to what it was to be held to."""
OF_THE_ROW = ("request_refused", "prompt_too_long", NOT_HELD)
"""Errors that are the row's: asking it again would bring the same."""
FOR_GOOD = ("key_refused", "not_there", "no_quota", "redirected", "private_address", "plain_http", "compressed")

NOTHING = Usage(0, 0)
"""What a row took whose error does not say it."""


class Row(Protocol):
    """What is asked about: `position` is its place in the file, from 0."""

    @property
    def position(self) -> int: ...


Item = TypeVar("Item", bound=Row)
T = TypeVar("T")


class Asker(ABC, Generic[Item]):
    """The rows under way, and what came of them."""

    counts_as = "wrong"
    """What a refused row is, in the log."""

    def __init__(self, spec: EndpointSpec, reporter: JobReporter, waiting: Sequence[Item], of: int, alone: Collection[int] = ()) -> None:
        """Ask about `waiting`, out of `of` that there are: an earlier attempt has the others. Rows at the places `alone` are asked one at a time, after
        the others: what they take is what one request takes."""
        self._spec, self._reporter, self._of, self._done = spec, reporter, of, of - len(waiting)
        self._left, self._ready = deque(row for row in waiting if row.position not in alone), list[dict[str, Any]]()
        self._refusals = list[dict[str, Any]]()
        """Refused rows before the first answer: whether the rows are at fault or the request is not known yet, so nothing is written of them."""
        self._alone = [row for row in waiting if row.position in alone]
        self._answered, self._failed, self._refused, self._in_a_row = 0, 0, 0, 0
        self._last: FettleError | None = None
        self._fatal: FettleError | None = None
        self._waits = False
        """Whether the queue service is away: it is told once."""
        self.estimated = False
        """Whether some tokens were reckoned from characters."""

    @abstractmethod
    async def answer(self, client: Client, row: Item) -> tuple[dict[str, Any], Usage]:
        """What the endpoint answers about one row, and what that took. Raises RemoteError, Unavailable."""

    @abstractmethod
    def refused(self, row: Item, code: str) -> dict[str, Any]:
        """What is kept of a row that the endpoint refuses, with the code of its error."""

    @abstractmethod
    def found(self, row: Item, values: dict[str, Any]) -> dict[str, Any]:
        """What is kept of a row, from what was answered."""

    @abstractmethod
    def keep(self, ready: Sequence[dict[str, Any]]) -> None:
        """Write what was found. Raises Fenced."""

    async def before(self, client: Client) -> None:
        """What is asked before any row. Raises what keeps the job from being done at all."""

    async def ask(self) -> None:
        """Ask for all rows. Raises Stopped, Fenced, Away, or the error that ends the job."""
        async with Client(self._spec) as client:
            await self.patiently(lambda: self.before(client))
            await self._ask(client, min(self._spec.concurrency, len(self._left)))
            if self._fatal is None:
                self._left = deque(self._alone)
                await self._ask(client, min(1, len(self._left)))
        if self._fatal is not None:
            raise self._fatal
        self._ready = self._refusals  # so few that they are the rows'; after an answer there are none
        self._keep()
        if self._failed and self._last is not None:
            raise predictions.rows_missing(self._failed, self._of, self._last)

    async def _ask(self, client: Client, lanes: int) -> None:
        """Ask about what is left, so many at once. Raises what a lane raised, Stopped."""
        tasks = [asyncio.create_task(self._lane(client)) for _ in range(lanes)]
        try:
            await self._watch(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._keep()

    async def _watch(self, tasks: list["asyncio.Task[None]"]) -> None:
        """Save what comes, and look whether the job shall stop. Raises what a lane raised."""
        running, saved, stop_at = set(tasks), time.monotonic(), 0.0
        while running:
            done, running = await asyncio.wait(running, timeout=LOOK_SECONDS)
            for task in done:
                task.result()
            if time.monotonic() - saved > SAVE_SECONDS:
                self._keep()
                saved = time.monotonic()
            if self._reporter.should_stop() and not stop_at:
                self._left.clear()
                stop_at = time.monotonic() + END_SECONDS
            if stop_at and time.monotonic() > stop_at:
                break
        if stop_at:
            self._keep()
            raise Stopped

    async def _lane(self, client: Client) -> None:
        """One row after another, while there are rows."""
        while self._left and self._fatal is None:
            row = self._left.popleft()
            try:
                values, usage = await self.patiently(partial(self.answer, client, row))
            except Away:
                raise
            except FettleError as error:
                self._note(row, error)
                continue
            self._answered, self._in_a_row = self._answered + 1, 0
            self._ready, self._refusals = self._ready + self._refusals, []
            self.estimated = self.estimated or usage.estimated
            self._take(row, {**values, "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens})

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What is asked for, and again while running requests cannot be counted: that is neither the row's fault nor the endpoint's. Raises Stopped."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                found = await ask()
            except Away as error:
                if time.monotonic() > deadline:
                    raise
                if not self._waits:
                    self._reporter.log(told(error))
                    self._reporter.flush()
                self._waits = True
            else:
                self._waits = False
                return found
            await asyncio.sleep(PAUSE_SECONDS)
            if self._reporter.should_stop():
                raise Stopped

    def _take(self, row: Item, values: dict[str, Any]) -> None:
        (self._ready if self._answered or self._done else self._refusals).append(self.found(row, values))
        self._reporter.rows(self._done + self._answered + self._refused, self._of)

    def _note(self, row: Item, error: FettleError) -> None:
        """A row without an answer: refused for good, missing when it could not be answered, the job's end when nobody could."""
        self._last = error
        took = getattr(error, "usage", None) or NOTHING
        paid = f" It took {took.input_tokens:,} tokens read, {took.output_tokens:,} written all the same." if took.input_tokens else ""
        line = f"row {row.position + 1}: {error.message}{paid}"
        if error.code in FOR_GOOD:
            self._fatal = error
        elif error.code in OF_THE_ROW:
            self._refused += 1
            self._reporter.log(f"{line} It counts as {'not read' if error.code == NOT_HELD else self.counts_as}.")
            if not self._answered and not self._done and self._refused >= REFUSED_ONLY:
                self._fatal = error
            else:
                self.estimated = self.estimated or took.estimated
                counts = {"latency_ms": 0.0, "input_tokens": took.input_tokens, "output_tokens": took.output_tokens}
                self._take(row, {**self.refused(row, error.code), **counts})
        else:
            self._failed, self._in_a_row = self._failed + 1, self._in_a_row + 1
            self._fatal = error if self._in_a_row >= GIVE_UP else self._fatal
            self._reporter.log(f"{line} A retry asks it again.")

    def _keep(self) -> None:
        ready, self._ready = self._ready, []
        self.keep(ready)


def spent(tokens: Sequence[tuple[int, int]], price: Price | None) -> float | None:
    """US dollars for (tokens in, tokens out) of many answers; None without a price."""
    return None if price is None else sum(read * price.input + written * price.output for read, written in tokens) / 1e6


def measured(spec: EndpointSpec, price: Price | None, estimated: bool, latency: str = "") -> dict[str, Any]:
    """Where and how rows were asked, in words; `latency`: how it was measured where not on all of them."""
    return {
        "endpoint": spec.name,
        "latency": latency or f"as answered, up to {spec.concurrency} requests at once",
        "price": "not known" if price is None else f"${price.input:g} in, ${price.output:g} out a million tokens",
        "tokens": "some reckoned from characters" if estimated else "counted by the endpoint",
    }
