"""An evaluate job of a remote model: rows are asked at its endpoint (worker/asking.py). Loads no torch."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from app.db import reading
from app.domain import endpoint as endpoints
from app.domain import model as models
from app.domain.dataset import Case
from app.domain.endpoint import Window
from app.domain.fitting import Fitting, fit_rows
from app.domain.job import Job
from app.domain.model import Model
from app.domain.rendering import answer_text, render
from app.remote.client import Client
from app.remote.ruler import Ruler, ruler
from app.remote.spec import EndpointSpec, Price, RemoteError, Usage, price_of
from app.settings import settings
from worker import asking, predictions
from worker.predictions import Work
from worker.reporter import JobReporter


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Ask for what is not answered yet, split by split. The end of the last split is the job's."""
    reporter.phase("load")
    works = predictions.load(job, token, reporter)
    spec, price = reached(works[0].model)
    measure = measured_by(works[0].model, chat=not spec.completions)
    for work in works:
        fitting = fitted(work, measure) if measure else None
        reporter.phase("evaluate", len(work.rows))
        asker = Asker(work, spec, fitting)
        asyncio.run(asker.ask())
        reporter.phase("save")
        finish(work, spec, price, asker)


def reached(model: Model) -> tuple[EndpointSpec, Price | None]:
    """The endpoint of a remote model, ready to be asked, and what it costs."""
    with reading() as session:
        endpoint = endpoints.of_model(session, model)
    here = settings()
    return EndpointSpec(**endpoint.facts(here.key), allowed=tuple(here.allowed_endpoints), redis=here.redis), price_of(endpoint.prices, model.remote_name or "")


def measured_by(model: Model, *, chat: bool) -> Ruler | None:
    """What rows for a remote model are measured by; None where nobody has said how many tokens it takes."""
    with reading() as session:
        endpoint = endpoints.of_model(session, model)
        window: Window | None = endpoint.window(model.remote_name or "")
        like = session.get(Model, window.tokenizer) if window and window.tokenizer else None
        folder = models.folders(session, like, settings().models_folder, settings().storage_folder)[0] if like else None
    if window is None:
        return None
    return ruler(model.slug, window.tokens, chat=chat, tokenizer=folder, tokenizer_name=like.name if like else "")


def fitted(work: Work, measure: Ruler) -> Fitting:
    """Every row of a split, those of earlier attempts too, looked at before the first is asked. Raises Invalid when some do not fit and the policy cannot help."""
    labels = work.labels if work.evaluation.answer == "likelihood" else []
    empty = measure.empty(work.template, labels, work.parameters.max_tokens)
    return fit_rows(empty, work.template, work.policy, {row.id: work.values(row) for row in work.rows}, measure.tokens)


def finish(work: Work, spec: EndpointSpec, price: Price | None, asked: "Asker") -> None:
    """Scores and cost from all kept predictions, those of earlier attempts too. An answer that broke off in an earlier attempt was asked for again since;
    whether it was paid for as well only the endpoint knows, and its log line says what is known."""
    from app.domain.evaluation import predictions as kept

    with reading() as session:
        rows = kept(session, work.evaluation.id)
    tokens = [(row.input_tokens, row.output_tokens) for row in rows]
    about = asking.measured(spec, price, asked.estimated, "one request at a time, as answered")
    if asked.extra is not None:  # prompts without an input, asked for calibration: paid for, though no row's
        about["calibration_tokens"] = f"{asked.extra.input_tokens:,} read, {asked.extra.output_tokens:,} written"
        tokens.append((asked.extra.input_tokens, asked.extra.output_tokens))
    fit: dict[str, Any] = {"policy": work.policy, "rows": len(work.rows)} if asked.fitting is None else asked.fitting.as_json()
    if too_long := sum((row.judged or {}).get("refused") == "prompt_too_long" for row in rows):
        fit["refused"] = too_long
    timed = {row.id for row in work.timed}
    latency = [row.latency_ms for row in rows if row.example_id in timed and row.latency_ms > 0]
    work.finish(latency or [0.0], about, cost=asking.spent(tokens, price), fit=fit)


class Asker(asking.Asker[Case]):
    """The rows of an evaluation."""

    def __init__(self, work: Work, spec: EndpointSpec, fitting: Fitting | None) -> None:
        super().__init__(spec, work.reporter, work.waiting, len(work.rows), {row.position for row in work.timed})
        self.fitting = fitting
        """How rows are made to fit, where the model's window is known."""
        self._work, self._name = work, work.model.remote_name or ""
        self._free = list[dict[str, Any]](work.evaluation.content_free or [])

    @property
    def extra(self) -> Usage | None:
        """What the prompts without an input took, those of earlier attempts too; none where none were asked."""
        return sum((Usage(one["input_tokens"], one["output_tokens"]) for one in self._free), Usage(0, 0)) if self._free else None

    async def before(self, client: Client) -> None:
        """The labels' likelihoods without an input, where the evaluation is calibrated by them. What is known already is not asked again."""
        wanted = self._work.content_free() if self._work.evaluation.answer == "likelihood" and self._work.waiting else []
        for values in wanted[len(self._free) :]:
            answers = [answer_text(self._work.template, label) for label in self._work.labels]
            sums, usage, _ = await self._weigh(client, render(self._work.template, values).text, answers)
            took = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
            self._free.append({"sums": dict(zip(self._work.labels, sums, strict=True)), **took})
            self.estimated = self.estimated or usage.estimated
            self._work.keep_content_free(self._free)

    async def answer(self, client: Client, row: Case) -> tuple[dict[str, Any], Usage]:
        """By likelihood or by generation."""
        work = self._work
        values = work.values(row)
        prompt = render(work.template, values) if self.fitting is None else self.fitting.render(row.id, values)
        if work.evaluation.answer != "likelihood":
            said = await client.complete(self._name, prompt, work.parameters)
            return work.read_out(said.text, said.reason == "length") | {"latency_ms": said.latency_ms}, said.usage
        names = work.offered(row)
        sums, usage, seconds = await self._weigh(client, prompt.text, [answer_text(work.template, label) for label in names])
        found = work.weighed(row, dict(zip(names, sums, strict=True)), {}, [one["sums"] for one in self._free])
        return found | {"latency_ms": seconds * 1000}, usage

    async def _weigh(self, client: Client, prompt: str, answers: Sequence[str]) -> tuple[list[float], Usage, float]:
        """(log-probabilities, what they took, seconds without waiting for Redis). One answer after the other: those before it are paid for, and not asked
        again when Redis is away in between."""

        async def one(answer: str) -> tuple[float, Usage, float]:
            began = time.perf_counter()
            (value,), usage = await client.likelihoods(self._name, prompt, [answer])
            return value, usage, time.perf_counter() - began

        sums, total, seconds = [], Usage(0, 0), 0.0
        for answer in answers:
            try:
                value, usage, took = await self.patiently(partial(one, answer))
            except RemoteError as error:
                error.usage = total
                raise
            sums.append(value)
            total += usage
            seconds += took
        return sums, total, seconds

    def refused(self, row: Case, code: str) -> dict[str, Any]:
        del row
        return predictions.no_answer(code)

    def found(self, row: Case, values: dict[str, Any]) -> dict[str, Any]:
        return self._work.predicted(row, {**values, "lost": self.fitting and self.fitting.lost(row.id)})

    def keep(self, ready: Sequence[dict[str, Any]]) -> None:
        self._work.keep(ready)
