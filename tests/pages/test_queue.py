"""The queue on the Tune page: order, priority, pause, who works, and why something waits."""

import json
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.worker import Worker
from app.services import jobs as services
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset, add_model, claim


@pytest.fixture
def keys(person: Who) -> list[int]:
    """Three waiting jobs."""
    return waiting(person, 3)


def waiting(person: Who, count: int, **parameters: object) -> list[int]:
    model, dataset = add_model(person, f"Model {count}"), add_dataset(person).dataset_id
    wanted = {"model": model, "dataset": dataset, "method": "lora", "parameters": parameters, "prompt_version": None, "seed": 0}
    return [job.id for job in services.start_many(person, [wanted] * count)]


def answers(name: str = "vm:7/gpu", device: str = "cpu:0", silent_ms: int = 0, **says: int) -> None:
    with transaction() as session:
        has = [{"name": device, "title": "2 CPU cores", "memory": 24_000_000_000, "used": 6_000_000_000}]
        workers.present(session, name, "worker", name.rpartition("/")[2], has, says)
        session.query(Worker).filter_by(name=name).update({"heartbeat_at": Worker.heartbeat_at - silent_ms})


def rows(page: Dom) -> list[str]:
    return [row.get("id", "") for row in page.all("section:first-of-type tbody tr")]


def test_waiting_jobs_are_moved_with_their_buttons_and_the_answer_is_the_new_order(browser: TestClient, keys: list[int]) -> None:
    page = get(browser, "/jobs")
    first, second, third = keys
    assert page.texts("section:first-of-type .progress") == ["next", "2nd in the queue", "3rd in the queue"] and page.one(f"#up-{first}").get(
        "aria-disabled"
    ) == "true" == page.one(f"#down-{third}").get("aria-disabled")
    part = browser.post(f"/jobs/{third}/move", data={"to": "up"}, headers={"HX-Request": "true"})
    assert part.status_code == 200 and "<html" not in part.text and rows(Dom(part.text)) == [f"job-{key}" for key in (first, third, second)]
    assert browser.post(f"/jobs/{second}/move", data={"to": "first"}).headers["location"] == "/jobs"
    assert rows(get(browser, "/jobs")) == [f"job-{key}" for key in (second, first, third)]
    assert browser.post(f"/jobs/{second}/move", data={"to": "sideways"}).status_code == 422
    page = get(browser, f"/jobs/{third}")
    assert page.text("#job-status .sentence").startswith("Waiting, 3rd in the queue.") and "Move up" in page.texts("#job-actions button")
    assert browser.post(f"/jobs/{third}/move", data={"to": "up", "back": str(third)}).headers["location"] == f"/jobs/{third}"
    assert get(browser, f"/jobs/{third}").text("#job-status .sentence").startswith("Waiting, 2nd in the queue.")


def test_a_priority_is_set_shown_and_refused_out_of_bounds(browser: TestClient, keys: list[int]) -> None:
    assert browser.post(f"/jobs/{keys[2]}/priority", data={"priority": "7"}).status_code == 303
    page = get(browser, "/jobs")
    assert rows(page)[0] == f"job-{keys[2]}" and "priority 7" in page.text(f"#job-{keys[2]} th")
    refused = browser.post(f"/jobs/{keys[2]}/priority", data={"priority": "101"}, headers={"HX-Request": "true"})
    assert refused.status_code == 422 and "from -100 to 100" in refused.text


