"""Devices and their memory: one worker a device, no byte lent twice, jobs before models, and nothing held by the dead."""

import threading

import pytest
from sqlalchemy import update

from app.db import transaction
from app.domain import device as devices
from app.domain.access import Who
from app.domain.base import db_now
from app.domain.device import Device, MemoryLease
from tests.rows import add_dataset, add_model

GPU = {"name": "cuda:0", "title": "a GPU", "memory": 1000}
OTHER = {"name": "cuda:1", "title": "a GPU", "memory": 1000}


@pytest.fixture
def card(database: str) -> Device:
    del database
    with transaction() as session:
        devices.found(session, "here", [GPU, OTHER])
        found = devices.find(session, "here", "cuda:0")
        assert found is not None
        return found


def ask(card: Device, holder: str, key: str, needed: int, job: int | None = None) -> bool:
    with transaction() as session:
        device = devices.find(session, card.machine, card.name, lock=True)
        assert device is not None
        return devices.ask(session, device, holder, key, key.title(), needed, job)


def lacking(card: Device) -> int:
    with transaction() as session:
        return devices.lacking(session, session.get_one(Device, card.id))


def reason(job: int) -> str | None:
    with transaction() as session:
        return devices.waits_for(session, job)


@pytest.fixture
def job(person: Who) -> int:
    from app.services import jobs

    base, version = add_model(person), add_dataset(person)
    found = jobs.start_tune(person, model=base, dataset=version.dataset_id, method="lora", parameters={}, prompt_version=None, seed=1)
    return found.job.id


def test_one_worker_has_a_device_and_the_other_is_told_who(card: Device) -> None:
    with transaction() as session:
        assert devices.hold(session, "here", "cuda:0", "here:1") is None
        assert devices.hold(session, "here", "cuda:0", "here:2") == "here:1"
        assert devices.hold(session, "here", "cuda:1", "here:2") is None, "the other card is free"
        assert devices.hold(session, "here", "cuda:0", "here:1") is None, "keeping it is taking it again"
        assert devices.hold(session, "here", "cuda:0", "here:3", gone=["here:1"]) is None, "of the dead"
    with transaction() as session:
        session.execute(update(Device).where(Device.id == card.id).values(worker_until=db_now() - 1))
        assert devices.hold(session, "here", "cuda:0", "here:2") is None, "of the silent"
        devices.let_go(session, "here:2", but="cuda:0")
        assert devices.hold(session, "here", "cuda:1", "here:4") is None
        devices.renew(session, "here:4")
        devices.let_go(session, "here:2")
        assert devices.hold(session, "here", "cuda:0", "here:4") is None


def test_memory_is_lent_once_even_to_those_who_ask_together(card: Device) -> None:
    start, got = threading.Barrier(6), []

    def one(number: int) -> None:
        start.wait(10)
        got.append(ask(card, f"engine-{number}", "m", 300))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [False] * 3 + [True] * 3
    with transaction() as session:
        assert sum(lease.bytes for lease in devices.leases(session, card)) == 900


def test_a_job_that_does_not_fit_waits_and_nothing_is_loaded_past_it(card: Device, job: int) -> None:
    assert ask(card, "engine", "starter", 500) is True and ask(card, "engine", "small", 100) is True
    assert ask(card, devices.job_holder(job, 1), "job", 700, job) is False
    assert lacking(card) == 300 and "0.00 GB" in (reason(job) or "") and "giving back what is idle" in (reason(job) or "")
    assert ask(card, "engine", "third", 100) is False, "what a job waits for is taken"
    with transaction() as session:
        devices.give_back(session, "engine", ["starter"])
    assert lacking(card) == 0
    assert ask(card, devices.job_holder(job, 1), "job", 700, job) is True and reason(job) is None
    with transaction() as session:
        devices.measured(session, devices.job_holder(job, 1), 400)
        assert {lease.key: lease.bytes for lease in devices.leases(session, card)} == {"small": 100, "job": 440}
        devices.measured(session, devices.job_holder(job, 1), 900)
        assert {lease.key: lease.bytes for lease in devices.leases(session, card)}["job"] == 440, "a lease never grows by itself"
    assert ask(card, "engine", "third", 400) is True, "what the preflight left over is free"


