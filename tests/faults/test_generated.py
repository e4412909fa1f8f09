"""A generated run: three people create, evaluate, cancel, retry, delete and upload over the HTTP API while something breaks every 20 seconds, from the tenth on.

`--generator-seconds` says how long, `--generator-seed` replays what a run says at its end. The same seed gives the same wishes and the same
strikes; how they fall together depends on the machine.
"""

import csv
import io
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import psutil
import pytest
from sqlalchemy import select

from app import queue
from app.db import reading, transaction
from app.domain import evaluation as evaluations
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.user import User
from app.errors import Unavailable
from app.services.accounts import token_for
from tests.faults.accounting import wrong
from tests.faults.history import History
from tests.faults.site import Site, until
from tests.faults.test_room_faults import mounted
from tests.services.uploading import table

pytestmark = [pytest.mark.faults, pytest.mark.slow]

STRIKE_SECONDS = 20.0
"""From one strike's beginning to the next one's: what a strike takes is part of it."""
STEPS = (3, 20, 60)
"""Lengths of runs; all runs of one length are the same run, so that their curves can be compared."""
DISK = "96m"
"""The size of the disk that jobs write to, where one can be mounted: enough for all of them, little enough to be filled at once."""
MOST_WAITING = 1
"""Jobs that one person lets wait before ordering more."""
ACCEPTS = {"create": 202, "evaluate": 202, "upload": 201}
"""What is accepted, and with which answer."""
QUIET_SECONDS = 600.0
"""How long what waits at the end has to get done, with everything mended."""


