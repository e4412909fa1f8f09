"""The job protocol, on SQLite and on PostgreSQL: claims, fencing, leases, cancels, attempts."""

import threading

import pytest
from sqlalchemy import select, update

from app.db import now, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import MOVES, STATES, Attempt, Fenced, Job
from app.errors import Conflict


def add(person: Who, priority: int = 0, name: str = "a tune") -> int:
    with transaction() as session:
        return jobs.add(session, person, "tune", name, {"method": "lora"}, priority).id


def claim(worker: str = "w1") -> Job:
    with transaction() as session:
        job = jobs.claim(session, "gpu", worker, 30)
    assert job is not None
    return job


def state(key: int) -> Job:
    with transaction() as session:
        return session.get_one(Job, key)


def outcomes(key: int) -> list[str | None]:
    with transaction() as session:
        return [attempt.outcome for attempt in jobs.attempts(session, key)]


def silence(key: int) -> None:
    """Let the lease of a job run out, as it does when its worker is gone."""
    with transaction() as session:
        session.execute(update(Job).where(Job.id == key).values(lease_until=now(session) - 1))


def test_claim_takes_the_highest_priority_then_the_oldest(person: Who) -> None:
    late, urgent, first = add(person), add(person, priority=5), add(person)
    assert [claim().id for _ in range(3)] == [urgent, late, first]
    with transaction() as session:
        assert jobs.claim(session, "gpu", "w1", 30) is None


def test_many_claims_at_once_hand_out_each_job_once(person: Who) -> None:
    keys = [add(person) for _ in range(6)]
    taken: list[int] = []
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        while True:
            with transaction() as session:
                job = jobs.claim(session, "gpu", name, 30)
            if job is None:
                return
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    # On PostgreSQL a claim that meets only locked rows finds nothing and goes home; what it left waits for the next look.
    while len(taken) < len(keys):
        taken.append(claim().id)
    assert sorted(taken) == keys


def test_a_write_without_the_lease_changes_nothing(person: Who) -> None:
    add(person)
    job = claim()
    with pytest.raises(Fenced), transaction() as session:
        jobs.write(session, job.id, "somebody else's token", step=7)
    assert state(job.id).step == 0


def test_an_expired_lease_hands_the_job_to_the_next_worker_and_fences_the_first(person: Who) -> None:
    key = add(person)
    first = claim("zombie")
    silence(key)
    with transaction() as session:
        assert ending.expire(session) == [key]
    second = claim("healthy")
    assert second.id == key and second.attempt == 2
    with pytest.raises(Fenced), transaction() as session:
        jobs.beat(session, key, first.lease_token or "", 30)
    with pytest.raises(Fenced), transaction() as session:
        ending.succeed(session, key, first.lease_token or "", {"model": 1})
    with transaction() as session:
        ending.succeed(session, key, second.lease_token or "", {"model": 2})
    assert state(key).result == {"model": 2}
    with transaction() as session:
        assert [(row.number, row.worker, row.outcome) for row in jobs.attempts(session, key)] == [(1, "zombie", "lost"), (2, "healthy", "succeeded")]


def test_a_live_lease_is_not_taken_back(person: Who) -> None:
    add(person)
    claim()
    with transaction() as session:
        assert ending.expire(session) == []


def test_the_third_lost_attempt_fails_the_job_visibly(person: Who) -> None:
    key = add(person)
    for _ in range(jobs.MAX_ATTEMPTS):
        claim()
        silence(key)
        with transaction() as session:
            ending.expire(session)
    job = state(key)
    assert job.state == "failed" and job.error is not None and job.error["code"] == "worker_lost"
    with transaction() as session:
        assert jobs.claim(session, "gpu", "w1", 30) is None
        assert len(session.scalars(select(Attempt).where(Attempt.job_id == key)).all()) == jobs.MAX_ATTEMPTS


def lose(key: int) -> None:
    """One attempt whose worker goes silent."""
    claim()
    silence(key)
    with transaction() as session:
        assert ending.expire(session) == [key]


def test_a_deploy_does_not_count_as_a_lost_attempt(person: Who) -> None:
    key = add(person)
    for _ in range(jobs.MAX_ATTEMPTS + 1):
        job = claim()
        with transaction() as session:
            ending.give_back(session, key, job.lease_token or "", "the worker was asked to leave", counts=False)
    lose(key)
    assert state(key).state == "queued", "four deploys and one crash are one loss"


def test_a_retry_counts_losses_anew_and_never_reuses_an_attempt(person: Who) -> None:
    key = add(person)
    for _ in range(jobs.MAX_ATTEMPTS):
        lose(key)
    with transaction() as session:
        jobs.retry(session, session.get_one(Job, key))
    lose(key)
    assert state(key).state == "queued"
    assert claim().attempt == jobs.MAX_ATTEMPTS + 2
    with transaction() as session:
        assert [row.number for row in jobs.attempts(session, key)] == [1, 2, 3, 4, 5]


