"""An open page of a job that reports all the time: when web dies under it, when it is loaded anew, and when its wire is cut or goes silent (a laptop that
slept, a network that forgot it), each point and each line is on the page once."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import Engine

from app.db import make_engine, transaction
from app.domain import ending, queue
from app.domain import metric as metrics
from app.domain.base import db_now
from app.domain.job import Job
from tests.browser.steps import address, command, sign_up, until
from tests.faults.tap import Tap
from tests.installation import Running
from tests.rows import claim

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.faults]

SHORT = "model=1&dataset=1@1&method=lora&drawn=lora&batch_size=2&max_length=64&evaluations=2&early_stopping=0"
BEAT = 0.08
DRAWN = """async () => { const { charts } = await import("/static/js/chart.js");
  return [...charts].flatMap((chart) => chart.series.flatMap((series) => [...series.values].map(([step, value]) => [series.metric, step, value]))); }"""


class Writer(threading.Thread):
    """Reports as a worker does: at every step a loss and a line, at every third the measure too and two lines more."""

    def __init__(self, bind: Engine, job: Job) -> None:
        super().__init__()
        self.bind, self.job, self.step, self.over, self.turn = bind, job, 0, threading.Event(), threading.Lock()

    def run(self) -> None:
        while not self.over.wait(BEAT):
            with self.turn:
                self.report()

    def end(self) -> None:
        """The job ends where it is, once."""
        if self.over.is_set():
            return
        self.over.set()
        self.join()
        with transaction(self.bind) as session:
            ending.fail(session, self.job.id, self.job.lease_token or "", {"code": "over", "message": "The test is over.", "advice": ""})

    def report(self) -> None:
        self.step += 1
        third = self.step % 3 == 0
        values = {"loss": 1 / self.step} | ({"validation_accuracy": self.step / 1000} if third else {})
        lines = [f"line {self.step}.{number}" for number in range(3 if third else 1)]
        with transaction(self.bind) as session:
            metrics.record(
                session,
                self.job.id,
                self.job.lease_token or "",
                1,
                [(self.step, values)],
                lines,
                step=self.step,
                total_steps=2000,
                lease_until=db_now() + 20_000,
            )

    def written(self) -> tuple[list[tuple[str, int, float]], list[str]]:
        """The rows: what a page is to show."""
        with transaction(self.bind) as session:
            points = [(point.name, point.step, point.value) for point in metrics.points(session, self.job.id)]
            return sorted(points), [line.text for line in metrics.lines(session, self.job.id, 5000)]


@pytest.fixture(scope="module")
def signed_in(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    command(installation, "seed")


@pytest.fixture
def wire(installation: Running) -> Iterator[Tap]:
    """What the page is reached through, as a laptop reaches its server."""
    tap = Tap(int(installation.environment["FETTLE_PORT"]))
    yield tap
    tap.cut()


@pytest.fixture
def writer(installation: Running, page: Page, signed_in: None) -> Iterator[Writer]:
    """A running job in this test's hands. Its queue is paused but for the moment in which it is taken, so that no worker has it."""
    del signed_in
    page.goto(f"{address(installation)}/jobs/new?{SHORT}&max_steps=24")
    page.evaluate("fetch('/jobs/queues/gpu/pause', {method: 'POST'})")
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    bind = make_engine(f"sqlite:///{Path(installation.environment['FETTLE_DATA']) / 'fettle.db'}")
    with transaction(bind) as session:
        waiting = session.query(Job).filter_by(state="queued").one()
        queue.resume(session, waiting.workspace_id, "gpu")
        job = claim(session)
        queue.pause(session, waiting.workspace_id, "gpu", None)
    writer = Writer(bind, job)
    writer.start()
    yield writer
    writer.end()
    bind.dispose()


def log(page: Page) -> list[str]:
    return re.findall(r"line \d+\.\d+", page.locator("#log").text_content() or "")


def goes_on_and_agrees(page: Page, writer: Writer, patience: float = 60_000) -> None:
    """The page follows; then, while nothing is written for a moment, it shows what the database has, each once."""
    last = writer.step + 10
    expect(page.locator("#log")).to_contain_text(f"line {last}.0\n", timeout=patience)
    with writer.turn:
        points, lines = writer.written()
        expect(page.locator("#log")).to_contain_text(f"{lines[-1]}\n")
        page.wait_for_timeout(500)
        drawn: list[Any] = page.evaluate(DRAWN)
        assert sorted((name, step, value) for name, step, value in drawn) == points
        assert log(page) == lines


def test_each_point_and_each_line_is_shown_once_over_a_restart_of_web_and_a_reload(installation: Running, page: Page, writer: Writer) -> None:
    page.goto(f"{address(installation)}/jobs/{writer.job.id}#panel-log")
    goes_on_and_agrees(page, writer)

    (web,) = installation.find("app.cli", "web")
    psutil.Process(web).kill()
    goes_on_and_agrees(page, writer)
    assert installation.find("app.cli", "web") != [web]

    page.reload()
    goes_on_and_agrees(page, writer)
    the_log_follows(page, writer)


