"""Duties that one of several processes has, on SQLite and on PostgreSQL: one at a time, and the next when it has been silent for too long."""

import threading
import time

import pytest

from app.db import now, transaction
from app.domain import worker as workers
from app.domain.worker import Lease

pytestmark = pytest.mark.faults


def hold(holder: str, seconds: int = 10) -> bool:
    with transaction() as session:
        return workers.hold(session, "dispatcher", holder, seconds)


def silence(milliseconds: int) -> None:
    """As if nothing had been heard of the holder for so long after the end of what it took the duty for."""
    with transaction() as session:
        session.get_one(Lease, "dispatcher").until = now(session) - milliseconds


@pytest.mark.usefixtures("database")
def test_a_duty_is_one_holders_until_it_has_been_silent_for_too_long() -> None:
    assert hold("web 1") and not hold("web 2")
    assert hold("web 1") and not hold("web 2"), "who goes on says so, and keeps it"
    silence(-2000)
    assert not hold("web 2"), "it has two seconds left"
    silence(1)
    assert hold("web 2") and not hold("web 1"), "who comes back finds it taken"
    with transaction() as session:
        assert workers.hold(session, "another duty", "web 1", 10), "which keeps nobody from another"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("skew", [3600, -3600])
def test_how_long_a_holder_has_been_silent_is_judged_by_the_databases_clock(monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    assert hold("web 1")
    true = time.time()
    monkeypatch.setattr(time, "time", lambda: true + skew)  # web 2 runs on a machine with a wrong clock
    assert not hold("web 2")
    silence(1)
    assert hold("web 2") and not hold("web 1")
    with transaction() as session:
        assert 0 < session.get_one(Lease, "dispatcher").until - now(session) <= 10_000


@pytest.mark.usefixtures("database")
def test_of_many_that_ask_at_the_same_moment_one_has_a_duty() -> None:
    names = [f"web {number}" for number in range(4)]
    for turn in range(10):
        at_once, has = threading.Barrier(len(names)), list[str]()

        def ask(name: str, at_once: threading.Barrier = at_once, has: list[str] = has) -> None:
            at_once.wait()
            if hold(name):
                has.append(name)

        asking = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert len(has) == 1, "of a duty that is new" if turn == 0 else "of one whose holder is gone"
        silence(1)
