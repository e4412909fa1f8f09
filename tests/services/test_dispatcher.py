"""The threads of web go on, whatever one of their duties meets."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import dispatcher, queue
from app.db import reading, transaction
from app.dispatcher import Clock, Dispatcher, sweep
from app.domain import job as protocol
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.job import Job
from app.domain.worker import Lease
from app.errors import NoRoom, Unavailable
from app.rounds import Rounds
from app.services import jobs
from tests.conftest import forget
from tests.faults.site import until
from tests.faults.tap import Tap
from tests.rows import add_dataset, add_model

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("error", [Unavailable("away", "It is away.", ""), ZeroDivisionError()])
def test_a_duty_that_fails_keeps_neither_the_others_nor_the_next_round_from_their_turn(error: Exception) -> None:
    nudged, done = threading.Event(), list[str]()

    def fails() -> None:
        done.append("failed")
        raise error

    rounds = Rounds("test", [fails, lambda: done.append("well")], nudged)
    nudged.set()
    rounds.start()
    until(lambda: len(done) >= 4, 20)
    rounds.stop()
    assert done[:4] == ["failed", "well", "failed", "well"] and not rounds.is_alive()


def test_without_a_broker_the_dispatcher_still_says_that_the_web_process_is_there(person: Who) -> None:
    jobs.start_tune(person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=1)

    def is_there() -> bool:
        with reading() as session:
            return bool(workers.alive(session, workers.WEB))

    thread = Dispatcher()
    thread.start()
    until(is_there, 20)
    thread.stop()


@dataclass
class Held:
    """A job in the hands of a worker that says nothing, and the clock of whoever sweeps. Doubts last an hour here, and end when the test says so."""

    person: Who
    job: int
    clock: Clock
    order: dict[str, Any]
    """What such another job is asked for with."""

    def run_out(self) -> None:
        with transaction() as session:
            session.get_one(Job, self.job).lease_until = 1

    def believe(self) -> None:
        """As if the length of a lease had gone by."""
        self.clock._doubted_until = 0.0

    def state(self) -> str:
        sweep(self.clock)
        return self.seen()

    def seen(self) -> str:
        return jobs.find(self.person, self.job).job.state


@pytest.fixture
def held(person: Who, broker: str) -> Held:
    del broker
    order: dict[str, Any] = {
        "model": add_model(person),
        "dataset": add_dataset(person).dataset_id,
        "method": "lora",
        "parameters": {},
        "prompt_version": None,
        "seed": 1,
    }
    jobs.start_tune(person, **order)
    with transaction() as session:
        job = protocol.claim(session, "gpu", "w1", 3600)
        assert job is not None
        return Held(person, job.id, Clock(3600.0), order)


def test_a_server_that_was_started_again_lets_workers_say_that_they_live_before_it_believes_their_leases(held: Held) -> None:
    held.run_out()
    assert held.state() == "running" == held.state(), "its worker may only not have come back yet"
    held.believe()
    assert held.state() == "queued", "nobody heard of its worker"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_workers_that_could_not_write_have_a_leases_time_when_the_database_has_room_again(held: Held) -> None:
    """A database whose disk is full answers reads as ever, so neither its clock nor the looks at it show a gap."""
    held.believe()
    assert held.state() == "running"
    held.run_out()
    with transaction() as session:
        session.execute(text("CREATE TRIGGER no_room BEFORE INSERT ON lease BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"))
    with pytest.raises((NoRoom, SQLAlchemyError), match="full"):
        held.state()
    with transaction() as session:
        session.execute(text("DROP TRIGGER no_room"))
    assert held.state() == "running", "its worker could not say that it lives"
    held.believe()
    assert held.state() == "queued", "nobody heard of its worker"


def test_of_two_web_processes_one_dispatches_and_the_other_takes_over_when_it_is_gone(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look all along, so the second need not begin to: it takes back what is silent at once."""
    other = Clock(3600.0)
    other._doubted_until = 0.0

    def other_sweeps() -> list[str]:
        with monkeypatch.context() as there:
            there.setattr(dispatcher, "holder", lambda: "another machine:1")
            return sweep(other)

    assert sweep(held.clock) == [], "it took the duty, and nothing waits"
    jobs.start_tune(held.person, **held.order)
    held.run_out()
    assert other_sweeps() == [] and held.seen() == "running", "the first one does it"
    assert sweep(held.clock) == ["gpu"] and sweep(held.clock) == []
    assert other_sweeps() == [] and held.seen() == "running"
    with transaction() as session:
        session.get_one(Lease, "dispatcher").until = 1
    assert other_sweeps() == ["gpu"] and held.seen() == "queued", "the first one is gone"
    jobs.start_tune(held.person, **held.order)
    assert sweep(held.clock) == [], "it came back, and the duty is another's"
    assert other_sweeps() == ["gpu"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_broker_that_keeps_everybody_waiting_keeps_no_job_from_being_taken_back(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wake-up is tried for longer than two looks may lie apart, and one is due at every look, because a second job waits."""
    tap = Tap(tmp_path / "nobody.sock")
    tap.hole()
    monkeypatch.setenv("FETTLE_REDIS_URL", tap.address)
    monkeypatch.setenv("FETTLE_LEASE_SECONDS", "3")
    forget()
    monkeypatch.setattr(queue, "TIMEOUT", dispatcher.UNEVEN_SECONDS + 1)
    monkeypatch.setattr(dispatcher, "RESEND_SECONDS", 0)
    jobs.start_tune(held.person, **held.order)
    thread = Dispatcher()
    held.clock = thread._clock
    held.believe()
    thread.start()
    until(lambda: tap._open, 20, "nobody is woken")
    held.run_out()
    until(lambda: held.seen() == "queued", 25, "the dispatcher waits for the broker instead of looking")
    tap.cut()
    thread.stop()