def the_log_follows(page: Page, writer: Writer) -> None:
    """Its newest line stays in sight until somebody reads further up, and again when they come back to its end."""
    box = page.get_by_label("Follow")
    at_end = "() => { const log = document.getElementById('log'); return log.scrollHeight > log.clientHeight && log.scrollHeight - log.scrollTop - log.clientHeight < 2; }"
    page.wait_for_function(at_end)
    page.locator("#log").hover()
    page.mouse.wheel(0, -300)
    expect(box).not_to_be_checked()
    goes_on_for(page, writer, 20)
    assert not page.evaluate(at_end)
    page.mouse.wheel(0, 100_000)
    expect(box).to_be_checked()
    goes_on_for(page, writer, 20)
    page.wait_for_function(at_end)


def goes_on_for(page: Page, writer: Writer, steps: int) -> None:
    """Wait until so much more was reported."""
    last = writer.step + steps
    while writer.step < last:
        page.wait_for_timeout(100)


def ends_and_agrees(page: Page, writer: Writer) -> None:
    """The job ends: the page says so without being loaded anew, and shows all there was, each once."""
    writer.end()
    expect(page.locator("#job-status")).to_contain_text("The test is over.")
    points, lines = writer.written()
    drawn: list[Any] = page.evaluate(DRAWN)
    assert sorted((name, step, value) for name, step, value in drawn) == points
    assert log(page) == lines
    assert page.evaluate("() => performance.getEntriesByType('navigation').length === 1 && window.stayed === true")


def through(wire: Tap, page: Page, writer: Writer) -> None:
    page.goto(f"http://127.0.0.1:{wire.port}/jobs/{writer.job.id}#panel-log")
    page.evaluate("window.stayed = true")
    goes_on_and_agrees(page, writer)


def test_a_wire_that_was_cut_is_said_and_leaves_no_gap(installation: Running, page: Page, writer: Writer, wire: Tap, chromium: Browser) -> None:
    """And the end of the job, which fails, is told in another browser until somebody has seen it."""
    elsewhere = chromium.new_context(storage_state=page.context.storage_state()).new_page()
    elsewhere.clock.install()
    elsewhere.goto(f"{address(installation)}/models")
    through(wire, page, writer)
    wire.cut()
    expect(page.locator("#unheard")).to_be_visible()
    expect(page.locator("#unheard")).to_contain_text("The connection to the server is lost.")
    goes_on_for(page, writer, 60)
    expect(page.locator("#unheard")).to_contain_text(re.compile(r"What you see is of \d+:\d\d:\d\d\. It goes on by itself"))
    wire.mend()
    goes_on_and_agrees(page, writer)
    expect(page.locator("#unheard")).to_be_hidden()
    ends_and_agrees(page, writer)
    told = elsewhere.locator(".toast").filter(has_text="failed: The test is over.")
    expect(told).to_be_visible()
    elsewhere.clock.fast_forward("01:00")
    expect(told).to_be_visible()
    told.get_by_role("button", name="Dismiss").click()
    expect(told).to_have_count(0)
    elsewhere.context.close()


def test_a_wire_that_went_silent_as_when_a_laptop_sleeps_is_noticed_and_leaves_no_gap(page: Page, writer: Writer, wire: Tap) -> None:
    through(wire, page, writer)
    expect(page.locator("#unheard")).to_be_hidden()
    wire.sleep()
    expect(page.locator("#unheard")).to_be_visible(timeout=60_000)
    page.wait_for_timeout(5_000)
    wire.wake()
    goes_on_and_agrees(page, writer, patience=90_000)
    expect(page.locator("#unheard")).to_be_hidden()
    ends_and_agrees(page, writer)


def test_a_second_try_that_hangs_is_not_joined_by_a_third(page: Page, writer: Writer, wire: Tap) -> None:
    """Every line once, although whoever tries again does so every 5 s and the server takes longer to answer."""
    tries, stream = [], re.compile(r"/events\?")

    def slowly(route: Route) -> None:
        tries.append(route)
        if len(tries) == 1:
            route.abort()
        elif len(tries) > 2:
            route.continue_()

    page.route(stream, slowly)
    try:
        page.goto(f"http://127.0.0.1:{wire.port}/jobs/{writer.job.id}#panel-log")
        page.evaluate("window.stayed = true")
        until(page, lambda: len(tries) > 1)
        page.wait_for_timeout(7_000)
        tries[1].continue_()
        goes_on_and_agrees(page, writer)
        assert len(tries) == 2
    finally:
        page.unroute(stream)


def test_a_page_whose_scripts_come_slowly_and_whose_first_try_fails_has_its_stream(page: Page, writer: Writer, wire: Tap) -> None:
    tries = []

    def late(route: Route) -> None:
        time.sleep(0.7)
        route.continue_()

    def fail_first(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) == 1:
            route.abort()
        else:
            route.continue_()

    scripts, stream = re.compile(r"/(hx-sse\.min|chart)\.js$"), re.compile(r"/events\?")
    page.route(scripts, late)
    page.route(stream, fail_first)
    try:
        through(wire, page, writer)
        assert len(tries) == 2
    finally:
        page.unroute(scripts)
        page.unroute(stream)
