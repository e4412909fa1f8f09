"""The threads of web go on, whatever one of their duties meets."""

import threading
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.dispatcher import Clock, Dispatcher, sweep
from app.domain import job as protocol
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.job import Job
from app.errors import NoRoom, Unavailable
from app.rounds import Rounds
from app.services import jobs
from tests.faults.site import until
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

    dispatcher = Dispatcher()
    dispatcher.start()
    until(is_there, 20)
    dispatcher.stop()


@dataclass
class Held:
    """A job in the hands of a worker that says nothing, and the clock of whoever sweeps. Doubts last an hour here, and end when the test says so."""

    person: Who
    job: int
    clock: Clock

    def run_out(self) -> None:
        with transaction() as session:
            session.get_one(Job, self.job).lease_until = 1

    def believe(self) -> None:
        """As if the length of a lease had gone by."""
        self.clock._doubted_until = 0.0

    def state(self) -> str:
        sweep(self.clock)
        return jobs.find(self.person, self.job).job.state


@pytest.fixture
def held(person: Who, broker: str) -> Held:
    del broker
    jobs.start_tune(person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=1)
    with transaction() as session:
        job = protocol.claim(session, "gpu", "w1", 3600)
        assert job is not None
        return Held(person, job.id, Clock(3600.0))


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
