"""What a job takes is measured of its own processes only, and written with its lease."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Job
from app.domain.model import Model
from app.services import jobs as services
from tests.rows import add_model, claim
from worker import parent, resources, staying

WORKS = "import time\nheld = bytearray(50_000_000)\nfor place in range(0, len(held), 4096): held[place] = 1\nprint('ready', flush=True)\nwhile True: sum(range(10_000))"
PARENT = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); child.wait()"


@pytest.fixture
def family() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing but has started one that works and holds 50 MB."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, WORKS], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    yield process
    staying.end(process)
    process.stdout.close()


def test_a_gauge_reads_the_process_and_what_it_has_started(family: "subprocess.Popen[str]") -> None:
    gauge = resources.Gauge(family.pid)
    gauge.read()
    time.sleep(0.5)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # somebody else's work
    try:
        found = gauge.read()
    finally:
        busy.kill()
        busy.wait()
    assert 0.05 < found["resource/cores"] < 1.5
    assert 50e6 < found["resource/memory"] < 200e6
    assert set(found) == {"resource/cores", "resource/memory"} | ({"resource/gpu", "resource/gpu_memory"} if resources.gpus() else set())


def test_a_process_that_is_gone_has_no_readings() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert resources.Gauge(process.pid).read() == {}


@pytest.fixture
def held(person: Who) -> Job:
    with transaction() as session:
        jobs.add(session, person, "tune", "a tune", {})
    with transaction() as session:
        return claim(session)


def seconds(job: Job) -> list[int]:
    with transaction() as session:
        return [point.step for point in metrics.curve(session, job.id, metrics.MEMORY)]


def test_readings_are_points_over_seconds_that_are_no_steps_and_end_with_the_lease(
    held: Job, family: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "EVERY_SECONDS", 0.3)
    with resources.metered(held, family.pid):
        time.sleep(1.2)
        with transaction() as session:
            assert metrics.reached(session, held.id) == 0, "seconds are no steps"
            ending.give_back(session, held.id, held.lease_token or "", "taken away")
        time.sleep(0.4)
        before = seconds(held)
        time.sleep(0.8)
    assert before and seconds(held) == before and before[-1] <= 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_attempt_records_what_it_works_with(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "EVERY_SECONDS", 0.2)
    parameters = {"max_steps": 4, "batch_size": 8, "rank": 2, "evaluations": 1}
    wanted: dict[str, Any] = {"model": base.id, "dataset": toys.dataset_id, "prompt_version": None, "method": "lora"}
    bad = services.start_tune(person, **wanted | {"model": add_model(person, "Gone", "gone")}, parameters=parameters, seed=1).job.id
    good = services.start_tune(person, **wanted, parameters=parameters, seed=7).job.id
    parent.drain("gpu")
    views = {key: services.find(person, key) for key in (bad, good)}
    assert views[bad].job.state == "failed" and views[good].job.state == "succeeded", "one that fails does not stop the queue"
    facts = views[good].attempts[0].ran_with or {}
    assert facts["dataset_hash"] == toys.content_hash and facts["model_hash"] == base.content_hash and (facts["seed"], facts["dataset"]) == (7, toys.reference)
    assert facts["prompt_hash"] and {"torch", "transformers", "peft", "python"} <= set(facts["libraries"]) and facts["machine"]
    points = {point.name for point in services.points(person, good)}
    assert {"resource/cores", "resource/memory", "loss"} <= points