@pytest.mark.faults
def test_cancelling_a_waiting_job_ends_it_at_once(person: Who) -> None:
    key = add(person)
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, key))
    assert state(key).state == "cancelled"
    with transaction() as session:
        assert jobs.claim(session, "gpu", "w1", 30) is None


@pytest.mark.faults
def test_cancelling_a_running_job_reaches_its_worker_through_the_heartbeat(person: Who) -> None:
    key = add(person)
    job = claim()
    with transaction() as session:
        assert jobs.beat(session, key, job.lease_token or "", 30) is None
        ending.cancel(session, session.get_one(Job, key))
    with transaction() as session:
        assert jobs.beat(session, key, job.lease_token or "", 30) == "stop"
    with pytest.raises(Fenced), transaction() as session:
        ending.succeed(session, key, job.lease_token or "", {"model": 1})
    with transaction() as session:
        ending.stop(session, key, job.lease_token or "")
    assert state(key).state == "cancelled" and state(key).result is None


@pytest.mark.faults
def test_a_cancel_whose_worker_is_dead_ends_with_the_lease(person: Who) -> None:
    key = add(person)
    claim()
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, key))
    assert state(key).state == "stopping"
    silence(key)
    with transaction() as session:
        assert ending.expire(session) == [key]
        assert [row.outcome for row in jobs.attempts(session, key)] == ["cancelled"]
    assert state(key).state == "cancelled"


@pytest.mark.faults
def test_a_finished_job_cannot_be_cancelled_but_a_cancelled_one_can_be_retried(person: Who) -> None:
    done, other = add(person), add(person)
    job = claim()
    with transaction() as session:
        ending.succeed(session, done, job.lease_token or "", {"model": 1})
    with pytest.raises(Conflict), transaction() as session:
        ending.cancel(session, session.get_one(Job, done))
    with pytest.raises(Conflict), transaction() as session:
        jobs.retry(session, session.get_one(Job, done))
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, other))
        jobs.retry(session, session.get_one(Job, other))
    assert claim().id == other


def trained(key: int, job: Job, step: int = 3) -> None:
    """The worker reports a step."""
    with transaction() as session:
        metrics.record(session, key, job.lease_token or "", job.attempt, [(step, {"loss": 1.0})])


def test_a_run_that_is_finished_stops_and_is_queued_once_more_to_save(person: Who) -> None:
    key = add(person)
    job = claim()
    with pytest.raises(Conflict, match="has not trained a step yet"), transaction() as session:
        ending.finish(session, session.get_one(Job, key))
    trained(key, job)
    with transaction() as session:
        ending.finish(session, session.get_one(Job, key))
    assert (state(key).state, state(key).finish) == ("stopping", True)
    with transaction() as session:
        assert jobs.beat(session, key, job.lease_token or "", 30) == "finish", "it is left the time to save"
    with pytest.raises(Conflict, match="is stopping"), transaction() as session:
        ending.finish(session, session.get_one(Job, key))
    with transaction() as session:
        ending.stop(session, key, job.lease_token or "")
    waits = state(key)
    assert (waits.state, waits.finish, waits.cancel_requested_at, waits.finished_at) == ("queued", True, None, None)
    last = claim()
    with transaction() as session:
        ending.succeed(session, key, last.lease_token or "", {"model": 1})
    assert (state(key).state, outcomes(key)) == ("succeeded", ["cancelled", "succeeded"])


def test_a_cancel_after_a_finish_wins(person: Who) -> None:
    key = add(person)
    job = claim()
    trained(key, job)
    with transaction() as session:
        ending.finish(session, session.get_one(Job, key))
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, key))
    with transaction() as session:
        ending.stop(session, key, job.lease_token or "")
    assert (state(key).state, state(key).finish) == ("cancelled", False)
    with transaction() as session:  # and one that is over is finished when somebody asks then
        ending.finish(session, session.get_one(Job, key))
    assert (state(key).state, state(key).finish) == ("queued", True)
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, key))
        jobs.retry(session, session.get_one(Job, key))
    assert (state(key).state, state(key).finish) == ("queued", False), "a retry goes on to the end"


def test_waiting_queues_are_named_once_until_it_is_time_to_send_again(person: Who) -> None:
    add(person)
    with transaction() as session:
        assert jobs.waiting(session, resend_seconds=60) == ["gpu"]
    with transaction() as session:
        assert jobs.waiting(session, resend_seconds=60) == []
    with transaction() as session:
        session.execute(update(Job).values(woken_at=now(session) - 61_000))
    with transaction() as session:
        assert jobs.waiting(session, resend_seconds=60) == ["gpu"]


