"""An open page of a job that reports all the time: when web dies under it and when it is loaded anew, each point and each line is on the page once."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.db import make_engine, transaction
from app.domain import ending, queue
from app.domain import metric as metrics
from app.domain.base import db_now
from app.domain.job import Job
from tests.browser.steps import address, command, sign_up
from tests.installation import Running
from tests.rows import claim

pytestmark = [pytest.mark.browser, pytest.mark.slow]

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


@pytest.fixture
def writer(installation: Running, page: Page) -> Iterator[Writer]:
    """A running job in this test's hands. Its queue is paused but for the moment in which it is taken, so that no worker has it."""
    sign_up(page, installation.said())
    command(installation, "seed")
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
    writer.over.set()
    writer.join()
    with transaction(bind) as session:
        ending.fail(session, job.id, job.lease_token or "", {"code": "over", "message": "The test is over.", "advice": ""})
    bind.dispose()


def log(page: Page) -> list[str]:
    return re.findall(r"line \d+\.\d+", page.locator("#log").text_content() or "")


def goes_on_and_agrees(page: Page, writer: Writer) -> None:
    """The page follows; then, while nothing is written for a moment, it shows what the database has, each once."""
    last = writer.step + 10
    expect(page.locator("#log")).to_contain_text(f"line {last}.0\n", timeout=60_000)
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
