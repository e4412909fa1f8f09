"""The engine's door and the web's waiting room, over a real broker: what is asked for on one side comes out on the other."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from app import queue
from app.db import transaction
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.fitting import Fit
from app.domain.generation import Parameters, payload_key
from app.domain.model import Model
from app.services import fits, generate, prompts
from app.services.generate import EngineError, Request
from worker import interactive

FIELDS = {"mode": "structured", "instruction": "", "input_prefix": "Input:", "output_prefix": "Output:", "shots": [], "text": "", "messages": []}


@pytest.fixture(autouse=True)
def fresh(broker: str, base: Model) -> Iterator[None]:
    """Connections and scheduler of this test's broker; an engine that says it is there."""
    for cache in (queue._celery, queue._redis, interactive._redis, interactive._scheduler):
        cache.cache_clear()
    with transaction() as session:
        workers.present(session, "here/interactive", "engine", "interactive", [{"name": "cpu:0"}], {})
    yield
    if interactive._scheduler.cache_info().currsize:
        interactive.scheduler().close()
    for cached in (queue._redis, interactive._redis):
        if cached.cache_info().currsize:
            cached().close()


def ask(person: Who, base: Model, count_only: bool = False, **parameters: Any) -> Request:
    """Accept a generation; the Celery message goes nowhere, the test plays the task."""
    return generate.start(person, base, FIELDS, {"input": "the film is"}, Parameters.model_validate(parameters), count_only=count_only)


def answered(request: Request) -> list[dict[str, Any]]:
    thread = threading.Thread(target=interactive.generate, args=(request.id,))
    thread.start()

    async def collect() -> list[dict[str, Any]]:
        return [event async for event in generate.events(request)]

    try:
        return asyncio.run(collect())
    finally:
        thread.join(30)


def test_tokens_come_one_by_one_and_end_with_counts(person: Who, base: Model) -> None:
    events = answered(ask(person, base, max_tokens=12, min_tokens=12))
    assert events[-1]["type"] == "done" and events[-1]["output_tokens"] == 12 and events[-1]["input_tokens"] > 5 and events[-1]["latency_ms"] > 0
    assert sum(event["type"] == "token" for event in events) > 1


def test_the_same_seed_gives_the_same_answer(person: Who, base: Model) -> None:
    texts = []
    for _ in range(2):
        events = answered(ask(person, base, max_tokens=10, temperature=1.0, seed=5))
        texts.append("".join(event["text"] for event in events if event["type"] == "token"))
    assert texts[0] == texts[1]


def test_leaving_early_ends_the_generation(person: Who, base: Model) -> None:
    request = ask(person, base, max_tokens=400, min_tokens=400)
    thread = threading.Thread(target=interactive.generate, args=(request.id,))
    thread.start()

    async def take_two() -> None:
        events = generate.events(request)
        await anext(events)
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(take_two())
    thread.join(20)
    assert not thread.is_alive(), "the engine noticed that nobody listens"


def test_a_prompt_is_counted_as_the_model_sees_it(person: Who, base: Model) -> None:
    request = ask(person, base, count_only=True)
    thread = threading.Thread(target=interactive.generate, args=(request.id,))
    thread.start()
    counted = asyncio.run(generate.count(request))
    thread.join(20)
    assert counted["total"] == sum(counted["parts"]) + counted["template"] > 0


def test_whether_rows_fit_is_counted_without_loading_the_model(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "scheduler", lambda: pytest.fail("no weights are needed to count"))

    def asked(**wanted: Any) -> Fit:
        request = fits.start(person, model=base.id, dataset=toys.reference, **wanted)
        thread = threading.Thread(target=interactive.generate, args=(request.id,))
        thread.start()
        found = asyncio.run(fits.fit(request))
        thread.join(20)
        return found

    bare, shot = asked(), asked(shots=4)
    assert (bare.rows, bare.too_long, bare.window) == (40, 0, 512) and bare.longest < shot.longest < bare.room
    assert asked(answer="generate").answer == Parameters().max_tokens
    long = prompts.create(person, "long", {"instruction": "good or bad: " * 200})
    found = asked(prompt_version=long.reference, split="validation")
    assert (found.rows, found.too_long) == (20, 20) and found.longest > 512 and found.sentence.startswith("20 of 20 rows do not fit")


def test_an_error_of_the_engine_reaches_the_asker_with_its_advice(person: Who, base: Model) -> None:
    request = ask(person, base)
    with transaction() as session:
        session.execute(delete(Model).where(Model.id == base.id))
    with pytest.raises(EngineError) as caught:
        answered(request)
    assert caught.value.code == "not_found" and caught.value.advice


def test_a_request_that_has_expired_is_dropped(person: Who, base: Model) -> None:
    request = ask(person, base)
    queue._redis().delete(payload_key(request.id))
    interactive.generate(request.id)
    assert queue._redis().keys("*stream*") == []