def test_a_paused_queue_says_so_on_every_page_that_waits_for_it(browser: TestClient, keys: list[int]) -> None:
    answers()
    assert browser.post("/jobs/queues/gpu/pause").headers["location"] == "/jobs"
    page = get(browser, "/jobs")
    assert page.text("#queue-gpu") == "Queue paused by Grace, just now; 3 waiting" and page.text("#pause-gpu") == "Resume"
    with transaction() as session:
        assert jobs.claim(session, "gpu", "vm:7", 30) is None
    job = get(browser, f"/jobs/{keys[1]}")
    assert "The queue is paused by Grace" in job.text("#job-status .sentence") and job.text("#job-actions .primary") == "Resume the queue"
    assert "queue 3, paused" in browser.get("/live").text
    assert browser.post("/jobs/queues/gpu/resume", data={"back": str(keys[1])}).headers["location"] == f"/jobs/{keys[1]}"
    with transaction() as session:
        assert jobs.waiting(session, 60) == ["gpu"] * 3, "what waited is woken at once"
        assert jobs.claim(session, "gpu", "vm:7", 30) is not None
    assert browser.post("/jobs/queues/nowhere/pause").status_code == 422


def test_the_queue_says_that_no_worker_answers_and_for_how_long(browser: TestClient, person: Who, keys: list[int]) -> None:
    assert get(browser, "/jobs").text(".notice .message") == "No worker answers: run fettle worker. The 3 waiting jobs are safe."
    answers(silent_ms=185_000)
    page = get(browser, "/jobs")
    assert page.text(".notice .message").startswith("No worker has answered for 3 min:") and page.text(".workers .badge") == "no answer for 3 min"
    assert "No worker has answered for 3 min" in get(browser, f"/jobs/{keys[0]}").text("#job-status .sentence")
    answers()
    assert not get(browser, "/jobs").all(".notice")


def test_a_job_that_needs_a_gpu_says_that_it_waits_for_one(browser: TestClient, person: Who) -> None:
    (key,) = waiting(person, 1, four_bit=True)
    answers()
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "1st; waits for a worker with a GPU"
    assert "waits for a worker with a GPU" in get(browser, f"/jobs/{key}").text("#job-status .sentence")
    answers("big:9/gpu", "cuda:0")
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "next"
    said = get(browser, f"/jobs/{key}").text("#job-status .sentence")
    assert said.startswith("Waiting, next in the queue.") and "GPU" not in said


def test_a_job_over_four_gpus_says_how_many_the_largest_worker_has(browser: TestClient, person: Who) -> None:
    (key,) = waiting(person, 1, devices=4, batch_size=8)
    answers()  # a processor runs it as four processes, also beside a GPU
    answers("big:9/gpu", "cuda:0", gpus=2)
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "next"
    answers("vm:7/gpu", "cuda:0", gpus=1)
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "1st; waits for a worker with 4 GPUs"
    said = get(browser, f"/jobs/{key}").text("#job-status .sentence")
    assert "It waits for a worker with 4 GPUs: it is spread over 4 devices, and the one that has most may use 2 GPUs." in said
    answers("big:9/gpu", "cuda:0", gpus=8)
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "next"


def test_a_job_that_waits_for_room_says_how_much(browser: TestClient, person: Who) -> None:
    (key,) = waiting(person, 1)
    with transaction() as session:
        job = jobs.claim(session, "gpu", "vm:7", 60)
        assert job is not None
        ending.give_back(session, key, job.lease_token or "", "no room", counts=False, needs_bytes=12_300_000)
        workers.present(session, "vm:7/gpu", "worker", "gpu", [{"name": "cpu:0"}], {"room": {"tune": 2_000_000, "export": 99_000_000}})
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "1st; waits for 12.3 MB of disk"
    said = get(browser, f"/jobs/{key}").text("#job-status .sentence")
    assert "It waits for room on the disk: it needs 12.3 MB, and 2 MB are free. It starts by itself when there is room" in said
    assert browser.get(f"/api/v1/jobs/{key}").json()["needs_bytes"] == 12_300_000
    with transaction() as session:  # another machine has more
        workers.present(session, "big:7/gpu", "worker", "gpu", [{"name": "cpu:0"}], {"room": {"tune": 90_000_000}})
    assert get(browser, "/jobs").text(f"#job-{key} .progress") == "next"


