"""A job's stream: whatever is cut off where, every point and every line arrives once."""

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest
from anyio import to_thread
from fastapi.sse import ServerSentEvent
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Job
from app.pages import job_events
from app.pages.sharing import looks
from app.services import jobs as services
from tests.dom import Dom
from tests.rows import add_dataset, add_model, claim


@pytest.fixture
def job(person: Who, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A tune job in a worker's hands; the stream looks often."""
    for pause in ("POLL_SECONDS", "PARTS_SECONDS", "STILL_SECONDS"):
        monkeypatch.setattr(job_events, pause, 0.01)
    services.start_tune(person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=0)
    with transaction() as session:
        return claim(session)


def record(job: Job, step: int, *lines: str) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(step, {"loss": 1 / step, "validation_accuracy": 0.5})], lines, step=step, total_steps=99)


def succeed(job: Job) -> None:
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token or "", {})


def parse(text: str) -> list[dict[str, str]]:
    """The messages of a stream as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        message: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            message[name] = message[name] + "\n" + value if name in message else value
        if "data" in message:
            found.append(message)
    return found


def shape(message: ServerSentEvent) -> tuple[str, str]:
    return message.event or "", message.raw_data or ""


async def each(stream: AsyncIterator[list[ServerSentEvent]]) -> AsyncIterator[ServerSentEvent]:
    async for told in stream:
        for message in told:
            yield message


async def settled() -> None:
    """Whoever leaves a stream leaves looks under way in threads: a database is taken away behind them, not under them."""
    await asyncio.gather(*(look.found for look in looks()._kept.values()), return_exceptions=True)


async def listen(person: Who, job: int, after: int, most: int | None) -> tuple[list[tuple[str, str]], int, bool]:
    """The next messages, at most so many; then the connection breaks. Also the id to come back with, and whether the job was over."""
    heard: list[tuple[str, str]] = []
    async with aclosing(job_events.follow(person, job, after)) as stream:
        async for message in each(stream):
            heard.append(shape(message))
            after = int(message.id or after)
            if message.event == "done":
                return heard, after, True
            if most is not None and len(heard) >= most:
                break
    await settled()
    return heard, after, False


def test_a_stream_that_breaks_anywhere_goes_on_without_a_gap_and_without_a_double(person: Who, job: Job) -> None:
    chance = random.Random(5)

    def work() -> None:
        for step in range(1, 61):
            record(job, step, *(f"line {step}.{number}" for number in range(step % 3)))
            time.sleep(0.005)
        succeed(job)

    worker = threading.Thread(target=work)
    worker.start()
    heard: list[tuple[str, str]] = []
    after, over = 0, False
    while not over:
        part, after, over = anyio.run(listen, person, job.id, after, chance.randint(1, 9))
        heard += part
    worker.join()
    points = [(point["step"], point["name"]) for event, data in heard if event == "metric" for point in [json.loads(data)]]
    assert sorted(points) == sorted((step, name) for step in range(1, 61) for name in ("loss", "validation_accuracy"))
    log = [line for event, data in heard if not event and 'hx-target="#log"' in data for line in Dom(data).text("hx-partial").split("line ")[1:]]
    assert [line.split()[0] for line in log] == [f"{step}.{number}" for step in range(1, 61) for number in range(step % 3)]
    assert heard[-1] == ("done", '{"state": "succeeded"}')


def test_the_browser_comes_back_with_last_event_id(browser: TestClient, job: Job) -> None:
    for step in (1, 2, 3):
        record(job, step)
    succeed(job)
    first = parse(browser.get(f"/jobs/{job.id}/events").text)
    points = [message for message in first if message.get("event") == "metric"]
    assert [json.loads(point["data"])["step"] for point in points] == [1, 1, 2, 2, 3, 3] and {json.loads(point["data"])["job"] for point in points} == {job.id}
    again = parse(browser.get(f"/jobs/{job.id}/events?after=1", headers={"Last-Event-ID": points[3]["id"]}).text)
    assert [json.loads(message["data"])["step"] for message in again if message.get("event") == "metric"] == [3, 3]
    assert again[-1]["event"] == "done"


def test_lines_that_a_page_missed_all_come_however_many(person: Who, job: Job) -> None:
    count = 2 * services.LINES + 7
    record(job, 1, *(f"line {number}" for number in range(count)))
    record(job, 2)
    succeed(job)
    heard, after, over = anyio.run(listen, person, job.id, 0, None)
    log = [line for event, data in heard if not event and 'hx-target="#log"' in data for line in Dom(data).text("hx-partial").split("line ")[1:]]
    assert [int(line.split()[0]) for line in log] == list(range(count)) and over and after == services.find(person, job.id).job.event
    steps = [json.loads(data)["step"] for event, data in heard if event == "metric"]
    assert steps == [1, 1, 2, 2]


def test_a_stream_that_broke_behind_the_lines_of_a_moment_tells_its_samples_when_it_is_back(browser: TestClient, job: Job) -> None:
    sample = {"trial": 0, "step": 1, "row": 1, "input": "late parcel", "gold": "delivery", "text": "billing"}
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, [(1, {"loss": 1.0})], ["a line"], [sample], step=1, total_steps=9)
    succeed(job)
    first = parse(browser.get(f"/jobs/{job.id}/events").text)
    (line,) = [message for message in first if 'hx-target="#log"' in message["data"]]
    assert sum("late parcel" in message["data"] for message in first) == 1
    again = parse(browser.get(f"/jobs/{job.id}/events", headers={"Last-Event-ID": line["id"]}).text)
    assert sum('hx-target="#job-samples"' in message["data"] and "late parcel" in message["data"] for message in again) == 1


def test_what_the_page_rendered_is_not_told_again(browser: TestClient, job: Job) -> None:
    record(job, 1, "a line")
    page = Dom(browser.get(f"/jobs/{job.id}").text)
    succeed(job)
    told = parse(browser.get(page.one("[hx-sse\\:connect]").get("hx-sse:connect") or "").text)
    assert [message.get("event", "") for message in told] == ["", "done"]
    parts = Dom(told[0]["data"])
    assert [part.get("hx-target") for part in parts.all("hx-partial")] == [
        "#job-status",
        "#job-actions",
        "#job-trials",
        "#job-results",
        "#job-settings",
        "#job-attempts",
    ]
    assert {part.get("hx-target", "")[1:] for part in parts.all("hx-partial")} <= {element.get("id") for element in page.all("[id]")}
    assert parts.text(".sentence").startswith("Done in ")


def test_parts_are_sent_when_they_change_and_only_then(person: Who, job: Job) -> None:
    async def silent() -> list[tuple[str, str]]:
        heard: list[tuple[str, str]] = []
        with anyio.move_on_after(3.0):
            async for message in each(job_events.follow(person, job.id, job.event)):
                heard.append(shape(message))
        await settled()
        return heard

    assert len(anyio.run(silent)) == 1


def test_a_connection_ends_in_time_and_the_browser_may_come_back(person: Who, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "LIFE_SECONDS", 2.0)
    heard, after, over = anyio.run(listen, person, job.id, 0, None)
    assert not over and len(heard) == 1 and after == services.find(person, job.id).job.event


def test_a_line_cannot_write_html_into_the_page(person: Who, job: Job) -> None:
    record(job, 1, "<script>alert(1)</script>\n")
    succeed(job)
    heard, _, _ = anyio.run(listen, person, job.id, 0, None)
    assert not any("<script>" in data for _, data in heard) and any("&lt;script&gt;" in data for _, data in heard)


def test_a_quiet_stream_says_that_it_is_there(person: Who, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "QUIET_SECONDS", 0.3)

    async def quiet() -> list[bytes]:
        heard: list[bytes] = []
        with anyio.move_on_after(10.0):
            async for piece in job_events._wire(job_events.follow(person, job.id, job.event)):
                heard.append(piece)
                if len(heard) == 3:
                    break
        await settled()
        return heard

    assert anyio.run(quiet).count(b"event: still\ndata:\n\n") == 2, "beside the parts of the page, which a busy machine may draw later"


def test_points_come_although_what_is_drawn_waits_for_its_turn(person: Who, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    drawn = job_events._drawn

    def late(person: Who, key: int) -> job_events.Parts:
        go.wait(10)
        return drawn(person, key)

    monkeypatch.setattr(job_events, "_drawn", late)
    record(job, 1)

    async def listen() -> list[str]:
        heard: list[str] = []
        async with aclosing(job_events.follow(person, job.id, 0)) as stream:
            async for message in each(stream):
                heard.append(message.event or "page")
                if heard == ["metric", "metric"]:
                    await to_thread.run_sync(record, job, 2)
                if len(heard) == 4:
                    go.set()
                if heard[-1] == "page":
                    break
        await settled()
        return heard

    assert anyio.run(listen) == ["metric"] * 4 + ["page"]
