"""Looks that many ask for are made once, and one who leaves takes them from nobody."""

import asyncio
import threading
import time
from functools import partial

import pytest

from app.pages import sharing
from app.pages.sharing import looks


def test_whoever_asks_together_or_soon_after_gets_the_same() -> None:
    made: list[int] = []
    go = threading.Event()

    def look() -> int:
        go.wait(10)
        made.append(len(made))
        return made[-1]

    async def ask() -> list[int]:
        asked = [asyncio.create_task(looks().once("job 1", 60.0, look)) for _ in range(50)]
        other = asyncio.create_task(looks().once("job 2", 60.0, lambda: -1))
        assert await other == -1, "another question does not wait for this one"
        asked[0].cancel()
        go.set()
        found = await asyncio.gather(*asked[1:])
        return [*found, await looks().once("job 1", 60.0, look), await looks().once("job 1", -1.0, look)]

    assert asyncio.run(ask()) == [0] * 50 + [1]


def test_a_look_that_fails_fails_for_those_who_asked_and_is_made_again() -> None:
    tries: list[int] = []

    def look() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("away")
        return "there"

    async def ask() -> str:
        with pytest.raises(OSError, match="away"):
            await looks().once("x", 60.0, look)
        return await looks().once("x", 60.0, look)

    assert asyncio.run(ask()) == "there"


def test_old_looks_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "KEEP_SECONDS", 0.0)

    async def ask() -> int:
        for number in range(20):
            await looks().once(number, 60.0, lambda: 0)
        return len(looks()._kept)

    assert asyncio.run(ask()) <= 2


def test_drawings_come_one_after_the_other_and_whoever_waits_has_his_before_the_rest() -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def draw(seconds: float) -> float:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(seconds)
        with lock:
            at_once -= 1
        return seconds

    async def ask() -> list[float]:
        await looks().drawn("first", 60.0, partial(draw, 0.1))
        assert looks()._turn.locked(), "the rest is after the answer"
        return await asyncio.gather(*(looks().drawn(seconds, 60.0, partial(draw, seconds)) for seconds in (0.01, 0.02, 0.03)))

    assert asyncio.run(ask()) == [0.01, 0.02, 0.03] and most == 1


def test_a_look_that_takes_longer_than_it_is_fresh_serves_all_who_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "KEEP_SECONDS", 0.0)
    go, made = threading.Event(), list[int]()

    def look() -> int:
        go.wait(10)
        made.append(1)
        return len(made)

    async def ask() -> list[int]:
        first = asyncio.create_task(looks().once("slow", 0.0, look))
        await asyncio.sleep(0.05)
        await looks().once("other", 0.0, lambda: 0)  # tidies
        second = asyncio.create_task(looks().once("slow", 0.0, look))
        await asyncio.sleep(0.05)
        go.set()
        return [await first, await second]

    assert asyncio.run(ask()) == [1, 1]
