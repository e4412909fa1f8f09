"""The queue and a job's page in a real browser, with a real worker behind: order by keyboard, pause, curves, tabs, log, and an end told elsewhere. In this order."""

import re
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.steps import address, command, no_violations, part, settled, sign_up
from tests.house.rules import ROOT
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHORT = "model=1&dataset=1@1&method=lora&drawn=lora&batch_size=2&max_length=64&evaluations=2&early_stopping=0"


def names(page: Page) -> list[str]:
    """The waiting jobs by number, in order."""
    return [row.get_attribute("data-moves") or "" for row in page.locator("[data-moves]").all()]


def test_several_jobs_wait_in_a_paused_queue_and_are_reordered_by_keyboard(installation: Running, page: Page, complaints: list[str]) -> None:
    sign_up(page, installation.said())
    command(installation, "seed")
    page.goto(f"{address(installation)}/jobs/new?{SHORT}&max_steps=24&many_field=seed&many_values=1,+2,+3")
    expect(page.locator(".many li")).to_have_text(["seed 1", "seed 2", "seed 3"])
    no_violations(page)
    page.evaluate("fetch('/jobs/queues/gpu/pause', {method: 'POST'})")
    page.get_by_role("button", name="Start 3 jobs").click()
    expect(page).to_have_url(re.compile(r"/jobs$"))
    page.wait_for_load_state()  # the keys are listened to once the page is there
    expect(page.get_by_text("paused by Ada")).to_be_visible()
    expect(page.locator("[data-moves]")).to_have_count(3)
    first, second, third = names(page)
    page.locator(f"#link-{third}").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("[data-moves]").nth(1)).to_have_attribute("data-moves", third)
    expect(page.locator(f"#link-{third}")).to_be_focused()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("[data-moves]").nth(0)).to_have_attribute("data-moves", third)
    page.locator(f"#more-{first}").click()
    page.get_by_role("button", name="To the end").click()
    expect(page.locator("[data-moves]").nth(2)).to_have_attribute("data-moves", first)
    assert names(page) == [third, second, first]
    page.reload()
    assert names(page) == [third, second, first], "the order is the server's"
    no_violations(page)
    assert complaints == []


def test_a_resumed_queue_runs_and_the_end_is_told_on_another_page(installation: Running, page: Page, context: BrowserContext, complaints: list[str]) -> None:
    key = names(page)[0]
    for other in names(page)[1:]:
        page.evaluate("key => fetch(`/jobs/${key}/cancel`, {method: 'POST'})", other)
    elsewhere = context.new_page()
    elsewhere.goto(f"{address(installation)}/models")
    context.add_cookies([{"name": "visit", "value": "1", "url": address(installation)}])
    home = context.new_page()
    home.goto(address(installation))
    expect(home.get_by_role("heading", name="Now")).to_be_visible()
    assert "1 job done" not in (home.locator("#since").text_content() or "")
    page.get_by_role("button", name="Resume").click()
    page.goto(f"{address(installation)}/jobs/{key}")
    expect(page.locator("#job-status .sentence")).to_contain_text("Done in", timeout=240_000)
    told = elsewhere.locator(".toast").filter(has_text="is done.")
    expect(told).to_be_visible(timeout=20_000)
    expect(told.get_by_role("link")).to_have_attribute("href", f"/jobs/{key}")
    elsewhere.close()
    expect(home.locator("#since")).to_contain_text("1 job done")
    expect(home.locator(f'.ended a[href="/jobs/{key}"]')).to_be_visible()
    assert home.locator("#now .ended").count() == 0
    home.close()
    assert page.locator(".toast").count() == 0, "its own page shows it already"
    assert complaints == []


def test_curves_are_zoomed_and_smoothed_and_tabs_keep_their_place(page: Page, complaints: list[str]) -> None:
    loss = page.locator("#loss")
    whole = loss.locator(".readout").text_content() or ""
    assert whole.startswith("step 24")
    box = loss.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=5)
    page.mouse.up()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 40)
    expect(loss.locator(".readout")).to_contain_text(re.compile(r"^step 1[0-3] "))
    main = page.locator("#accuracy .u-over").bounding_box()
    assert main is not None
    page.get_by_role("button", name="All steps").focus()
    page.keyboard.press("Enter")
    page.mouse.move(box["x"] + box["width"] * 0.995, box["y"] + 42)
    expect(loss.locator(".readout")).to_contain_text(re.compile(r"^step 2[34] "))
    page.mouse.click(main["x"] + main["width"] * 0.5, main["y"] + 42)
    expect(page).to_have_url(re.compile(r"\?step=\d+#panel-samples$"))
    expect(page.locator(".samples .asked")).to_be_visible()
    expect(page.locator("#accuracy .u-over")).to_be_visible()
    page.get_by_label("Smoothing").press("End")
    expect(page.locator("[data-chart-tools] output")).to_have_text("0.98")
    expect(loss.locator(".readout")).to_contain_text("drawn smoothed")
    page.get_by_role("link", name="Log").click()
    page.get_by_label("Search the log").fill("checkpoint")
    expect(page.locator("#log-found")).to_contain_text(re.compile("checkpoint|No line"))
    expect(page.locator("#log")).to_be_hidden()
    page.get_by_label("Search the log").fill("")
    expect(page.locator("#log")).to_be_visible()
    page.get_by_role("link", name="Resources").click()
    expect(page.locator("#taken-memory .readout")).to_contain_text("GB")
    page.reload()
    expect(page.get_by_role("link", name="Resources")).to_have_attribute("aria-current", "true")
    expect(page.locator("[data-chart-tools] output")).to_have_text("0.98")
    for tab in ("Settings", "Attempts", "Samples"):
        page.get_by_role("link", name=tab, exact=tab != "Attempts").click()
        no_violations(page)
    expect(page.locator("#job-settings")).to_contain_text("dataset hash")
    assert complaints == []