def clocks(page: Dom, where: str) -> list[int]:
    """The moments that a part of a page says, in milliseconds."""
    return [int(datetime.fromisoformat(one.get("datetime") or "").timestamp() * 1000) for one in page.all(f"{where} time[data-clock]")]


def in_hand(eta_seconds: float | None, **has: Any) -> int:
    """The next job is taken by the worker `vm:7`, and has so long to go."""
    with transaction() as session:
        job = jobs.claim(session, "gpu", "vm:7", 60)
        assert job is not None
        jobs.write(session, job.id, job.lease_token or "", phase="train", step=10, total_steps=100, eta_seconds=eta_seconds, **has)
        return job.id


def test_a_waiting_job_says_by_the_clock_until_when(browser: TestClient, keys: list[int]) -> None:
    """Those behind it are like it, so they take as long as it will have taken: a minute so far, and 29 more."""
    first, second, third = keys
    answers(device="cuda:0")
    in_hand(1740.0, started_at=services.now() - 60_000)
    now = services.now()
    page = get(browser, f"/jobs/{second}")
    said = page.text("#job-status .sentence")
    assert said.startswith(f"Waiting, next in the queue. The GPU is with job {first} until about ") and said.endswith(" UTC.") and "ahead" not in said, said
    (until,) = clocks(page, "#job-status .sentence")
    assert until % 60_000 == 0 and now + 1_670_000 < until <= now + 1_745_000
    page = get(browser, f"/jobs/{third}")
    again, begins = clocks(page, "#job-status .sentence")
    assert "UTC; 1 job is ahead of this one; it begins about" in page.text("#job-status .sentence") and again in (until, until + 60_000)
    assert now + 3_480_000 < begins <= now + 3_545_000, "the second one takes half an hour as well"
    page = get(browser, "/jobs")
    assert page.text(f"#job-{second} .progress").startswith("next; begins about") and page.text(f"#job-{third} .progress").startswith(
        "2nd in the queue; begins about"
    )
    assert clocks(page, f"#job-{third} .progress")[0] in (begins, begins + 60_000) and len(clocks(get(browser, "/"), "#now")) == 2
    told = browser.get(f"/api/v1/jobs/{third}").json()
    assert told["behind"]["job"] == first and told["behind"]["until"] in (until, until + 60_000) and told["begins_at"] in (begins, begins + 60_000)
    listed = {one["id"]: one["begins_at"] for one in browser.get("/api/v1/jobs?state=queued").json()["items"]}
    assert listed[third] in (begins, begins + 60_000) and listed[second] in (until, until + 60_000)


def test_what_is_not_measured_is_not_said(browser: TestClient, person: Who, keys: list[int]) -> None:
    answers(device="cuda:0")
    other, behind = (waiting(person, 1, rank=rank)[0] for rank in (4, 2))
    in_hand(None)
    assert get(browser, f"/jobs/{keys[2]}").text("#job-status .sentence") == (
        f"Waiting, 2nd in the queue. The GPU is with job {keys[0]}; 1 job is ahead of this one."
    )
    assert get(browser, "/jobs").text(f"#job-{keys[2]} .progress") == "2nd in the queue"
    assert browser.get(f"/api/v1/jobs/{keys[1]}").json()["behind"] == {"job": keys[0], "until": None}
    with transaction() as session:
        session.query(jobs.Job).filter_by(id=keys[0]).update({"eta_seconds": 600.0})
    assert len(clocks(get(browser, f"/jobs/{other}"), "#job-status")) == 2, "the jobs before it are like the one in hand"
    page = get(browser, f"/jobs/{behind}")
    assert len(clocks(page, "#job-status")) == 1 and page.text("#job-status .sentence").endswith("UTC; 3 jobs are ahead of this one."), (
        "nobody ran one like that"
    )
    answers("big:9/gpu", "cuda:0")
    assert "is with job" not in get(browser, f"/jobs/{behind}").text("#job-status .sentence"), "another worker has nothing in hand"


