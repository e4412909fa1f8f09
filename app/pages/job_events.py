"""A job's live stream: what happened since an event number, then what happens next, until the job is over.

Every message carries the number it brings the page to, so a browser that comes back with Last-Event-ID misses nothing and
sees nothing twice. No database session outlives one look.
"""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from itertools import groupby
from typing import Annotated

from anyio import sleep, to_thread
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.domain.access import Who
from app.domain.metric import LogLine, MetricPoint
from app.doors import Person
from app.pages import job_samples
from app.pages.job_view import job_context
from app.pages.job_words import offset
from app.pages.render import environment
from app.services import jobs
from app.services.jobs import News

router = APIRouter()

POLL_SECONDS = 0.7
LIFE_SECONDS = 600.0
"""A connection ends after so long; the browser comes back by itself."""


def followed(person: Person, key: int) -> int:
    """The job's id, once it is sure that this person may read it. Raises NotFound, before the stream begins."""
    return jobs.find(person, key).job.id


@router.get("/{key}/events", response_class=EventSourceResponse)
async def events(
    person: Person, key: Annotated[int, Depends(followed)], after: int = 0, last_event_id: Annotated[str | None, Header()] = None
) -> AsyncIterator[ServerSentEvent]:
    resumed = int(last_event_id) if last_event_id and last_event_id.isdigit() else 0
    async for message in follow(person, key, max(after, resumed)):
        yield message


async def follow(person: Who, key: int, after: int) -> AsyncGenerator[ServerSentEvent]:
    """Points, log lines and samples after an event, and the page's parts whenever they change; `done` when the job is over."""
    began, shown, leading = time.monotonic(), "", None
    while time.monotonic() - began < LIFE_SECONDS:
        news, parts, samples, leading = await to_thread.run_sync(_look, person, key, after, leading)
        for message in messages(news):
            yield message
        after = news.job.event
        if samples:
            yield ServerSentEvent(raw_data=samples, id=str(after))
        if parts != shown:
            shown = parts
            yield ServerSentEvent(raw_data=parts, id=str(after))
        if news.job.over:
            yield ServerSentEvent(raw_data=json.dumps({"state": news.job.state}), event="done", id=str(after))
            return
        await sleep(POLL_SECONDS)


def _look(person: Who, key: int, after: int, leading: int | None) -> tuple[News, str, str, int | None]:
    """The news, the page's parts, the table of samples when there are new ones or another trial leads than `leading`, and which one leads."""
    news, context = jobs.news(person, key, after), job_context(person, key)
    leads = context["tuning"].leading if context["tuning"] else None
    parts = environment().get_template("jobs/_parts.html").render(context)
    if not news.samples and leads == leading:
        return news, parts, "", leads
    text = environment().get_template("jobs/_samples.html").render(context, samples=job_samples.table(person, context["tuning"], key))
    return news, parts, f'<hx-partial hx-target="#job-samples" hx-swap="innerMorph">{text}</hx-partial>', leads


def messages(news: News) -> Iterator[ServerSentEvent]:
    """Points and lines in the order of their events: each point one message, each run of lines one."""
    things: list[MetricPoint | LogLine] = sorted([*news.points, *news.lines], key=lambda thing: thing.event)
    for _, run in groupby(things, type):
        lines = []
        for thing in run:
            if isinstance(thing, MetricPoint):
                data = {"job": news.job.id, "step": thing.step, "name": thing.name, "value": thing.value}
                yield ServerSentEvent(raw_data=json.dumps(data), event="metric", id=str(thing.event))
            else:
                lines.append(thing)
        if lines:
            text = environment().get_template("jobs/_lines.html").render(job=news.job, lines=lines, offset=offset)
            yield ServerSentEvent(raw_data=f'<hx-partial hx-target="#log" hx-swap="beforeend">{text}</hx-partial>', id=str(lines[-1].event))
