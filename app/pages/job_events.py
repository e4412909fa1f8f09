"""A job's live stream: what happened since an event number, then what happens next, until the job is over.

Every message carries the number it brings the page to, so a browser that comes back with Last-Event-ID misses nothing and
sees nothing twice. No database session outlives one look. What happened since the last look goes out in one piece: with hundreds of
streams open, pieces are what they cost.
"""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Annotated

from anyio import move_on_after, sleep
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent, format_sse_event

from app.domain.access import Who
from app.domain.metric import Line, Point
from app.doors import Person
from app.pages import job_samples
from app.pages.job_view import job_context
from app.pages.job_words import offset
from app.pages.render import environment
from app.pages.sharing import looks
from app.services import jobs
from app.services.jobs import News

router = APIRouter()

POLL_SECONDS = 0.7
PARTS_SECONDS, STILL_SECONDS = 2.0, 10.0
"""How old the drawn parts of a page may be while things happen to its job, and while nothing does."""

QUIET_SECONDS = 15.0
"""After so long with nothing to tell a stream says that it is there, so that neither a proxy nor the page (static/js/stream.js) takes it for dead."""

STILL_THERE = b"event: still\ndata:\n\n"
"""An event, since a page is not shown comments; it has no number, and moves nobody."""

LIFE_SECONDS = 600.0
"""A connection ends after so long; the browser comes back by itself."""


def followed(person: Person, key: int) -> int:
    """The job's id, once it is sure that this person may read it. Raises NotFound, before the stream begins."""
    return jobs.find(person, key).job.id


@router.get("/{key}/events")
async def events(
    person: Person, key: Annotated[int, Depends(followed)], after: int = 0, step: int | None = None, last_event_id: Annotated[str | None, Header()] = None
) -> EventSourceResponse:
    resumed = int(last_event_id) if last_event_id and last_event_id.isdigit() else 0
    told = follow(person, key, max(after, resumed), step, resumed=bool(resumed))
    return EventSourceResponse(_wire(told), headers={"X-Accel-Buffering": "no"})


async def _wire(told: AsyncIterator[list[ServerSentEvent]]) -> AsyncIterator[bytes]:
    async for messages in told:
        pieces = [format_sse_event(data_str=message.raw_data, event=message.event, id=message.id) for message in messages]
        yield b"".join(pieces) or STILL_THERE


async def follow(person: Who, key: int, after: int, asked: int | None = None, *, resumed: bool = False) -> AsyncGenerator[list[ServerSentEvent]]:
    """What there is to tell at once, or nothing after a quiet time: points, log lines and samples after an event, those of the step `asked` among them,
    and the parts of the page whenever they change; `done` when the job is over.

    Samples are told as one table, after the lines that are younger than some of them: a stream that was `resumed` may have broken in between, and tells it anew.

    However many streams are open, a job is looked at once for all of them, and its news only when something has happened to it.
    """
    spoke = began = time.monotonic()
    shown, over, sampled = Parts("", None, -1), False, resumed
    while time.monotonic() - began < LIFE_SECONDS:
        newest = (await looks().once("events", POLL_SECONDS / 2, jobs.newest_events)).get(key)
        if newest != after or shown.event < 0:
            news, told = await looks().once(("news", person.workspace_id, key, after), POLL_SECONDS, partial(_news, person, key, after))
            after, over, sampled = news.upto, news.job.over, sampled or bool(news.samples)
            if told:  # before anything is drawn: that may have to wait for its turn
                yield told
                spoke = time.monotonic()
            if after < news.job.event:
                continue  # there is more to tell already
        telling: list[ServerSentEvent] = []
        with move_on_after(None if over else POLL_SECONDS):  # what is drawn later is told at a later look
            parts = await _parts(person, key, after, shown, over=over)
            if (sampled and news.job.kind == "tune") or parts.leading != shown.leading:
                about = ("samples", person.workspace_id, key, after, parts.leading, asked)
                samples = await looks().drawn(about, POLL_SECONDS, partial(_samples, person, key, asked))
                telling.append(ServerSentEvent(raw_data=samples, id=str(after)))
                sampled = False
            if parts.text != shown.text:
                telling.append(ServerSentEvent(raw_data=parts.text, id=str(after)))
            shown = parts
        if over:
            yield [*telling, ServerSentEvent(raw_data=json.dumps({"state": news.job.state}), event="done", id=str(after))]
            return
        if telling or time.monotonic() - spoke > QUIET_SECONDS:
            yield telling
            spoke = time.monotonic()
        await sleep(POLL_SECONDS)


def _news(person: Who, key: int, after: int) -> tuple[News, list[ServerSentEvent]]:
    """What happened after an event, and the messages that say so."""
    news = jobs.news(person, key, after)
    return news, list(messages(news))


@dataclass(frozen=True)
class Parts:
    """The page's parts as they were drawn at a job's event, and which trial of its search led then."""

    text: str
    leading: int | None
    event: int


async def _parts(person: Who, key: int, event: int, shown: Parts, *, over: bool) -> Parts:
    """The parts by now. What they say about time makes them worth drawing now and then although nothing happens."""
    fresh = STILL_SECONDS if shown.event == event else PARTS_SECONDS
    return await looks().drawn(("parts", person.workspace_id, key, over), fresh, partial(_drawn, person, key))


def _drawn(person: Who, key: int) -> Parts:
    context = job_context(person, key)
    leading = context["tuning"].leading if context["tuning"] else None
    return Parts(environment().get_template("jobs/_parts.html").render(context), leading, context["job"].event)


def _samples(person: Who, key: int, asked: int | None) -> str:
    """The table of samples, for its place on the page."""
    context = job_context(person, key)
    text = environment().get_template("jobs/_samples.html").render(context, samples=job_samples.table(person, context["tuning"], key, asked))
    return f'<hx-partial hx-target="#job-samples" hx-swap="innerMorph">{text}</hx-partial>'


def messages(news: News) -> Iterator[ServerSentEvent]:
    """Points and lines in the order of their events: each point one message, each run of lines one."""
    things: list[Point | Line] = sorted([*news.points, *news.lines], key=lambda thing: thing.event)
    for _, run in groupby(things, type):
        lines = []
        for thing in run:
            if isinstance(thing, Point):
                data = {"job": news.job.id, "step": thing.step, "name": thing.name, "value": thing.value}
                yield ServerSentEvent(raw_data=json.dumps(data), event="metric", id=str(thing.event))
            else:
                lines.append(thing)
        if lines:
            text = environment().get_template("jobs/_lines.html").render(job=news.job, lines=lines, offset=offset)
            yield ServerSentEvent(raw_data=f'<hx-partial hx-target="#log" hx-swap="beforeend">{text}</hx-partial>', id=str(lines[-1].event))
