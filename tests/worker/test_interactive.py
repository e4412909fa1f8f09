"""The engine's door and the web's waiting room, over a real broker: what is asked for on one side comes out on the other."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import delete
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from app import queue
from app.broker import wait
from app.db import reading, transaction
from app.domain import chore as chore_rows
from app.domain.access import Who, owned
from app.domain.dataset import DatasetVersion
from app.domain.fitting import Fit
from app.domain.generation import Parameters, payload_key
from app.domain.model import Model
from app.domain.prompt import template_of
from app.domain.rendering import render
from app.errors import Invalid
from app.remote.ruler import OPENING, TURN
from app.services import chores, endpoints, examination, fits, generate, health, lab, prompts
from app.services.generate import EngineError, Request
from app.settings import settings
from tests.rows import add_rows
from tests.services.uploading import now
from tests.slow_engine import slow_engine
from worker import interactive
from worker.engine.folders import fingerprint

pytestmark = pytest.mark.usefixtures("engine")

FIELDS = {"mode": "structured", "instruction": "", "input_prefix": "Input:", "output_prefix": "Output:", "shots": [], "text": "", "messages": []}


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


def test_leaving_early_ends_the_generation(person: Who, base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = slow_engine(monkeypatch)
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
    assert wait(lambda: interactive.scheduler().answering() == 0, 20), "the engine noticed that nobody listens"
    assert len(steps) < 200, "and did not go on to the end"


def test_a_prompt_is_counted_as_the_model_sees_it(person: Who, base: Model) -> None:
    request = ask(person, base, count_only=True)
    thread = threading.Thread(target=interactive.generate, args=(request.id,))
    thread.start()
    counted = asyncio.run(generate.count(request))
    thread.join(20)
    assert counted["total"] == sum(counted["parts"]) + counted["template"] > 0 and counted["window"] > counted["total"]


def test_the_lab_shows_a_prompt_as_the_tokenizer_gets_it(person: Who, base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    template, hand = template_of(FIELDS), generate.hand

    def handed(*given: Any) -> Request:
        request = hand(*given)
        threading.Thread(target=interactive.generate, args=(request.id,)).start()
        return request

    monkeypatch.setattr(generate, "hand", handed)
    seen = asyncio.run(lab.read_by(person, base.id, template, {"input": "the film is"}))
    assert "".join(piece["text"] for piece in seen.pieces).endswith(render(template, {"input": "the film is"}).text)
    assert seen.total == sum(seen.parts) + seen.template
    with pytest.raises(Invalid, match="which the data does not have"):
        asyncio.run(lab.read_by(person, base.id, template_of({**FIELDS, "instruction": "{inptu}"}), {"input": "x"}))


def fitted(question: fits.Question) -> Fit:
    assert isinstance(question, Request), "the engine counts"
    thread = threading.Thread(target=interactive.generate, args=(question.id,))
    thread.start()
    found = asyncio.run(fits.fit(question))
    thread.join(20)
    return found


def test_a_model_elsewhere_is_counted_by_the_tokenizer_of_one_here(person: Who, base: Model, toys: DatasetVersion) -> None:
    windows = {"tiny": {"tokens": 4096, "tokenizer": base.id}}
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny"], windows=windows)
    prompt = prompts.create(person, "plain", {"input_prefix": "Input:", "output_prefix": "Output:", "parameters": {"max_tokens": 5}}).reference
    asked: dict[str, Any] = {"dataset": toys.reference, "prompt_version": prompt, "answer": "generate", "split": "validation"}
    found, here = fitted(fits.start(person, model="there/tiny", **asked)), fitted(fits.start(person, model=base.id, **asked))
    assert (found.rows, fitted(fits.start(person, model="there/tiny", limit=3, **asked)).rows) == (20, 3)
    assert found.longest == here.longest + OPENING + TURN, "the same text, and what its server may write around a turn"
    endpoints.update(person, there.endpoint.id, {"windows": {"tiny": {"tokens": 60, "tokenizer": base.id}}})
    found = fitted(fits.start(person, model="there/tiny", **asked))
    assert (found.window, found.answer, found.rows) == (60, 5, 20) and found.too_long == 20
    assert found.sentence.endswith(f"in the 60 tokens of there/tiny; the longest takes {found.longest + 5}. Tokens are counted by the tokenizer of Tiny.")
    endpoints.update(person, there.endpoint.id, {"windows": {"tiny": {"tokens": 60}}})
    question = fits.start(person, model="there/tiny", **asked)
    assert isinstance(question, fits.Reckoned) and "reckoned from the text" in asyncio.run(fits.fit(question)).sentence


def play(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of the engine is answered, as its task does."""
    ask = queue.ask_engine

    def asked(request: str, payload: dict[str, Any]) -> None:
        ask(request, payload)
        threading.Thread(target=interactive.generate, args=(request,)).start()

    monkeypatch.setattr(queue, "ask_engine", asked)


