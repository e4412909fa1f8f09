"""A judge job of a remote model: it is asked at its endpoint (worker/asking.py), and its ruling is read from what it writes. Loads no torch."""

import asyncio
from collections.abc import Sequence
from typing import Any

from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.judging import read
from app.remote.client import Client
from app.remote.spec import EndpointSpec, Usage
from worker import asking, sittings
from worker.evaluate_remote import reached
from worker.reporter import JobReporter
from worker.sittings import Kept, Reading, Sitting

MOST_TOKENS = 512
"""What a ruling may take to write: a word, or the thoughts before it."""


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Ask for the rulings that are missing, then write the scores."""
    reporter.phase("load")
    sitting = sittings.load(job, token, reporter)
    spec, price = reached(sitting.model)
    reporter.phase("evaluate", len(sitting.readings))
    asker = Asker(sitting, spec)
    asyncio.run(asker.ask())
    reporter.phase("save")
    tokens = [(one.input_tokens, one.output_tokens) for one in sitting.rulings()]
    sitting.finish({**asking.measured(spec, price, asker.estimated), "read": asker.way}, asking.spent(tokens, price))


class Asker(asking.Asker[Reading]):
    """The readings of a judgement."""

    counts_as = "not read"

    def __init__(self, sitting: Sitting, spec: EndpointSpec) -> None:
        super().__init__(spec, sitting.reporter, sitting.waiting, len(sitting.readings))
        self._sitting, self._name = sitting, sitting.model.remote_name or ""
        self.way = "constrained" if sitting.brief.read == "constrained" else "first_line"
        choices = list(sitting.brief.answers) if self.way == "constrained" else None
        self._parameters = Parameters(max_tokens=MOST_TOKENS, choices=choices, stop=[])

    async def answer(self, client: Client, row: Reading) -> tuple[dict[str, Any], Usage]:
        found = await client.complete(self._name, self._sitting.question(row, chat=True), self._parameters)
        return {"written": found.text, "latency_ms": found.latency_ms}, found.usage

    def refused(self, row: Reading, code: str) -> dict[str, Any]:
        del row, code
        return {"written": None}

    def found(self, row: Reading, values: dict[str, Any]) -> Kept:
        # A model may write any character; PostgreSQL holds every one but this.
        written = None if values["written"] is None else values["written"].replace("\0", "\ufffd")
        return row.kept(read(self._sitting.brief, written or ""), **{**values, "written": written})

    def keep(self, ready: Sequence[dict[str, Any]]) -> None:
        self._sitting.keep(ready)