def test_every_move_leads_to_a_known_state_and_success_is_final() -> None:
    assert set(MOVES) == set(STATES)
    assert all(target in STATES for targets in MOVES.values() for target in targets)
    assert MOVES["succeeded"] == ()


def test_queue_place_counts_what_goes_before(person: Who) -> None:
    first, second, urgent = add(person), add(person), add(person, priority=1)
    with transaction() as session:
        assert [jobs.queue_place(session, session.get_one(Job, key)) for key in (first, second, urgent)] == [2, 3, 1]


def test_a_job_that_finds_no_room_waits_for_it_while_others_go_before(person: Who) -> None:
    large, small = add(person), add(person)
    job = claim()
    with transaction() as session:
        ending.give_back(session, large, job.lease_token or "", "no room", counts=False, needs_bytes=5000)
    with transaction() as session:
        other = jobs.claim(session, "gpu", "w1", 30, room={"tune": 4999})
        assert other is not None and other.id == small
        assert not jobs.ready(session, "gpu", room={"tune": 4999, "export": 9000}) and jobs.claim(session, "gpu", "w1", 30, room={"tune": 4999}) is None
    for _ in range(jobs.MAX_ATTEMPTS + 1):  # however often somebody else takes the room
        with transaction() as session:
            again = jobs.claim(session, "gpu", "w2", 30, room={"tune": 5000})
        assert again is not None and again.id == large and again.needs_bytes is None, "it is asked anew"
        with transaction() as session:
            ending.give_back(session, large, again.lease_token or "", "no room", counts=False, needs_bytes=5000)
    assert state(large).state == "queued"
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, large))
    assert state(large).state == "cancelled"
    with transaction() as session:
        jobs.retry(session, session.get_one(Job, large))
        assert jobs.ready(session, "gpu", room={"tune": 1}), "a person may have made room in another way: it is asked anew"


def test_a_job_whose_room_comes_and_goes_ends_in_words(person: Who) -> None:
    """As where the disk that is asked when a job is taken is not the one it writes to: else it would be begun and handed back for ever."""
    key, left = add(person), add(person)
    for at in range(jobs.MAX_WAITS):
        with transaction() as session:
            job = jobs.claim(session, "gpu", "w1", 30, room={"tune": 9_000_000})
        assert job is not None and job.id == key and job.attempt == at + 1
        with transaction() as session:
            ending.give_back(session, key, job.lease_token or "", "2.0 MB are free", counts=False, needs_bytes=5_000_000)
    ended = state(key)
    error = ended.error or {}
    assert ended.state == "failed" and error["code"] == "disk_full" and error["needed_bytes"] == 5_000_000 and error["advice"]
    assert error["message"] == "10 times 5.0 MB were free on the disk when the job was taken, and fewer when it was to start."
    assert outcomes(key) == ["no_room"] * (jobs.MAX_WAITS - 1) + ["failed"]
    assert claim().id == left
    with transaction() as session:
        jobs.retry(session, session.get_one(Job, key))
        job = jobs.claim(session, "gpu", "w1", 30, room={"tune": 9_000_000})
        assert job is not None and job.id == key
        ending.give_back(session, key, job.lease_token or "", "no room", counts=False, needs_bytes=5_000_000)
    assert state(key).state == "queued", "a person asked again: it is counted anew"


OUT = {"code": "out_of_memory", "message": "Memory ran out, twice.", "advice": "Take less."}


def end_for_want_of_memory(key: int) -> None:
    job = claim()
    with transaction() as session:
        ending.give_back(session, key, job.lease_token or "", "killed", cause=OUT)


def test_memory_that_ran_out_is_tried_once_more_and_a_retry_counts_anew(person: Who) -> None:
    key = add(person)
    lose(key)
    end_for_want_of_memory(key)
    assert state(key).state == "queued", "the loss before had another cause"
    end_for_want_of_memory(key)
    assert state(key).state == "failed" and state(key).error == OUT
    with transaction() as session:
        jobs.retry(session, session.get_one(Job, key))
    end_for_want_of_memory(key)
    assert state(key).state == "queued"
    with transaction() as session:
        assert [row.outcome for row in jobs.attempts(session, key)] == ["lost", "out_of_memory", "failed", "out_of_memory"]


def test_memory_that_ran_out_counts_as_a_loss_too(person: Who) -> None:
    key = add(person)
    end_for_want_of_memory(key)
    lose(key)
    lose(key)
    assert state(key).state == "failed" and (state(key).error or {})["code"] == "worker_lost"


def test_a_lease_from_before_the_clock_was_set_back_is_cut(person: Who) -> None:
    key = add(person)
    claim()
    with transaction() as session:
        session.execute(update(Job).values(lease_until=now(session) + 3_600_000))
        assert ending.expire(session, 30) == []
        left = session.get_one(Job, key, populate_existing=True).lease_until or 0
        assert 25_000 < left - now(session) <= 30_000