LONG = {"method": "lora", "parameters": {"max_steps": 2000, "batch_size": 2, "max_length": 64, "evaluations": 1, "early_stopping": 0}}
TAKES_ALL = """
from sqlalchemy import select, update
from app.db import transaction
from app.domain.device import Device, MemoryLease
with transaction() as session:
    session.execute(update(MemoryLease).where(MemoryLease.job_id == {job}).values(bytes=select(Device.memory).where(Device.id == MemoryLease.device_id).scalar_subquery()))
"""
ON_CPU = """
from app.db import transaction
from app.domain import device as devices
from worker import interactive, room
room.machine._there = lambda: [{{"name": name, "title": name, "memory": 1000}} for name in ("cuda:0", "cpu:0")]
room.machine._shared = lambda device: device["memory"]
with transaction() as session:
    devices.found(session, "elsewhere", room.machine.here())
    assert devices.ask(session, devices.find(session, "elsewhere", "cuda:0", lock=True), devices.job_holder({job}, 1), "job", "LoRA", 1000, {job})
where, notice = room.LeasedRoom("elsewhere:1/interactive").take("starter", 400)
interactive.Stream("{request}").send({{"type": "notice", **notice}})
"""
"""What the engine of a machine with a GPU says of an answer when a job has all of that GPU's memory."""
CLOCK = r"([01]\d|2[0-3]):[0-5]\d"


def _minutes(text: str) -> int:
    """The time of day in a sentence."""
    found = re.search(CLOCK, text)
    assert found is not None, text
    return int(found[0][:2]) * 60 + int(found[0][3:])


def test_what_waits_says_until_when_a_job_has_the_device_in_the_readers_own_time(installation: Running, page: Page, chromium: Browser) -> None:
    """In the Lab and on the page of a job, five and a half hours from UTC. The job that has the device takes as much of its memory as there is."""
    away = chromium.new_context(storage_state=page.context.storage_state(), timezone_id="Asia/Kolkata")
    lab = away.new_page()
    lab.goto(f"{address(installation)}/jobs")
    post = (
        "([path, body]) => fetch(path, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body)}).then((one) => one.json())"
    )
    order = {"kind": "tune", "model": 1, "dataset": "1@1", **LONG}
    first, second = (lab.evaluate(post, ["/api/v1/jobs", order | {"seed": seed}])["id"] for seed in (11, 12))
    lab.goto(f"{address(installation)}/jobs/{first}")
    expect(lab.locator("#job-status .sentence")).to_contain_text(re.compile(r"Training, step .* left"), timeout=120_000)
    lab.goto(f"{address(installation)}/jobs/{second}")
    said = lab.locator("#job-status .sentence")
    expect(said).to_have_text(re.compile(rf"Waiting, next in the queue\. The CPU is with job {first} until about {CLOCK}\.$"))
    until, said_then = said.evaluate("it => [it.querySelector('time').dateTime, it.innerText]")
    assert (datetime.fromisoformat(until) + timedelta(hours=5, minutes=30)).strftime("%H:%M") in said_then
    subprocess.run([sys.executable, "-c", TAKES_ALL.format(job=first)], cwd=ROOT, env=installation.environment, check=True)
    lab.goto(f"{address(installation)}/lab")
    lab.get_by_label("Instruction").fill("Answer up or down.")
    lab.get_by_label("Input", exact=True).fill("A good day.")
    lab.locator("#run").click()
    only = lab.locator("[data-column]")
    told = part(only, "progress")
    expect(told).to_contain_text(re.compile(rf"The CPU is with job {first} until about {CLOCK}; this answer waits for it"))
    assert abs((_minutes(told.inner_text()) - _minutes(said_then) + 720) % 1440 - 720) < 120, "the same zone as on the job's page"
    says = ON_CPU.format(job=first, request=only.evaluate("column => column.querySelector('.answer').answer.request"))
    with subprocess.Popen([sys.executable, "-c", says], cwd=ROOT, env=installation.environment | {"FETTLE_MACHINE": "elsewhere"}) as engine:
        expect(told).to_contain_text(re.compile(rf"The GPU is with job {first} until about {CLOCK}; answering on the CPU"), timeout=120_000)
    assert engine.returncode == 0
    for key in (second, first):
        lab.evaluate(post, [f"/api/v1/jobs/{key}/cancel", {}])
    settled(lab)
    expect(part(only, "stream").first).not_to_be_empty()
    away.close()
