"""The scheduler beside other processes: it waits for memory without holding anybody up, says why, and keeps what is pinned."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.broker import wait
from tests.engine.test_serve import ask, request
from worker.engine import serve
from worker.engine.load import needed_bytes
from worker.engine.serve import Scheduler
from worker.engine.shelf import Notice, Waits

WITH_JOB = {"text": "The GPU is with job 12", "job": 12, "until": 1_790_000_000_000}


class Shared:
    """A device that others use too: `left` bytes of it are free for models here."""

    def __init__(self, left: int) -> None:
        self.left, self.held = left, dict[str, int]()
        self.elsewhere = False

    def take(self, key: str, needed: int) -> tuple[str, Notice | None]:
        others = sum(size for other, size in self.held.items() if other != key)
        if others + needed <= self.left:
            self.held[key] = needed
            return "cpu", None
        if self.elsewhere:
            self.held[key] = 0
            return "cpu", WITH_JOB | {"instead": "cpu"}
        raise Waits(WITH_JOB, {"cpu": others + needed - self.left})

    def give_back(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self.held[key]


@pytest.fixture
def shared(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setattr(serve, "PARK", 0.05)
    return Shared(int(needed_bytes(tiny) * 1.5))


@pytest.fixture
def scheduler(shared: Shared) -> Iterator[Scheduler]:
    made = Scheduler(1 << 30, device="cpu", room=shared)
    yield made
    made.close()


def notices(listener: Any) -> list[dict[str, Any]]:
    return [dict(event) for event in listener.events if event["type"] == "notice"]


def test_who_finds_no_room_waits_and_is_told_why_while_others_are_answered(tiny: Path, other: Path, scheduler: Scheduler, shared: Shared) -> None:
    assert ask(scheduler, request(tiny)).last()["type"] == "done"
    stop = threading.Event()
    busy = ask(scheduler, request(tiny, max_tokens=400, min_tokens=400), stop.is_set)
    assert busy.writing.wait(20)
    late = ask(scheduler, request(other))
    assert wait(lambda: bool(notices(late)), 20) and notices(late) == [{"type": "notice", **WITH_JOB}]
    assert ask(scheduler, request(tiny, "another")).last()["type"] == "done", "nobody waits behind it"
    shared.left *= 3
    assert late.last()["type"] == "done"
    stop.set()
    assert busy.last()["reason"] == "cancelled" and set(shared.held) == set(scheduler.loaded())


def test_held_back_is_who_asks_a_model_on_the_device_that_a_job_waits_for(tiny: Path, scheduler: Scheduler) -> None:
    assert ask(scheduler, request(tiny)).last()["type"] == "done"
    scheduler.hold_back({"cuda:0": WITH_JOB})
    assert ask(scheduler, request(tiny, "another")).last()["type"] == "done", "its model is on the processor"
    scheduler.hold_back({"cpu": WITH_JOB})
    late = ask(scheduler, request(tiny, "a third"))
    assert wait(lambda: bool(notices(late)), 20) and notices(late) == [{"type": "notice", **WITH_JOB}]
    scheduler.hold_back({})
    assert late.last()["type"] == "done"


def test_own_idle_models_leave_when_that_makes_the_room(tiny: Path, other: Path, scheduler: Scheduler, shared: Shared) -> None:
    for folder in (tiny, other, tiny):
        listener = ask(scheduler, request(folder))
        assert listener.last()["type"] == "done" and not notices(listener)
        assert list(scheduler.loaded()) == list(shared.held) == [request(folder).model]


def test_an_answer_made_elsewhere_says_so_until_the_usual_device_is_free(tiny: Path, scheduler: Scheduler, shared: Shared) -> None:
    left, shared.left, shared.elsewhere = shared.left, 0, True
    for loads in (1, 0):
        listener = ask(scheduler, request(tiny))
        assert listener.last()["type"] == "done" and notices(listener) == [{"type": "notice", **WITH_JOB, "instead": "cpu"}]
        assert sum(event["type"] == "loading" and event["fraction"] == 0.0 for event in listener.events) == loads
    shared.left = left
    back = ask(scheduler, request(tiny))
    assert back.last()["type"] == "done" and not notices(back) and any(event["type"] == "loading" for event in back.events)


def test_pinned_models_stay_and_as_much_is_given_back_as_is_needed(tiny: Path, other: Path, start: Callable[..., Scheduler]) -> None:
    scheduler, key = start(), {folder: request(folder).model for folder in (tiny, other)}
    for folder in (tiny, other):
        ask(scheduler, request(folder)).last()
    scheduler.release_idle({"cuda:0": 1 << 40})
    ask(scheduler, request(tiny)).last()
    ask(scheduler, request(other)).last()
    assert set(scheduler.loaded()) == set(key.values()), "what another device needs is not to be had here"
    scheduler.release_idle({"cpu": 1})
    assert wait(lambda: list(scheduler.loaded()) == [key[other]], 20), "least recently used first, and no more than asked for"
    scheduler.pin([key[other]])
    scheduler.release_idle()
    ask(scheduler, request(tiny)).last()
    assert set(scheduler.loaded()) == set(key.values())
    scheduler.pin([])
    scheduler.release_idle()
    assert wait(lambda: scheduler.loaded() == {}, 20)


def test_a_model_without_room_beside_a_pinned_one_is_refused(tiny: Path, other: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start(int(needed_bytes(tiny) * 1.5))
    ask(scheduler, request(tiny)).last()
    scheduler.pin([request(tiny).model])
    refused = ask(scheduler, request(other)).last()
    assert refused["code"] == "model_too_large" and "pinned models have" in refused["message"] and "Unpin" in refused["advice"]


def test_waiting_ends_with_who_asked_and_with_the_engine(tiny: Path, scheduler: Scheduler, shared: Shared) -> None:
    shared.left = 0
    gone = threading.Event()
    leaving, staying = ask(scheduler, request(tiny), gone.is_set), ask(scheduler, request(tiny))
    assert wait(lambda: bool(notices(staying)) and bool(notices(leaving)), 20)
    gone.set()
    assert leaving.last()["reason"] == "cancelled"
    scheduler.close()
    assert staying.last()["code"] == "engine_closed"