def count(person: Who, version: DatasetVersion, model: int) -> None:
    """A version's lengths in tokens of a model, as the importing child counts them."""
    chores.begin_lengths(person, version.reference, model)
    with reading() as session:
        key = chore_rows.waiting(session, ["lengths"])
    assert key is not None
    done = chores.run(key)
    assert done is not None and done.kind == "lengths"
    examination.heed_lengths(done.version_id)


def test_it5_texts_of_a_script_that_a_tokenizer_does_not_know_are_said(person: Who, base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)
    folder = settings().models_folder / "words"
    known = ["[UNK]", *(word for number in range(10) for word in (f"w{number}",)), "the", "plot", "is", "good", "bad"]
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    LlamaConfig(max_position_embeddings=64).save_pretrained(folder)
    with transaction() as session:
        model = Model(**owned(person), name="Words", kind="foundation", folder="words", content_hash=fingerprint(folder), parameters=1, alias="words")
        session.add(model)
        session.flush()
        other = model.id
    rows = [(f"the plot is {'good' if number % 2 else 'bad'} w{number % 10} w{number // 10}", "ab"[number % 2], "train") for number in range(40)]
    strange = [(f"\U0001f600 \U0001f680 \u0434\u0430 {number} good", "a", "train") for number in range(4)]
    version = add_rows(person, "emoji", [*rows, *strange])

    def said() -> dict[str, str]:
        return {one.code: one.sentence for one in health.report(person, version.reference).findings or ()}

    assert "unknown_tokens" not in said()
    count(person, version, other)
    assert said()["unknown_tokens"] == "In 4 rows more than half of the tokens are unknown to Words: to it such texts look alike."
    assert [row.input for row in health.rows(person, version.reference, "unknown_tokens").rows] == [text for text, _, _ in strange], "kept as they are"
    count(person, version, base.id)
    assert "unknown_tokens" not in said(), "a tokenizer of bytes knows them all"
    count(person, version, other)
    assert now(health.mend(person, version.reference, "unknown_tokens")).version.rows == 40


def test_very_long_inputs_are_those_that_the_chosen_model_cannot_read_whole(person: Who, base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """600 words are no long text by their characters, and more than the tiny model takes at once."""
    play(monkeypatch)
    rows = [(f"the plot is number {number}", "ab"[number % 2], "train") for number in range(20)]
    version = add_rows(person, "long", [*rows, ("good " * 600, "a", "train"), ("bad " * 700, "b", "train")])

    def found() -> dict[str, str]:
        return {one.code: one.sentence for one in health.report(person, version.reference).findings or ()}

    assert "long_inputs" not in found()
    count(person, version, base.id)
    assert found()["long_inputs"].startswith("2 rows have an input of more than the 512 tokens that Tiny takes at once (the longest ")
    report = health.rows(person, version.reference, "long_inputs")
    assert [row.input[:4] for row in report.rows] == ["good", "bad "]
    assert now(health.mend(person, version.reference, "long_inputs")).version.rows == 20
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny"])
    with pytest.raises(Invalid, match="its tokenizer is there"):
        chores.begin_lengths(person, version.reference, there.models[0].id)


def test_whether_rows_fit_is_counted_without_loading_the_model(person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "scheduler", lambda: pytest.fail("no weights are needed to count"))

    def asked(**wanted: Any) -> Fit:
        return fitted(fits.start(person, model=base.id, dataset=toys.reference, **wanted))

    bare, shot = asked(), asked(shots=4)
    assert (bare.rows, bare.too_long, bare.window) == (40, 0, 512) and bare.longest < shot.longest < bare.room
    assert asked(answer="generate").answer == Parameters().max_tokens
    long = prompts.create(person, "long", {"instruction": "good or bad: " * 200})
    found = asked(prompt_version=long.reference, split="validation")
    assert (found.rows, found.too_long) == (20, 20) and found.longest > 512 and found.sentence.startswith("20 of 20 rows do not fit")
    found = asked(prompt_version=long.reference, split="validation", limit=2)
    assert (found.rows, found.too_long) == (2, 2), "rows that nobody scores are not read"
    tuned = asked(split="train", max_length=bare.longest)
    assert tuned.too_long and tuned.longest > bare.longest, "an example has its answer in it"
    assert tuned.sentence.endswith(f"in the {bare.longest} tokens of max_length; the longest takes {tuned.longest}.")


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