class Someone(threading.Thread):
    """One person with wishes drawn from a seed. Everything said and heard goes into the history."""

    def __init__(self, site: Site, name: str, token: str, seed: str, history: History, over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.site, self.token, self.history, self.over = site, token, history, over
        self.random, self.prompt = random.Random(seed), site.prompt
        self.jobs: dict[int, int] = {}
        """The jobs that were accepted, with their datasets."""
        self.datasets: dict[int, str] = {}
        """What this person was told to have uploaded, and has not deleted: the lines of each file."""
        self.deleted: set[int] = set()
        self.discarded: set[int] = set()
        """Jobs that were deleted, or may have been: the answer did not come."""

    def run(self) -> None:
        wishes: list[Callable[[], None]] = [
            self.create, self.create, self.evaluate, self.look, self.look, self.look, self.cancel, self.retry, self.upload, self.delete, self.discard
        ]  # fmt: skip
        while not self.over.is_set():
            self.random.choice(wishes)()
            self.over.wait(self.random.uniform(0.2, 2.5))

    def say(self, what: str, method: str, path: str, thing: str = "", **values: Any) -> tuple[int, Any]:
        """A call; status 0 is one that was not answered, so that nobody knows what became of it."""
        sent = self.history.now()
        try:
            status, answer = self.site.call(method, path, self.token, **values)
        except httpx2.HTTPError as error:
            status, answer = 0, repr(error)
        if not thing and isinstance(answer, dict) and "id" in answer:
            thing = f"dataset {answer['id']}" if "datasets" in path else f"job {answer.get('job', answer['id'])}"
        self.history.add(sent, self.name, what, thing, status, answer)
        return status, answer

    def has_enough(self) -> bool:
        with reading() as session:
            return len(session.scalars(select(Job.id).where(Job.state == "queued", Job.id.in_(self.jobs))).all()) > MOST_WAITING

    def some_dataset(self) -> int:
        return self.random.choice([self.site.toys.dataset_id, *list(self.datasets)[-1:]])

    def create(self) -> None:
        if self.has_enough():
            return
        dataset = self.some_dataset()
        order = self.site.order(max_steps=self.random.choice(STEPS)) | {"dataset": dataset, "priority": self.random.choice((0, 0, 5))}
        status, answer = self.say("create", "POST", "/api/v1/jobs", json=order)
        if status == 202:
            self.jobs[answer["id"]] = dataset

    def evaluate(self) -> None:
        if self.has_enough():
            return
        dataset = self.some_dataset()
        order = {"model": self.site.base.id, "prompt_version": self.prompt, "dataset": dataset, "split": "validation"}
        status, answer = self.say("evaluate", "POST", "/api/v1/evaluations", json=order)
        if status == 202:
            self.jobs[answer["job"]] = dataset

    def look(self) -> None:
        if self.jobs:
            key = self.random.choice(list(self.jobs))
            self.say("look", "GET", f"/api/v1/jobs/{key}", f"job {key}")

    def cancel(self) -> None:
        if self.jobs and self.random.random() < 0.5:
            key = self.random.choice(list(self.jobs))
            self.say("cancel", "POST", f"/api/v1/jobs/{key}/cancel", f"job {key}")

    def retry(self) -> None:
        if self.jobs:
            key = self.random.choice(list(self.jobs))
            self.say("retry", "POST", f"/api/v1/jobs/{key}/retry", f"job {key}")

    def discard(self) -> None:
        """Refused while it is not over, and when a model came of it."""
        if self.jobs:
            key = self.random.choice(list(self.jobs))
            status, _ = self.say("delete", "DELETE", f"/api/v1/jobs/{key}", f"job {key}")
            if status in (0, 204):
                self.discarded.add(key)

    def upload(self) -> None:
        text = table(self.random.randint(60, 200), labels=2, seed=self.random.randrange(10**6))
        status, answer = self.say("upload", "POST", "/api/v1/datasets", files={"file": ("some.csv", text.encode())})
        if status == 201:
            self.datasets[answer["id"]] = text

    def lost(self) -> Iterator[str]:
        """Datasets that are not as they were uploaded, once all is over."""
        for key, text in self.datasets.items():
            self.say("reveal", "POST", f"/api/v1/datasets/{key}/reveal", f"dataset {key}", json={"reason": "to compare all of it"})
            status, exported = self.say("export", "GET", f"/api/v1/datasets/{key}/export", f"dataset {key}")
            if status != 200 or sorted(_rows(exported)) != sorted(_rows(text)):
                yield f"dataset {key} is not what {self.name} uploaded: {status} {str(exported)[:200]}"

    def delete(self) -> None:
        if self.datasets:
            key = self.random.choice(list(self.datasets))
            status, _ = self.say("delete", "DELETE", f"/api/v1/datasets/{key}", f"dataset {key}")
            if status in (0, 204):
                del self.datasets[key]
                self.deleted.add(key)


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """The texts and labels of a CSV file, which may have more columns."""
    return ((row["text"], row["label"]) for row in csv.DictReader(io.StringIO(text)))


class Nemesis:
    """Strikes drawn from a seed, each kind once before any comes again. Afterwards everything that was broken is started anew."""

    def __init__(self, site: Site, seed: str, history: History) -> None:
        self.site, self.history, self.random = site, history, random.Random(seed)
        self.workers = {name: site.worker(name) for name in ("one", "two")}
        self._left: list[Callable[[], str]] = []

    def strike(self) -> None:
        if not self._left:
            self._left = [self.kill_job, self.kill_worker, self.stop, self.empty_broker, self.hole, self.cut, self.wake, self.leave, self.skew, self.fill]
            self.random.shuffle(self._left)
        sent, what = self.history.now(), self._left.pop()
        self.history.add(sent, "nemesis", what.__name__, "", 0, what())

    def _some(self) -> str:
        return self.random.choice(sorted(self.workers))

    def _anew(self, name: str, **faults: Any) -> None:
        self.workers[name] = self.site.worker(name, wait=False, **faults)

    def kill_job(self) -> str:
        found = [child for worker in self.workers.values() for child in self.site.children(worker)]
        for child in found[:1]:
            with suppress(psutil.Error):
                child.kill()
        return f"killed {len(found[:1])}"

    def kill_worker(self) -> str:
        name = self._some()
        self.workers[name].kill()
        self.workers[name].wait()
        self._anew(name)
        return name

    def stop(self) -> str:
        """Longer than a lease: another one takes over."""
        name = self._some()
        self.site.signal(self.workers[name], signal.SIGSTOP)
        time.sleep(8)
        self.site.signal(self.workers[name], signal.SIGCONT)
        return name

    def empty_broker(self) -> str:
        self.site.kill_broker()
        time.sleep(2)
        self.site.start_broker()
        return "restarted empty"

    def hole(self) -> str:
        self.site.tap.hole()
        time.sleep(6)
        self.site.tap.mend()
        return "answered nothing for 6 s"

    def cut(self) -> str:
        self.site.tap.cut()
        time.sleep(6)
        self.site.tap.mend()
        return "refused for 6 s"

    def wake(self) -> str:
        with suppress(Unavailable):
            for _ in range(20):
                queue.wake("gpu")
        return "20 wake-ups"

    def leave(self) -> str:
        name = self._some()
        self.workers[name].terminate()
        self.workers[name].wait(40)
        self._anew(name)
        return name

    def skew(self) -> str:
        name, hours = self._some(), self.random.choice((-1, 1))
        self.workers[name].kill()
        self.workers[name].wait()
        self._anew(name, skew=3600 * hours)
        return f"{name} is {hours} h off"

    def fill(self) -> str:
        """What others wrote takes the last byte of the disk that jobs write to."""
        disk = self.site.storage / "jobs"
        if not disk.is_mount():
            return "no disk to fill"
        filler = disk / "filler"
        with suppress(OSError):  # a run that writes meanwhile may have had the last of it
            filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        time.sleep(6)
        filler.unlink(missing_ok=True)
        return "full for 6 s"

    def mend(self) -> None:
        """Both workers as they should be."""
        for name, worker in self.workers.items():
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            self._anew(name)


def people(site: Site, seed: int, history: History, over: threading.Event) -> list[Someone]:
    found = []
    for name in ("Ben", "Cleo", "Dan"):
        with transaction() as session:
            account = User(workspace_id=site.person.workspace_id, name=name, password_hash="!", role="member", disabled_at=None, seen_at=None)
            session.add(account)
        found.append(Someone(site, name, token_for(name, "faults"), f"{seed}/{name}", history, over))
    return found


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
def test_nothing_accepted_is_lost_doubled_or_contradicted(site: Site, generator: tuple[int, float], request: pytest.FixtureRequest) -> None:
    seed, seconds = generator
    history, over = History(), threading.Event()
    if mounted(site.storage / "jobs", DISK):
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(site.storage / "jobs")], check=False))
    site.web()
    nemesis = Nemesis(site, f"{seed}/nemesis", history)
    everybody = people(site, seed, history, over)
    for one in everybody:
        one.start()
    strike, end = time.monotonic() + STRIKE_SECONDS / 2, time.monotonic() + seconds
    while strike < end:
        time.sleep(max(0.0, strike - time.monotonic()))
        nemesis.strike()
        strike += STRIKE_SECONDS
    time.sleep(max(0.0, end - time.monotonic()))
    over.set()
    for one in everybody:
        one.join(60)
    nemesis.mend()
    accepted = [key for one in everybody for key in one.jobs]
    told = f"seed {seed}, {seconds:.0f} s, {len(history.calls)} calls, {len(accepted)} jobs\n"
    followed = _deleted(site, everybody)
    gone = followed | _discarded(site, everybody)
    until(
        lambda: all(site.job(key).over for key in accepted if key not in gone),
        QUIET_SECONDS,
        lambda: f"{told}not over: {_waiting(site, accepted, gone)}\n{history.end()}",
    )
    for key in accepted:
        everybody[0].say("look", "GET", f"/api/v1/jobs/{key}", f"job {key}")
    until(lambda: not wrong(site, accepted, gone), 60, lambda: f"{told}{'; '.join(wrong(site, accepted, gone))}\n{history.end()}")
    lost = [said for one in everybody for said in one.lost()]
    assert not lost, f"{told}{'; '.join(lost)}\n{history.end()}"
    contradicted = list(history.contradictions({f"job {key}" for key in followed}))
    assert not contradicted, f"{told}{contradicted[0]}\n{history.end()}"
    _answered(history, seconds, told)
    _same_curves(site, accepted, gone, told)
    _same_answers(site, accepted, gone, told)


