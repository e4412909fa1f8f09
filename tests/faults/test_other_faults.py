"""What else breaks: the database, the web process, the engine, a migration, the files of a model, a dataset that changes meanwhile."""

import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.domain import ending
from app.domain import job as protocol
from app.domain.access import Who
from app.domain.job import Fenced, Job
from app.domain.model import Model
from app.errors import Conflict
from app.migrate import newest
from app.services import experiments, jobs
from tests.faults.accounting import wrong
from tests.faults.site import Site, until
from tests.faults.test_job_faults import Control
from tests.house.rules import ROOT
from tests.installation import environment, free_port
from tests.services.uploading import table
from worker.engine.folders import fingerprint, whole

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@POSTGRESQL
@pytest.mark.long
def test_f19_a_database_that_is_down_at_the_end_is_waited_for(site: Site, postgresql_server: Engine, database: str) -> None:
    """It refuses everybody for 12 seconds, more than two leases: the result is registered when it is back, by whoever may."""
    site.web()
    site.worker(wait_before_finish=True)
    key = site.tune(max_steps=5)
    until((site.marks / "before_finish").exists)
    name = make_url(database).database
    with postgresql_server.connect() as admin:
        admin.execute(text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false'))
        admin.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
        (site.marks / "go_on").touch()
        time.sleep(12)
        admin.execute(text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true'))
    until(lambda: _state(site, key) == "succeeded", 90)
    until(lambda: not wrong(site, [key], set()), 30)
    assert not any("Went on" in line for line in site.log(key))
    assert len([outcome for outcome in site.outcomes(key) if outcome == "succeeded"]) == 1


@ONE
@pytest.mark.long
def test_f19_a_database_file_that_another_process_locks_while_a_run_ends_is_waited_for(site: Site, control: Control, database: str) -> None:
    """For longer than anybody waits for SQLite's write lock (15 s), and than four leases, in mid-run and at its end: every loss and the result are written."""
    wanted = control(site)
    site.web()
    site.worker(slow=0.05, wait_before_finish=True)
    key = site.tune()
    until(lambda: site.reached(key) > 3)
    with _locked(database):
        held_at = site.reached(key)
        time.sleep(LOCKED_SECONDS)
        assert site.reached(key) == held_at < 80, "nobody wrote meanwhile"
    until((site.marks / "before_finish").exists)
    with _locked(database):
        (site.marks / "go_on").touch()
        time.sleep(LOCKED_SECONDS)
        assert not site.job(key).over
    site.succeeded(key, 90)
    until(lambda: not wrong(site, [key], set()), 30)
    assert site.outcomes(key).count("succeeded") == 1 and site.curve(key) == wanted
    assert not any("Went on" in line for line in site.log(key)), "nothing was trained again"


LOCKED_SECONDS = 20.0


@contextmanager
def _locked(database: str) -> Iterator[None]:
    """Another process holds SQLite's write lock."""
    holds = f"import sqlite3; one = sqlite3.connect({make_url(database).database!r}, timeout=60); one.execute('BEGIN IMMEDIATE'); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield
        holder.communicate("\n", timeout=10)


def _state(site: Site, key: int) -> str:
    try:
        return site.job(key).state
    except SQLAlchemyError:
        return "nobody knows"


@pytest.mark.parametrize("rounds", [250])
def test_f13_a_cancel_and_the_end_at_the_same_moment_agree(person: Who, rounds: int) -> None:
    """500 rounds, half of them on each database: what the cancel was told is what the job is. One of both comes up to 50 ms later, mostly less than 10."""
    draw, ends = random.Random(13), Counter[str]()
    for number in range(rounds):
        gap = max(-0.05, min(0.05, draw.gauss(0, 0.01)))
        with transaction() as session:
            key = protocol.add(session, person, "tune", "a tune", {}).id
            job = protocol.claim(session, "gpu", "w", 30)
        assert job is not None
        told: list[str] = []
        at_once = Barrier(2)

        def cancel(key: int = key, told: list[str] = told, at_once: Barrier = at_once, gap: float = gap) -> None:
            at_once.wait()
            time.sleep(max(0.0, gap))
            try:
                told.append(jobs.cancel(person, key).state)
            except Conflict:
                told.append("too late")

        thread = Thread(target=cancel)
        thread.start()
        at_once.wait()
        time.sleep(max(0.0, -gap))
        try:
            with transaction() as session:
                ending.succeed(session, key, job.lease_token or "", {"model": 1})
        except Fenced:
            with transaction() as session:
                ending.stop(session, key, job.lease_token or "")
        thread.join()
        with transaction() as session:
            row = session.get_one(Job, key)
            outcomes = [attempt.outcome for attempt in protocol.attempts(session, key)]
        assert (told[0], row.state, row.result) in (("stopping", "cancelled", None), ("too late", "succeeded", {"model": 1})), (number, gap)
        assert outcomes == [row.state]
        ends[row.state] += 1
    assert min(ends["cancelled"], ends["succeeded"]) >= rounds // 10, f"one side all but always won: {ends}"


@ONE
@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.long
def test_f21_a_web_process_killed_during_an_upload_leaves_nothing(site: Site, share: float) -> None:
    web = site.web()
    body = table(40_000, labels=2).encode()
    boundary = "faults"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="big.csv"\r\nContent-Type: text/csv\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    with socket.create_connection(("127.0.0.1", site.port)) as wire:
        length = len(head) + len(body) + len(tail)
        wire.sendall(
            f"POST /api/v1/datasets HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nAuthorization: Bearer {site.token}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        wire.sendall(head + body[: int(len(body) * share)])
        time.sleep(0.5)
        web.kill()
        web.wait()
    site.web()
    status, found = site.call("GET", "/api/v1/datasets")
    assert status == 200 and [one["id"] for one in found["items"]] == [site.toys.dataset_id]
    assert not wrong(site, [], set())
    status, answer = site.call("POST", "/api/v1/datasets", files={"file": ("big.csv", body)})
    assert status == 201 and answer["rows"] == 40_000


@ONE
@pytest.mark.long
def test_f21_a_web_process_killed_between_the_file_and_its_row_leaves_no_stray(site: Site) -> None:
    site.environment["TEST_FAULTS"] = '{"kill_after_store": true}'
    web = site.web()
    folder, text = site.folder / "data" / "uploads", table(400, labels=2).encode()
    with pytest.raises(httpx2.HTTPError):
        site.call("POST", "/api/v1/datasets", files={"file": ("rows.csv", text)})
    web.wait(30)
    assert len(list(folder.glob("upload-*"))) == 1, "the file is whole, and no row knows it"
    site.web()
    assert site.call("GET", "/api/v1/uploads")[1]["items"] == []
    until(lambda: not list(folder.glob("upload-*")), 60, "a file that nobody knows is still there")
    status, answer = site.call("POST", "/api/v1/datasets", files={"file": ("rows.csv", text)})
    assert status == 201 and answer["rows"] == 400


@ONE
@pytest.mark.long
def test_f27_and_f28_changed_files_are_named_before_they_are_used(site: Site, tmp_path: Path) -> None:
    site.worker()
    key = site.tune(max_steps=3)
    site.succeeded(key)
    model = jobs.find(site.person, key).model
    assert model is not None
    evaluation = {"model": model.id, "dataset": site.toys.dataset_id, "split": "validation", "answer": "likelihood"}
    weights = site.storage / model.folder / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    site.web()
    status, made = site.call("POST", "/api/v1/evaluations", json=evaluation)
    assert status == 202
    failed = _ended_evaluation(site, made["id"])
    assert failed["code"] == "files_changed" and "adapter_model.safetensors" in failed["message"] and failed["advice"]

    base = tmp_path / "data" / "models" / "sealed"
    with whole(base) as folder:
        for file in (tmp_path / "data" / "models" / "tiny").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    with transaction() as session:
        row = session.get_one(Model, site.base.id)
        row.folder, row.content_hash = "sealed", fingerprint(base)
    again = site.tune(max_steps=3)
    site.succeeded(again)
    config = base / "config.json"
    config.write_text(config.read_text() + " ")
    last = site.ended(site.tune(max_steps=3))
    assert last.state == "failed" and (last.error or {})["code"] == "files_changed" and "config.json" in (last.error or {})["message"]


def _ended_evaluation(site: Site, key: int) -> dict[str, str]:
    until(lambda: site.call("GET", f"/api/v1/evaluations/{key}")[1]["state"] in ("failed", "succeeded"))
    error: dict[str, str] = site.call("GET", f"/api/v1/evaluations/{key}")[1]["error"]
    return error


GENERATE = {"prompt": {"instruction": "say"}, "variables": {"input": "x"}, "parameters": {"max_tokens": 450, "min_tokens": 450}}
COMPLETE = {"prompt": "say x", "max_tokens": 450, "min_tokens": 450, "stream_options": {"include_usage": True}}


@ONE
@pytest.mark.long
@pytest.mark.parametrize(("path", "wanted"), [("/api/v1/generate", GENERATE), ("/v1/completions", COMPLETE)])
def test_f29_an_engine_that_is_killed_in_mid_answer_ends_the_stream_with_an_error(site: Site, path: str, wanted: dict[str, Any]) -> None:
    site.web()
    engine = site.engine()
    heard: list[str] = []
    began = 0.0
    with httpx2.stream(
        "POST",
        f"http://127.0.0.1:{site.port}{path}",
        json=wanted | {"model": site.base.alias, "stream": True},
        headers={"Authorization": f"Bearer {site.token}"},
        timeout=180,
    ) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            heard.append(line)
            if not began and line.startswith("data:") and "text" in line:
                site.signal(engine, signal.SIGKILL)
                began = time.monotonic()
    assert began and time.monotonic() - began < 10, heard[:10]
    last = [line for line in heard if line][-1]
    assert json.loads(last.removeprefix("data:"))["error"]["code"] == "engine_gone", heard[-3:]
    assert ("event: error" in heard) == (wanted is GENERATE), "the stream that OpenAI's clients read has no names of events"
    said = "\n".join(heard)
    assert not any(end in said for end in ("event: done", "[DONE]", '"finish_reason": "', "output_tokens", "completion_tokens")), heard[-5:]


@ONE
def test_f23_an_engine_whose_clock_is_an_hour_ahead_answers_the_lab_and_programs(site: Site) -> None:
    site.web()
    site.engine(skew=3600)
    written = {"prompt": {"instruction": "say"}, "variables": {"input": "x"}, "parameters": {"max_tokens": 4}}
    status, answer = site.call("POST", "/api/v1/generate", json={"model": site.base.id, **written})
    assert status == 200 and answer["output_tokens"], answer
    status, answer = site.call("POST", "/v1/completions", json={"model": site.base.alias, "prompt": "a b", "max_tokens": 4})
    assert status == 200 and answer["usage"]["completion_tokens"], answer
    ahead = re.search(r"Its clock is (\d+)\.\d s ahead", site.page("/machines"))
    assert ahead is not None and 3590 <= int(ahead[1]) <= 3600, "else its clock was not wrong"


@ONE
@pytest.mark.long
def test_f31_a_web_process_killed_during_an_experiment_changes_nothing_of_it(site: Site) -> None:
    web = site.web()
    site.worker()
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "few_shot", "shots": 2},
        {"technique": "lora", "parameters": {"max_steps": 10, "rank": 4}},
    ]
    key = experiments.create(site.person, name="toys", dataset=site.toys.dataset_id, model=site.base.id, rungs=rungs)
    until(lambda: any(row.validation for row in experiments.find(site.person, key).rows))
    web.kill()
    web.wait()
    time.sleep(2)
    site.web()
    until(lambda: experiments.find(site.person, key).state == "finished", 240)
    rows = experiments.find(site.person, key).rows
    assert [row.state for row in rows] == ["succeeded"] * 3 and all(row.scores for row in rows)
    with reading() as session:
        found = session.scalars(select(Job).where(Job.queue == "gpu")).all()
    assert sorted(job.kind for job in found) == ["evaluate"] * 6 + ["tune"], "validation rows and test rows of each rung, and one tuning"
    assert all(site.outcomes(job.id) == ["succeeded"] for job in found)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3])
