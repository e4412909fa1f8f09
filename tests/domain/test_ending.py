"""Ends that nobody asked for: what is taken back, and what is held against a job."""

import threading

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain.access import Who
from tests.domain.test_job import add, claim, outcomes, silence, state


def test_a_job_that_is_heard_of_in_the_same_moment_is_not_taken_back(person: Who) -> None:
    key, lost = add(person), list[int]()
    job = claim()
    silence(key)

    def sweep() -> None:
        with transaction() as session:
            lost.extend(ending.expire(session))

    sweeping = threading.Thread(target=sweep)
    with transaction() as session:
        jobs.beat(session, key, job.lease_token or "", 30)
        sweeping.start()
        sweeping.join(0.5)
    sweeping.join(20)
    assert lost == [] and state(key).state == "running" and state(key).lease_token == job.lease_token
    silence(key)
    sweep()
    assert lost == [key] and state(key).state == "queued"


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
