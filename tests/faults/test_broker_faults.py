"""The broker dies, hangs, forgets and doubles: jobs are rows, so all that changes is how soon one starts."""

import signal
import time

import pytest

from app import queue
from app.broker import ask
from tests.faults.site import Site, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
BOTH = pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)


@BOTH
@pytest.mark.parametrize("fault", [pytest.param("cut", marks=pytest.mark.long), "hole"])
def test_f8_a_job_is_taken_in_within_a_second_while_the_broker_is_away_and_starts_by_itself(site: Site, fault: str) -> None:
    site.web()
    getattr(site.tap, fault)()
    took = []
    for _ in range(3):
        began = time.monotonic()
        status, answer = site.call("POST", "/api/v1/jobs", json=site.order(max_steps=3))
        took.append(time.monotonic() - began)
        assert status == 202 and answer["state"] == "queued"
    assert sorted(took)[1] < 1, took  # asking the broker takes a second each time
    status, page = site.call("GET", f"/api/v1/jobs/{answer['id']}")
    assert status == 200 and page["state"] == "queued"
    assert "does not answer" in site.page(f"/jobs/{answer['id']}") and "does not answer" in site.page("/")
    began = time.monotonic()
    assert site.call("GET", "/healthz")[0] == 200 and site.call("GET", "/readyz")[0] == 503
    assert time.monotonic() - began < 5, "nothing hangs"
    site.tap.mend()
    site.worker()
    for key in range(answer["id"] - 2, answer["id"] + 1):
        site.succeeded(key)
        assert site.outcomes(key) == ["succeeded"]


@ONE
@pytest.mark.long
def test_f8_a_job_whose_worker_dies_while_the_broker_hangs_is_given_back_as_ever(site: Site) -> None:
    site.web()
    worker = site.worker(slow=0.2)
    key = site.tune()
    until(lambda: site.reached(key) > 1)
    site.tap.hole()
    waiting = site.tune(max_steps=1)  # so that web has somebody to wake, and waits for the broker again and again
    site.signal(worker, signal.SIGKILL)
    until(lambda: site.job(key).state == "queued", 30, "its lease of 5 s has run out, and nobody took it back")
    assert site.outcomes(key) == ["lost"] and site.job(waiting).state == "queued"


@BOTH
@pytest.mark.long
def test_f7_a_broker_that_starts_empty_loses_no_job_and_starts_none_twice(site: Site) -> None:
    site.web()
    worker = site.worker(slow=0.1)
    running = site.tune(max_steps=60)
    waiting = [site.tune(max_steps=2) for _ in range(5)]
    until(lambda: site.reached(running) > 3)
    site.kill_broker()
    time.sleep(3)
    site.start_broker()
    until(lambda: all(site.job(key).state != "queued" for key in waiting), 180, "not all that waited run after the broker's return")
    for key in (running, *waiting):
        site.succeeded(key, 180)
        assert site.outcomes(key) == ["succeeded"]
    assert worker.poll() is None


@ONE
@pytest.mark.long
def test_f9_a_wake_up_that_comes_ten_times_starts_one_attempt(site: Site) -> None:
    site.worker("one"), site.worker("two")
    key = site.tune(max_steps=5)
    for _ in range(10):
        queue.wake("gpu")
    site.succeeded(key)
    assert site.outcomes(key) == ["succeeded"] and site.job(key).attempt == 1


@ONE
@pytest.mark.long
def test_f37_a_worker_that_went_deaf_still_works_and_ends_to_be_started_again(site: Site) -> None:
    site.web()
    worker = site.worker()
    site.succeeded(site.tune(max_steps=1))
    site.tap.freeze()
    key = site.tune(max_steps=1)
    site.succeeded(key)  # found by looking at the table, perhaps before anybody was to be woken for it
    queue.wake("gpu")
    until(lambda: (ask(site.short / "broker.sock", "LLEN gpu") or ":0") != ":0", 30, "nobody took the message, so it lies there")
    assert worker.wait(150) is not None
    assert "wake-ups are not heard" in (site.logs / "worker-one.log").read_text()
    site.worker("two")
    site.succeeded(site.tune(max_steps=1))


@ONE
@pytest.mark.long
def test_a_dead_worker_is_shown_within_a_minute(site: Site) -> None:
    site.web()
    worker = site.worker(slow=0.5)
    key = site.tune()
    until(lambda: site.reached(key) > 1)
    assert site.call("GET", "/readyz")[1]["workers"]
    site.signal(worker, signal.SIGKILL)
    until(lambda: not site.call("GET", "/readyz")[1]["workers"], 60, "a dead worker is still shown")
    assert "No worker" in site.page("/") and "No worker" in site.page(f"/jobs/{key}")


@ONE
@pytest.mark.long
def test_a_forged_wake_up_starts_nothing(site: Site) -> None:
    site.worker()
    key = site.tune(max_steps=1)
    site.succeeded(key)
    for name in ("gpu", "no such queue", "../../etc", ""):
        queue._send("fettle.work", "gpu", [name])
    other = site.tune(max_steps=1)
    site.succeeded(other)
    assert site.outcomes(key) == ["succeeded"]