@pytest.mark.long
def test_f32_a_migration_that_was_killed_is_finished_by_the_next(tmp_path: Path, delay: float) -> None:
    given = environment(tmp_path, free_port())
    first = subprocess.Popen([sys.executable, "-m", "app.cli", "migrate"], cwd=ROOT, env=given)
    until(lambda: (tmp_path / "data" / "fettle.db").exists() or first.poll() is not None, 60)
    time.sleep(delay)
    first.kill()
    first.wait()
    done = subprocess.run([sys.executable, "-m", "app.cli", "migrate"], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    assert str(newest()) in done.stdout
    bind = create_engine(f"sqlite:///{tmp_path / 'data' / 'fettle.db'}")
    with bind.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [newest()]
        assert connection.execute(text("SELECT count(*) FROM job")).scalar() == 0
    bind.dispose()


@ONE
def test_f32_a_worker_refuses_a_schema_that_it_does_not_know(site: Site) -> None:
    with transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    worker = site.worker("old", wait=False)
    assert worker.wait(60) == 1
    said = (site.logs / "worker-old.log").read_text()
    assert "from_the_future" in said and "fettle migrate" in said and "Traceback" not in said


@ONE
@pytest.mark.long
def test_f35_a_job_trains_on_the_version_it_was_accepted_with(site: Site) -> None:
    site.web()
    key = site.tune(max_steps=3)
    rows = b"input,output\nit is good 99,positive\nit is bad 99,negative\n"
    status, changed = site.call("POST", f"/api/v1/datasets/{site.toys.dataset_id}/append", files={"file": ("more.csv", rows)})
    assert status == 201 and changed["version"] == 2, changed
    site.worker()
    job = site.succeeded(key)
    assert job.settings["dataset"] == site.toys.reference
    model = jobs.find(site.person, key).model
    assert model is not None and model.dataset_version_id == site.toys.id