def _answered(history: History, seconds: float, told: str) -> None:
    """Nothing that struck was a reason to refuse an order or a file: every one was accepted, and there were some in every minute."""
    for what, accepts in ACCEPTS.items():
        found = [call for call in history.calls if call.what == what]
        refused = [call for call in found if call.status != accepts]
        assert not refused, f"{told}{refused[0]}"
        assert len(found) >= seconds / 60, f"{told}{len(found)} times {what}"


def _deleted(site: Site, everybody: list[Someone]) -> set[int]:
    """Jobs that went with their dataset, because somebody said so."""
    with reading() as session:
        there = set(session.scalars(select(Job.id)))
    return {key for one in everybody for key, dataset in one.jobs.items() if dataset in one.deleted and key not in there}


def _discarded(site: Site, everybody: list[Someone]) -> set[int]:
    """Jobs that somebody deleted, by the answer or, where none came, by the row that is not there."""
    with reading() as session:
        there = set(session.scalars(select(Job.id)))
    return {key for one in everybody for key in one.discarded if key not in there}


def _waiting(site: Site, accepted: list[int], gone: set[int]) -> str:
    return ", ".join(f"{key} {site.job(key).state} {site.outcomes(key)}" for key in accepted if key not in gone and not site.job(key).over)


def _same_curves(site: Site, accepted: list[int], gone: set[int], told: str) -> None:
    """Runs with the same settings ended with the same losses and weights, whatever happened to each."""
    curves: dict[int, list[tuple[int, Any]]] = {}
    for key in accepted:
        if key not in gone and (job := site.job(key)).kind == "tune" and job.state == "succeeded" and job.settings["dataset"] == site.toys.reference:
            curves.setdefault(job.settings["parameters"]["max_steps"], []).append((key, site.curve(key)))
    assert curves, f"{told}not one run came to its result"
    for steps, found in curves.items():
        assert all(curve == found[0][1] for _, curve in found), f"{told}runs of {steps} steps differ: {[key for key, _ in found]}"


def _same_answers(site: Site, accepted: list[int], gone: set[int], told: str) -> None:
    """Evaluations of the same rows have an answer to each of them once, and all the same."""
    with reading() as session:
        keys = [key for key in accepted if key not in gone and (job := site.job(key)).state == "succeeded" and job.settings["dataset"] == site.toys.reference]
        found = session.scalars(select(Evaluation).where(Evaluation.job_id.in_(keys))).all()
        answers = [[(row.example_id, row.answer, row.likelihoods) for row in evaluations.predictions(session, one.id)] for one in found]
    assert answers and len(answers[0]) == site.toys.splits["validation"], f"{told}not one evaluation came to its result"
    assert all(one == answers[0] for one in answers), f"{told}evaluations of the same rows differ: {[one.id for one in found]}"
