"""The machines' pages: what is there, what is wrong with it, and a token that works once."""

import re
import time
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import device as devices
from app.domain import machine as machines
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.base import db_now
from app.domain.device import Device
from app.domain.machine import JoinToken
from app.domain.worker import Worker
from app.migrate import newest
from app.services import jobs
from app.services import machines as service
from app.settings import settings
from tests.dom import get
from tests.queries import queries
from tests.rows import add_dataset, add_model, claim

REPORT = {
    "machine": "gpu-2",
    "version": service.FETTLE,
    "python": "3.11.2",
    "devices": [{"name": "cuda:0", "title": "A card", "memory": 24_000_000_000}],
    "clock_ms": 0,
}


def report(**changes: object) -> dict[str, object]:
    return {**REPORT, "schema": newest(), "clock_ms": time.time_ns() // 1_000_000, **changes}


def ask(client: TestClient, token: str, **changes: object) -> tuple[int, dict[str, Any]]:
    answer = client.post("/api/v1/machines/join", json={"token": token, "report": report(**changes)})
    return answer.status_code, answer.json()


@pytest.fixture
def fleet(person: Who) -> None:
    """A machine with a GPU, a model on it and a waiting job's lease; one that is silent; and one of another version with a wrong clock."""
    del person
    with transaction() as session:
        devices.found(session, "one", [{"name": "cuda:0", "title": "A card", "memory": 8_000_000_000}])
        device = devices.find(session, "one", "cuda:0")
        assert device is not None
        devices.hold(session, "one", "cuda:0", "one:77")
        devices.ask(session, device, "one:78/interactive", "starter", "Starter", 2_000_000_000)
        devices.mark(session, "one:78/interactive", ["starter"], ["starter"])
        workers.present(
            session, "one:77/gpu", "worker", "gpu", [], {"fettle": service.FETTLE, "torch": "2.13.0", "transformers": "5.23", "peft": "0.21", "clock_ms": 12}
        )
        workers.present(session, "two:5/gpu", "worker", "gpu", [], {"fettle": "0.0.9", "clock_ms": -90_000})
        workers.present(session, "zed:5/gpu", "worker", "gpu", [], {"fettle": "0.0.8", "clock_ms": -90_000})
        workers.present(session, "server:1/web", "web", "web", [], {"fettle": service.FETTLE})
    with transaction() as session:
        session.execute(update(Worker).where(Worker.name == "two:5/gpu").values(heartbeat_at=db_now() - 60_000))


def test_the_disk_of_every_machine_and_what_it_keeps(browser: TestClient, person: Who) -> None:
    del person

    def says(name: str, free: int, **more: object) -> None:
        with transaction() as session:
            disks = [{"folder": "/data", "total": 1_000_000_000_000, "free": 600_000_000_000}, {"folder": "/big", "total": 100_000_000_000, "free": free}]
            workers.present(session, f"{name}:7/gpu", "worker", "gpu", [], {"fettle": service.FETTLE, "disks": disks, **more})

    says("gpu-2", 40_000_000_000, kept={"results": 2_100_000_000, "checkpoints": 0, "logs": 12_000_000, "merged models": 0, "base models": 5_000_000_000})
    says(settings().machine_name, 7)
    said = get(browser, "/machines").text("#machine-1" if settings().machine_name > "gpu-2" else "#machine-2")
    assert "600 GB free of 1 TB on the disk of /data" in said and "40 GB free of 100 GB on the disk of /big" in said
    assert "Keeps base models 5 GB, results 2.1 GB, logs 12 MB." in said
    now = get(browser, "/")
    assert now.texts(".now-machine dt") == [f"Disk {settings().machine_name}", "Disk gpu-2"] and "40 GB free of 100 GB" in now.texts(".now-machine dd")
    assert not [text for text in now.texts("#troubles .message") if "disk" in text]
    says("gpu-2", 1_000_000_000)
    assert "The disk of gpu-2 is 99 % full." in [text.replace("99%", "99 %") for text in get(browser, "/").texts("#troubles .message")]


@pytest.mark.usefixtures("fleet")
def test_every_machine_with_its_devices_and_what_is_wrong(browser: TestClient) -> None:
    page = get(browser, "/machines")
    assert page.texts("main h2") == ["one", "two", "zed"], "a web process is no machine that works"
    said = page.text("#machine-1")
    assert "2 GB of 8 GB" in said and "Starter 2 GB, answering, pinned" in said and "one:77" in said and "clock agrees" in said and "torch 2.13.0" in said
    troubles = page.text("#machine-2 .notice")
    assert "Nothing was heard of it for 60 s" in troubles and "0.0.9" not in troubles and "behind" not in troubles, "what a silent process said is no longer so"
    assert "It runs Fettle 0.0.8" in page.text("#machine-3 .notice") and "90.0 s behind" in page.text("#machine-3 .notice")
    assert not page.all("#machine-1 .notice")
    part = browser.get("/machines", headers={"HX-Request": "true", "HX-Request-Type": "partial"}).text
    assert "<html" not in part and "one:77" in part


@pytest.mark.usefixtures("fleet")
def test_a_dead_worker_beside_a_living_engine_is_said_and_says_nothing_more(browser: TestClient) -> None:
    """Its version and its clock were those of a process that is gone, and no job runs under it."""
    with transaction() as session:
        gone = {"fettle": "0.0.8", "clock_ms": 3_600_000}
        workers.present(session, "one:76/gpu", "worker", "gpu", [], gone)
        workers.present(session, "one:78/interactive", "engine", "interactive", [], {"fettle": service.FETTLE, "clock_ms": 12})
    with transaction() as session:
        session.execute(update(Worker).where(Worker.name.in_(["one:76/gpu", "one:77/gpu"])).values(heartbeat_at=db_now() - 180_000))
        session.execute(update(Device).values(worker_until=db_now() - 1))
    page = get(browser, "/machines")
    said, troubles = page.text("#machine-1"), page.text("#machine-1 .notice")
    assert "Nothing was heard of its worker for gpu for 3 min" in troubles and "go back to the queue by themselves" in troubles, troubles
    assert troubles.count("Nothing was heard") == 1, "of two workers for one queue the newer one tells when it was last heard"
    assert "0.0.8" not in troubles and "ahead" not in troubles and "clock agrees" in said
    assert "no worker" in page.text("#machine-1 table") and "one:77" not in page.text("#machine-1 table")
    with transaction() as session:
        workers.present(session, "one:79/gpu", "worker", "gpu", [], {"fettle": service.FETTLE, "clock_ms": 12})
    assert not get(browser, "/machines").all("#machine-1 .notice"), "another worker of its queue has taken its place"


@pytest.mark.usefixtures("fleet")
def test_the_number_of_queries_does_not_grow_with_the_machines(browser: TestClient) -> None:
    browser.get("/machines")
    with queries() as few:
        browser.get("/machines")
    with transaction() as session:
        for number in range(20):
            devices.found(session, f"m{number}", [{"name": "cpu:0", "title": "CPU", "memory": 1}])
            workers.present(session, f"m{number}:1/gpu", "worker", "gpu", [], {})
    with queries() as many:
        assert browser.get("/machines").status_code == 200
    assert len(few) == len(many)


def test_a_token_is_shown_once_works_once_and_the_page_says_who_came(browser: TestClient) -> None:
    assert "Nothing has asked to join yet" in get(browser, "/machines/new").text("#reports")
    shown = browser.post("/machines/token").text
    token = shown.partition("--token ")[2].split()[0]
    assert len(token) > 20 and shown.count(token) == 2 and token not in browser.get("/machines/new").text
    with transaction() as session:
        assert token not in str(session.scalars(select(JoinToken.token_hash)).all())
    browser.headers.pop("Sec-Fetch-Site")  # the new machine is no browser
    browser.cookies.clear()
    for changes, words in (({"version": "0.0.1"}, "This machine has Fettle 0.0.1"), ({"schema": "abc"}, "code wants the database at abc")):
        status, told = ask(browser, token, **changes)
        assert status == 409 and words in str(told["error"]), told
    status, told = ask(browser, token, clock_ms=time.time_ns() // 1_000_000 + 5_000)
    assert status == 200 and 4_000 < int(str(told["ahead_ms"])) <= 5_100
    (warning,) = told["warnings"]
    assert re.fullmatch(r"Its clock is [45]\.\d s ahead\. Jobs do not mind, but its log lines will not line up\.", warning)
    assert ask(browser, token)[0] == 403, "it works once"
    assert ask(browser, "guessed")[0] == 403


def test_a_refusal_stands_on_the_page_in_words(browser: TestClient, person: Who) -> None:
    token = service.make_token(person)
    ask(browser, token, machine="old", version="0.0.1")
    page = get(browser, "/machines/new")
    assert page.texts("#reports tbody th") == ["old"] and f"Install {service.FETTLE} here." in page.text("#reports")
    ask(browser, token, machine="old")
    assert "joined" in get(browser, "/machines/new").text("#reports")


@pytest.mark.parametrize(
    ("torch", "transformers", "words"),
    [
        ("2.13.4+cu130", "5.23.9", ""),
        ("2.12.1+cu128", "5.23.0", f"It computes with torch 2.12.1+cu128, and this server has torch {service.OURS['torch']}:"),
        (
            "2.12.1",
            "5.1.0",
            f"Install torch {service.OURS['torch'].partition('+')[0]}, transformers {service.OURS['transformers']} there, in the build for its devices.",
        ),
    ],
)
def test_a_machine_that_computes_with_other_versions_is_taken_and_told(browser: TestClient, person: Who, torch: str, transformers: str, words: str) -> None:
    found = {"torch": torch, "transformers": transformers, "peft": service.OURS["peft"]}
    status, told = ask(browser, service.make_token(person), libraries=found, driver="580.65.06", cuda="13.0")
    assert status == 200 and [words in sentence for sentence in told["warnings"]] == ([True] if words else [])
    said = get(browser, "/machines/new").text("#reports tbody")
    assert "joined" in said and f"torch {torch}, transformers {transformers}, peft" in said and "GPU driver 580.65.06, CUDA 13.0" in said and words in said
    with transaction() as session:
        workers.present(
            session, "gpu-2:5/gpu", "worker", "gpu", [], {"fettle": service.FETTLE, "python": "3.11.2", "driver": "580.65.06", "cuda": "13.0", **found}
        )
    page = get(browser, "/machines")
    assert "Python 3.11.2" in page.text("#machines") and "GPU driver 580.65.06, CUDA 13.0" in page.text("#machines")
    assert [words in page.text("#machines .notice")] == [True] if words else not page.all("#machines .notice")


def test_an_old_token_is_refused(browser: TestClient, person: Who) -> None:
    token = service.make_token(person)
    with transaction() as session:
        session.execute(update(JoinToken).values(expires_at=db_now() - 1))
    assert ask(browser, token)[0] == 403


def test_only_an_administrator_makes_tokens_and_no_page_shows_a_password(browser: TestClient, person: Who, database: str) -> None:
    shown = browser.post("/machines/token").text
    if "postgresql" in database:
        assert database not in shown and database.rpartition("@")[2] not in shown
    with transaction() as session:
        session.execute(update(machines.JoinToken).values(used_at=db_now()))
    from app.domain.user import User

    with transaction() as session:
        session.execute(update(User).values(role="member"))
    assert browser.post("/machines/token").status_code == 403
    assert "Only an administrator adds machines" in get(browser, "/machines/new").text("main")
    assert not get(browser, "/machines").all(".page-head .button")


@pytest.mark.usefixtures("fleet")
def test_a_job_that_waits_for_memory_says_so_on_its_page(browser: TestClient, person: Who) -> None:
    made = jobs.start_tune(person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=1)
    key = made.job.id
    with transaction() as session:
        claim(session)
        device = devices.find(session, "one", "cuda:0")
        assert device is not None
        assert devices.ask(session, device, devices.job_holder(key, 1), "job", "LoRA", 7_000_000_000, key) is False
    said = get(browser, f"/jobs/{key}").text(".sentence")
    assert said.startswith("Ready to begin. Waits for 7.00 GB of the GPU's memory; 6.00 of 8.00 GB are free. Starter (2.00 GB) is pinned")
    assert f"job {key} 7 GB, waits" in get(browser, "/machines").text("#machine-1")
    with transaction() as session:
        devices.give_back(session, "one:78/interactive")
        assert devices.ask(session, device, devices.job_holder(key, 1), "job", "LoRA", 7_000_000_000, key) is True
    assert "Waits for" not in get(browser, f"/jobs/{key}").text(".sentence")
