"""How attempts end that did not succeed: for want of room or memory, without a service, with a clock that was set back. On SQLite and on PostgreSQL."""

from sqlalchemy import update

from app.db import now, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain.access import Who
from app.domain.job import Job
from tests.domain.jobs import add, claim, lose, outcomes, state


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


def test_a_service_that_is_away_is_not_held_against_a_job_until_it_never_comes_back(person: Who) -> None:
    key = add(person)

    def away() -> None:
        job = claim()
        assert job.id == key
        with transaction() as session:
            ending.give_back(session, key, job.lease_token or "", "the database did not answer", away=True)

    for _ in range(jobs.MAX_OUTAGES - 1):
        away()
    assert state(key).state == "queued" and set(outcomes(key)) == {"away"}
    away()
    error = state(key).error or {}
    assert state(key).state == "failed" and error["code"] == "service_away" and "the database did not answer" in error["message"] and error["advice"]


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
