"""An evaluate job of a remote model: rows are asked at its endpoint, several at once, each for itself. Loads no torch.

A row that the endpoint refuses (its text, its length) is answered wrong and told in the log. A row that was not answered (time-out, broken
off) is left out and the others go on; then the job fails with how many are missing, and a retry asks only those. What cannot get better by
asking on (a wrong key, no quota, nobody there for a while) ends the job at once. Answers are kept within a second: they were paid for.
"""

import asyncio
import time
from collections import deque
from typing import Any

from app.db import reading
from app.domain import endpoint as endpoints
from app.domain.dataset import Case
from app.domain.job import Job
from app.domain.rendering import answer_text, render
from app.errors import FettleError
from app.remote.client import Client
from app.remote.spec import EndpointSpec, Price, price_of
from app.settings import settings
from worker import predictions
from worker.engine.reporting import Stopped
from worker.predictions import Prediction, Work
from worker.reporter import JobReporter

SAVE_SECONDS = 1.0
LOOK_SECONDS = 0.1
END_SECONDS = 2.0
"""How long requests under way may still take after a stop was asked for: they are paid for."""

GIVE_UP = 10
"""So many failures one after another, without an answer between them, are the endpoint's and not the rows'."""

REFUSED_ONLY = 5
"""So many refusals before the first answer are the request's fault and not the rows'."""

OF_THE_ROW = ("request_refused", "prompt_too_long")
FOR_GOOD = ("key_refused", "not_there", "no_quota", "redirected", "private_address", "plain_http", "compressed")


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Ask for what is not answered yet, write the scores and end the job."""
    reporter.phase("load")
    work = predictions.load(job, token, reporter)
    with reading() as session:
        endpoint = endpoints.of_model(session, work.model)
    here = settings()
    spec = EndpointSpec(**endpoint.facts(here.key), allowed=tuple(here.allowed_endpoints), redis=here.redis)
    price = price_of(endpoint.prices, work.model.remote_name or "")
    reporter.phase("evaluate", len(work.rows))
    asker = Asker(work, spec)
    asyncio.run(asker.ask())
    reporter.phase("save")
    finish(work, spec, price, asker.estimated)


def finish(work: Work, spec: EndpointSpec, price: Price | None, estimated: bool) -> None:
    """Scores and cost from all kept predictions, those of earlier attempts too: each was asked, and paid for, once."""
    from app.domain.evaluation import predictions as kept

    with reading() as session:
        rows = kept(session, work.evaluation.id)
    spent = None if price is None else sum(row.input_tokens * price.input + row.output_tokens * price.output for row in rows) / 1e6
    measured = {
        "endpoint": spec.name,
        "latency": f"as answered, up to {spec.concurrency} requests at once",
        "price": "not known" if price is None else f"${price.input:g} in, ${price.output:g} out a million tokens",
        "tokens": "some reckoned from characters" if estimated else "counted by the endpoint",
    }
    work.finish([row.latency_ms for row in rows if row.latency_ms > 0] or [0.0], measured, cost=spent)


class Asker:
    """The rows under way, and what came of them."""

    def __init__(self, work: Work, spec: EndpointSpec) -> None:
        self._work, self._spec = work, spec
        self._left, self._ready = deque(work.waiting), list[Prediction]()
        self._answered, self._failed, self._refused, self._in_a_row = 0, 0, 0, 0
        self._last: FettleError | None = None
        self._fatal: FettleError | None = None
        self.estimated = False

    async def ask(self) -> None:
        """Ask for all rows. Raises Stopped, Fenced, or the error that ends the job."""
        async with Client(self._spec) as client:
            tasks = [asyncio.create_task(self._lane(client)) for _ in range(min(self._spec.concurrency, len(self._left)))]
            try:
                await self._watch(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._keep()
        if self._fatal is not None:
            raise self._fatal
        if self._failed and self._last is not None:
            raise FettleError(
                "rows_missing",
                f"{self._failed} of {len(self._work.rows)} rows were not answered. The last reason: {self._last.message}",
                "Retry the job: only these rows are asked again, the others are kept.",
            )

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
            if self._work.reporter.should_stop() and not stop_at:
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
                values = await self._answer(client, row)
            except FettleError as error:
                self._note(row, error)
                continue
            self._answered, self._in_a_row = self._answered + 1, 0
            self._take(row, values)

    def _take(self, row: Case, values: dict[str, Any]) -> None:
        self._ready.append(predictions.predicted(row, values))
        self._work.reporter.progress(self._work.done + self._answered + self._refused, len(self._work.rows), None)

    def _note(self, row: Case, error: FettleError) -> None:
        """A row without an answer: wrong when the endpoint refuses it, missing when it could not answer, the job's end when nobody could."""
        self._last = error
        line = f"row {row.position + 1}: {error.message}"
        if error.code in FOR_GOOD:
            self._fatal = error
        elif error.code in OF_THE_ROW:
            self._refused += 1
            self._work.reporter.log(f"{line} It counts as wrong.")
            if not self._answered and not self._work.done and self._refused >= REFUSED_ONLY:
                self._fatal, self._ready = error, []
            else:
                self._take(row, {"answer": "", "likelihoods": None, "latency_ms": 0.0, "input_tokens": 0, "output_tokens": 0})
        else:
            self._failed, self._in_a_row = self._failed + 1, self._in_a_row + 1
            self._fatal = error if self._in_a_row >= GIVE_UP else self._fatal
            self._work.reporter.log(f"{line} A retry asks it again.")

    def _keep(self) -> None:
        ready, self._ready = self._ready, []
        self._work.keep(ready)

    async def _answer(self, client: Client, row: Case) -> dict[str, Any]:
        """What the endpoint answers for one row, by likelihood or by generation. Raises RemoteError, Unavailable."""
        work, name = self._work, self._work.model.remote_name or ""
        prompt = render(work.template, row.values)
        if work.evaluation.answer == "likelihood":
            began = time.perf_counter()
            sums, usage = await client.likelihoods(name, prompt.text, [answer_text(work.template, label) for label in work.labels])
            values: dict[str, Any] = {"answer": work.labels[sums.index(max(sums))], "likelihoods": dict(zip(work.labels, sums, strict=True))}
            values["latency_ms"] = (time.perf_counter() - began) * 1000
        else:
            found = await client.complete(name, prompt, work.parameters)
            usage = found.usage
            values = {"answer": work.book.answer_in(found.text), "likelihoods": None, "latency_ms": found.latency_ms}
        self.estimated = self.estimated or usage.estimated
        return values | {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
