"""Jobs as tests of the protocol want them: added, claimed, silent."""

from sqlalchemy import update

from app.db import now, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain.access import Who
from app.domain.job import Job


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


def lose(key: int) -> None:
    """One attempt whose worker goes silent."""
    claim()
    silence(key)
    with transaction() as session:
        assert ending.expire(session) == [key]