def test_a_job_that_waits_for_a_pinned_model_keeps_nobody_else_from_anything(card: Device, job: int) -> None:
    assert ask(card, "engine", "starter", 500) and ask(card, "engine", "small", 200)
    with transaction() as session:
        devices.mark(session, "engine", [], ["starter"])
    assert ask(card, devices.job_holder(job, 1), "job", 700, job) is False
    assert lacking(card) == 0, "it would not fit without the small one either"
    assert ask(card, "engine", "third", 200) is True
    with transaction() as session:
        devices.mark(session, "engine", [], [])
    assert lacking(card) == 600 and ask(card, "engine", "fourth", 100) is False, "now it is to have what it waits for"


@pytest.mark.parametrize(("busy", "pinned", "words"), [(["starter"], [], "is answering in the Lab"), ([], ["starter"], "is pinned: unpin on the model's page")])
def test_the_reason_names_what_is_in_the_way(card: Device, job: int, busy: list[str], pinned: list[str], words: str) -> None:
    ask(card, "engine", "starter", 500)
    with transaction() as session:
        devices.mark(session, "engine", busy, pinned)
    assert ask(card, devices.job_holder(job, 1), "job", 700, job) is False
    told = reason(job) or ""
    assert told.startswith("Waits for 0.00 GB of the GPU's memory") and f"Starter {'(0.00 GB) ' if pinned else ''}{words}" in told


def test_an_attempt_that_lost_its_job_touches_the_memory_of_the_next_one_in_no_way(card: Device, job: int) -> None:
    lost, present = devices.job_holder(job, 1), devices.job_holder(job, 2)
    assert ask(card, lost, "job", 300, job) and ask(card, present, "job", 400, job)
    with transaction() as session:
        devices.measured(session, lost, 10)
        devices.give_back(session, lost)
        assert [(lease.holder, lease.bytes) for lease in devices.leases(session, card)] == [(present, 400)]


def test_leases_of_the_silent_end(card: Device, job: int) -> None:
    ask(card, "engine", "starter", 500)
    ask(card, devices.job_holder(job, 1), "job", 500, job)
    with transaction() as session:
        session.execute(update(MemoryLease).values(until=db_now() + 50))
        devices.keep(session, "engine")
    with transaction() as session:
        session.execute(update(MemoryLease).where(MemoryLease.job_id == job).values(until=db_now() - 1))
        assert [lease.key for lease in devices.leases(session, card)] == ["starter"]
    assert ask(card, "engine", "other", 500) is True
    with transaction() as session:
        devices.give_back(session, "engine")
        assert devices.leases(session, card) == []


def test_a_lease_that_ran_out_while_its_holder_slept_is_there_again_when_it_wakes_up(card: Device, job: int) -> None:
    assert ask(card, "engine", "starter", 700) and ask(card, "engine", "of one that died", 100)
    with transaction() as session:
        session.execute(update(MemoryLease).values(until=db_now() - 8 * 3_600_000))
    assert ask(card, devices.job_holder(job, 1), "job", 700, job) is True, "nobody was heard of"
    with transaction() as session:
        devices.keep(session, "engine", keys=["starter"])
    with transaction() as session:
        assert sorted(lease.key for lease in devices.leases(session, card)) == ["job", "starter"]
    assert ask(card, "engine", "third", 100) is False, "what both have is more than there is, and nobody gets any of it"
    with transaction() as session:
        session.execute(update(MemoryLease).values(until=db_now() - devices.FORGET_MS - 1))
    ask(card, "engine", "third", 100)
    with transaction() as session:
        assert session.query(MemoryLease).count() == 1


def test_a_model_that_moved_is_on_one_device_only(card: Device) -> None:
    with transaction() as session:
        other = devices.find(session, "here", "cuda:1")
        assert other is not None
        for device in (card, other):
            assert devices.ask(session, device, "engine", "starter", "Starter", 500)
        devices.only_on(session, card, "engine", "starter")
        assert [len(devices.leases(session, device)) for device in (card, other)] == [1, 0]


def test_the_memory_of_a_process_that_goes_on_is_its_next_jobs_without_a_gap(card: Device, job: int) -> None:
    before, after = devices.job_holder(job, 1), devices.job_holder(job, 2)
    assert ask(card, before, "job", 600, job)
    with transaction() as session:
        devices.hand_over(session, before, job, 2, 30)
    assert not ask(card, "here/interactive", "model", 500), "nobody else got it in between"
    assert ask(card, after, "job", 700, job), "what it asks for now takes the place of what it has"
    with transaction() as session:
        assert [(one.holder, one.bytes) for one in devices.leases(session, session.get_one(Device, card.id))] == [(after, 700)]
