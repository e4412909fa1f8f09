"""Who gets what on a machine with two GPUs and a processor. The devices are simulated as what they are here: rows."""

import os
import threading
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.db import transaction
from app.domain import device as devices
from app.domain import job as jobs
from app.domain.access import Who
from app.domain.device import MemoryLease
from app.domain.model import Model
from app.errors import Conflict, Invalid
from app.settings import settings
from tests.rows import add_dataset, add_model
from tests.worker.test_parent import until
from worker import devices as machine
from worker import presence
from worker.engine.reporting import NullReporter
from worker.engine.shelf import Waits
from worker.room import Keeper, LeasedRoom

CARDS = [
    {"name": "cuda:0", "title": "A card", "memory": 1000},
    {"name": "cuda:1", "title": "A card", "memory": 1000},
    {"name": "cpu:0", "title": "8 CPU cores", "memory": 5000},
]


@pytest.fixture(autouse=True)
def cards(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del database
    monkeypatch.setattr(machine, "_there", lambda: CARDS)
    monkeypatch.setattr(machine, "_shared", lambda card: card["memory"])  # these few bytes are what is left after the driver's and the engine's own


@pytest.fixture
def job(person: Who) -> int:
    """A running job that has the first GPU for ten minutes more."""
    from app.services import jobs as service

    made = service.start_tune(
        person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=1
    )
    with transaction() as session:
        claimed = jobs.claim(session, "gpu", "here:1", 60)
        assert claimed is not None
        jobs.write(session, claimed.id, claimed.lease_token or "", eta_seconds=600.0)
    return made.job.id


def hold(job: int, needed: int) -> bool:
    with transaction() as session:
        devices.found(session, settings().machine_name, machine.here())
        device = devices.find(session, settings().machine_name, "cuda:0", lock=True)
        assert device is not None
        return devices.ask(session, device, devices.job_holder(job, 1), "job", "LoRA", needed, job)


def names() -> dict[str, list[str]]:
    """Titles of the leases by device."""
    with transaction() as session:
        found: dict[str, Any] = {str(card["name"]): devices.find(session, settings().machine_name, str(card["name"])) for card in CARDS}
        return {name: [lease.title for lease in devices.leases(session, device)] for name, device in found.items() if device}


def test_the_lab_answers_on_the_cpu_while_a_job_has_the_gpu_and_comes_back(person: Who, job: int) -> None:
    room = LeasedRoom("here:9/interactive")
    with transaction() as session:
        row = session.get_one(Model, 1)
        room.know("starter", row)
        running = session.get_one(jobs.Job, job)
    assert room.take("starter", 400) == ("cuda:0", None)
    assert hold(job, 700) is False, "the job waits until the model is given back"
    room.give_back(["starter"])
    assert hold(job, 700) is True
    where, notice = room.take("starter", 400)
    assert where == "cpu" and notice is not None and notice["text"] == f"The GPU is with job {job}" and notice["instead"] == "cpu"
    assert notice["until"] % 60_000 == 0 and names() == {"cuda:0": ["LoRA"], "cuda:1": [], "cpu:0": ["Starter"]}
    machine.free(running)
    assert room.take("starter", 400) == ("cuda:0", None)
    assert names() == {"cuda:0": ["Starter"], "cuda:1": [], "cpu:0": []}


def test_a_job_that_waits_for_a_pinned_model_does_not_stop_the_lab(job: int) -> None:
    """Not even for the models that it would have to leave alone: it is the pinned one that it waits for."""
    room = LeasedRoom("here:9/interactive")
    room.take("pinned", 400)
    with transaction() as session:
        devices.mark(session, room.holder, [], ["pinned"])
    assert hold(job, 700) is False
    assert room.take("other", 500) == ("cuda:0", None)
    with transaction() as session:
        devices.mark(session, room.holder, [], [])
    room.give_back(["other"])
    where, notice = room.take("third", 400)
    assert where == "cpu" and notice is not None and notice["text"] == f"The GPU is being freed for job {job}" and notice["until"] is None


def test_a_model_that_fits_nowhere_waits_and_says_how_much_is_missing(job: int) -> None:
    room = LeasedRoom("here:9/interactive")
    hold(job, 700)
    with pytest.raises(Waits, match=f"The GPU is with job {job}") as caught:
        room.take("huge", 6000)
    assert caught.value.lacking == {"cuda:0": 5700, "cpu": 1000} and "instead" not in caught.value.notice


def test_two_workers_take_two_gpus_and_the_third_is_told_who_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for number in ("1", "1", "2"):  # processes that live; the second 1 is the same worker again
        monkeypatch.setenv("FETTLE_WORKER_PROCESS", number if number == "1" else str(os.getpid()))
        taken.append(machine.take())
    assert taken == ["cuda:0", "cuda:0", "cuda:1"]
    monkeypatch.setenv("FETTLE_WORKER_PROCESS", "2")
    with pytest.raises(Conflict, match=r"cuda:0 is held by worker .*:1, cuda:1 is held by worker"):
        machine.take()
    monkeypatch.setenv("FETTLE_DEVICE", "cpu")
    settings.cache_clear()
    assert machine.take() == "cpu:0" and machine.own() == "cpu:0"
    monkeypatch.setenv("FETTLE_DEVICE", "cuda:7")
    settings.cache_clear()
    with pytest.raises(Invalid, match="This machine has no cuda:7; it has cuda:0, cuda:1, cpu:0"):
        machine.take()


def test_a_worker_of_two_gpus_spreads_a_job_over_both_after_it_took_one_and_one_that_was_given_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_WORKER_PROCESS", str(os.getpid()))
    for name in (machine.GPUS, "FETTLE_DEVICE"):
        monkeypatch.setenv(name, "auto")  # so that what the worker sets is taken back
        monkeypatch.delenv(name)
    settings.cache_clear()
    presence._take_device()
    assert settings().device == "cuda:0" and machine.gpus() == ["cuda:0", "cuda:1"]
    assert (machine.spread_over(1), machine.spread_over(2)) == ("cuda:0", "cuda")
    monkeypatch.delenv(machine.GPUS)
    monkeypatch.setenv("FETTLE_DEVICE", "cuda:1")
    settings.cache_clear()
    presence._take_device()
    assert settings().device == "cuda:1" and machine.gpus() == ["cuda:1"]
    monkeypatch.delenv(machine.GPUS)
    monkeypatch.setenv("FETTLE_DEVICE", "cpu")
    settings.cache_clear()
    presence._take_device()
    assert machine.gpus() == [] and machine.spread_over(4) == "cpu"


def test_a_job_over_both_gpus_takes_both_or_waits_for_the_worker_that_has_the_other(person: Who, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as session:
        row = session.get_one(jobs.Job, job)
    monkeypatch.setenv("FETTLE_WORKER_PROCESS", "1")
    machine.take()
    machine.wait_for_memory(row, 10, NullReporter(), 2)
    assert machine.keep() is None and names()["cuda:1"] == [row.name]
    machine.free(row)
    with transaction() as session:
        assert devices.hold(session, settings().machine_name, "cuda:1", "somebody:5") is None
        assert devices.hold(session, settings().machine_name, "cuda:0", "somebody:5") == f"{settings().machine_name}:1"
    reporter = NullReporter()
    waiting = threading.Thread(target=machine.wait_for_memory, args=(row, 10, reporter, 2))
    waiting.start()
    until(lambda: reporter.lines)
    assert reporter.lines == ["Waits for cuda:1, which worker somebody:5 has: the job runs on 2 devices. End that worker."] and waiting.is_alive()
    with transaction() as session:
        devices.let_go(session, "somebody:5")
    waiting.join(10)
    assert not waiting.is_alive() and names()["cuda:1"] == [row.name]


class Idle:
    """As much of a scheduler as says what is loaded."""

    def __init__(self, *loaded: str) -> None:
        self._loaded = loaded

    def loaded(self) -> dict[str, int]:
        return dict.fromkeys(self._loaded, 300)

    def busy(self) -> list[str]:
        return []

    def pin(self, keys: object) -> None:
        del keys

    hold_back = release_idle = pin


def test_leases_that_could_not_be_kept_are_kept_at_the_next_look(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of models that are not loaded yet, too: a large one takes longer than a lease."""
    del person
    room = LeasedRoom("here:9/interactive")
    room.take("loaded", 300)
    room.take("loading", 300)
    keeper = Keeper(room, Idle("loaded"))  # type: ignore[arg-type]

    def away(*_: object, **__: object) -> None:
        raise OperationalError("keep", {}, OSError("away"))

    with transaction() as session:
        session.execute(update(MemoryLease).values(until=1))
    with monkeypatch.context() as patch:
        patch.setattr(devices, "keep", away)
        with pytest.raises(OperationalError):
            keeper.look()
    assert names()["cuda:0"] == []
    keeper.look()
    assert names()["cuda:0"] == ["A model", "A model"]


def test_what_could_not_be_given_back_is_given_back_later(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    del person
    room = LeasedRoom("here:9/interactive")
    room.take("one", 300)
    room.take("two", 300)

    def away(*_: object) -> None:
        raise OperationalError("give back", {}, OSError("away"))

    with monkeypatch.context() as patch:
        patch.setattr(devices, "give_back", away)
        room.give_back(["one"])
    assert names()["cuda:0"] == ["A model", "A model"]
    room.give_back(["two"])
    assert names()["cuda:0"] == []
