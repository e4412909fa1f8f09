"""The order of waiting jobs: moves, priorities, pauses, and what a claim makes of them."""

import random
import threading
from typing import get_args

import pytest

from app.db import transaction
from app.domain import job as jobs
from app.domain import order
from app.domain import queue as queues
from app.domain.access import Who
from app.domain.job import Job
from app.domain.user import Workspace
from app.errors import Conflict
from tests.rows import claim


def add(person: Who, priority: int = 0, **settings: object) -> int:
    with transaction() as session:
        return jobs.add(session, person, "tune", "a tune", settings, priority).id


def move(key: int, to: order.Move) -> None:
    with transaction() as session:
        order.move(session, session.get_one(Job, key), to)


def line() -> list[int]:
    with transaction() as session:
        return [one.id for one in order.line(session, "gpu")]


def test_a_job_moves_one_place_or_to_an_end_and_claims_follow(person: Who) -> None:
    first, second, third = add(person), add(person), add(person)
    move(third, "up")
    assert line() == [first, third, second]
    move(first, "last")
    assert line() == [third, second, first]
    move(first, "first")
    move(first, "up")
    move(second, "down")
    assert line() == [first, third, second]
    with transaction() as session:
        assert [claim(session).id for _ in range(3)] == [first, third, second]


def test_a_job_that_passes_another_takes_its_priority_and_the_other_keeps_it(person: Who) -> None:
    low, urgent = add(person), add(person, priority=5)
    move(low, "up")
    later = add(person, priority=5)
    with transaction() as session:
        rows = {one.id: one.priority for one in order.line(session, "gpu")}
    assert line() == [low, urgent, later] and rows == {low: 5, urgent: 5, later: 5}


def test_any_moves_keep_the_others_in_order_whatever_their_numbers(person: Who) -> None:
    """Against a plain list, from queues whose positions are the same, have gaps, and belong to several priorities."""
    chance = random.Random(11)
    for _ in range(6):
        with transaction() as session:
            session.query(Job).delete()
        keys = [add(person, priority=chance.choice((0, 0, 3))) for _ in range(7)]
        with transaction() as session:
            for key in keys:
                session.get_one(Job, key).position = chance.choice((1, 1, 4, 9))
        known = line()
        for _ in range(12):
            key, to = chance.choice(keys), chance.choice(get_args(order.Move))
            at = known.index(key)
            known.remove(key)
            known.insert({"up": max(0, at - 1), "down": at + 1, "first": 0, "last": len(known)}[to], key)
            move(key, to)
            assert line() == known
        with transaction() as session:
            places = order.places(session)
            assert [places[key] for key in known] == [jobs.queue_place(session, session.get_one(Job, key)) for key in known] == list(range(1, 8))


def again(key: int, to: order.Move) -> None:
    for _ in range(4):
        move(key, to)


def test_moves_at_once_lose_no_job_and_leave_one_order(person: Who) -> None:
    keys = [add(person) for _ in range(6)]
    threads = [threading.Thread(target=again, args=(key, to)) for key, to in zip(keys, ("up", "last", "first") * 2, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(line()) == keys
    with transaction() as session:
        assert sorted(order.places(session).values()) == list(range(1, 7))


def test_a_job_that_was_taken_cannot_be_moved_nor_given_a_priority(person: Who) -> None:
    key = add(person)
    with transaction() as session:
        claim(session)
    with pytest.raises(Conflict, match="it is running"):
        move(key, "up")
    with pytest.raises(Conflict, match="it is running"), transaction() as session:
        order.prioritise(session, session.get_one(Job, key), 3)


def test_a_paused_queue_hands_out_nothing_of_its_workspace_and_wakes_nobody(person: Who) -> None:
    key = add(person)
    with transaction() as session:
        queues.pause(session, person.workspace_id, "gpu", person.user_id)
        assert not jobs.ready(session, "gpu") and jobs.waiting(session, 60) == []
        assert jobs.claim(session, "gpu", "w1", 30) is None
        elsewhere = Workspace(name="elsewhere")
        session.add(elsewhere)
        session.flush()
        other = jobs.add(session, Who(person.user_id, elsewhere.id, "Eve", "admin"), "tune", "theirs", {})
        assert claim(session).id == other.id
        assert [(row.name, by) for row, by in queues.paused(session, person.workspace_id)] == [("gpu", "Ada")]
    with transaction() as session:
        queues.resume(session, person.workspace_id, "gpu")
        assert claim(session).id == key


def test_a_move_passes_over_what_another_workspace_has_waiting(person: Who) -> None:
    first = add(person)
    with transaction() as session:
        elsewhere = Workspace(name="elsewhere")
        session.add(elsewhere)
        session.flush()
        other = Who(person.user_id, elsewhere.id, "Eve", "admin")
    theirs, last = add(other), add(person)
    move(last, "up")
    assert line() == [last, first, theirs]


def test_a_job_that_needs_a_gpu_waits_for_a_worker_that_has_one(person: Who) -> None:
    quantised, plain = add(person, parameters={"four_bit": True}), add(person, parameters={"four_bit": False})
    with transaction() as session:
        assert jobs.ready(session, "gpu", gpus=0)
        taken = jobs.claim(session, "gpu", "a processor", 30, gpus=0)
        assert taken is not None and taken.id == plain
        assert not jobs.ready(session, "gpu", gpus=0) and jobs.ready(session, "gpu")
        taken = jobs.claim(session, "gpu", "a GPU", 30)
        assert taken is not None and taken.id == quantised


def test_a_job_over_several_gpus_waits_for_a_worker_that_has_them_and_runs_as_processes_where_there_is_none(person: Who) -> None:
    spread, plain = add(person, parameters={"devices": 4}), add(person, parameters={"devices": 1})
    with transaction() as session:
        taken = jobs.claim(session, "gpu", "two GPUs", 30, gpus=2)
        assert taken is not None and taken.id == plain
        assert not jobs.ready(session, "gpu", gpus=3)
        assert jobs.ready(session, "gpu", gpus=4) and jobs.ready(session, "gpu", gpus=0)
        taken = jobs.claim(session, "gpu", "a processor", 30, gpus=0)
        assert taken is not None and taken.id == spread