def test_what_a_job_took_on_another_machine_says_nothing_of_this_one(browser: TestClient, person: Who, keys: list[int]) -> None:
    answers(device="cuda:0")
    (last,) = waiting(person, 1)
    with transaction() as session:
        done = jobs.claim(session, "gpu", "fast:1", 60)
        assert done is not None
        session.query(jobs.Job).filter_by(id=done.id).update({"state": "succeeded", "started_at": 1_000, "finished_at": 61_000, "heartbeat_at": None})
    other = in_hand(600.0)
    with transaction() as session:
        session.query(jobs.Job).filter_by(id=other).update({"attempt": 2})  # what it took in all is not known

    def begins() -> list[bool]:
        return [browser.get(f"/api/v1/jobs/{key}").json()["begins_at"] is not None for key in (keys[2], last)]

    assert begins() == [True, False]
    with transaction() as session:
        session.query(jobs.Job).filter_by(id=done.id).update({"worker": "vm:1"})
    assert begins() == [True, True]


def test_of_two_workers_the_one_that_is_done_first_counts(browser: TestClient, keys: list[int]) -> None:
    answers("big:9/gpu", "cuda:0")
    answers("vm:7/gpu")
    with transaction() as session:
        job = jobs.claim(session, "gpu", "big:9", 60)
        assert job is not None
        jobs.write(session, job.id, job.lease_token or "", phase="train", step=1, total_steps=9, eta_seconds=9000.0)
    second = in_hand(600.0)
    page, now = get(browser, f"/jobs/{keys[2]}"), services.now()
    assert f"The CPU is with job {second} until about" in page.text("#job-status .sentence")
    assert clocks(page, "#job-status")[0] <= now + 600_000
    with transaction() as session:
        session.query(jobs.Job).filter_by(id=job.id).update({"eta_seconds": None})
    assert clocks(get(browser, f"/jobs/{keys[2]}"), "#job-status") == [], "the other one may be done before"


def test_workers_are_listed_with_device_memory_and_the_job_in_hand(browser: TestClient, keys: list[int]) -> None:
    answers("vm:7/gpu")
    answers("vm:8/interactive")
    answers("old:3/gpu", silent_ms=4_000_000)
    with transaction() as session:
        job = jobs.claim(session, "gpu", "vm:7", 60)
    assert job is not None
    page = get(browser, "/jobs")
    lines = page.texts(".workers tbody tr")
    assert len(lines) == 2, "who has been silent for an hour is left out"
    assert lines[0].startswith("vm process 7 tuning and evaluation cpu:0 2 CPU cores 6 GB of 24 GB") and f"job {job.id}" in lines[0] and "just now" in lines[0]
    assert lines[1].startswith("vm process 8 Lab and /v1") and "–" in lines[1]


def test_a_long_queue_takes_as_many_queries_and_says_how_much_there_is_more(browser: TestClient, person: Who) -> None:
    counts = []
    for more in (2, 70):
        waiting(person, more)
        with queries() as sent:
            page = get(browser, "/jobs")
        counts.append(len(sent))
    assert counts[0] == counts[1] and "22 more wait behind these." in page.text("section:first-of-type")


def test_what_ended_is_told_in_the_strip_of_every_page(browser: TestClient, keys: list[int]) -> None:
    with transaction() as session:
        (done, _), (broken, _) = held = [(job.id, job.lease_token or "") for job in (claim(session), claim(session))]
        ending.succeed(session, *held[0], {})
        ending.fail(session, *held[1], {"code": "x", "message": "It's <broken>.", "advice": ""})
        ending.cancel(session, session.get_one(jobs.Job, keys[2]))
    told = json.loads(get(browser, "/datasets").one("#live [data-ended]").get("data-ended") or "")
    assert sorted((one["href"], one["bad"]) for one in told) == [(f"/jobs/{done}", False), (f"/jobs/{broken}", True)]
    assert {one["text"] for one in told} == {"LoRA on tickets is done.", "LoRA on tickets failed: It's <broken>."}
