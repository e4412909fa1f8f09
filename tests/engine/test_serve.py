"""The scheduler: it loads, batches, takes turns, gives memory back, and no request brings it down."""

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import llguidance.hf
import pytest
import torch

from app.domain.generation import Parameters
from app.domain.rendering import Rendered, Template, render
from app.errors import Unavailable
from tests.engine.conftest import toy_spec
from worker.engine import score, serve, shelf
from worker.engine.generate import Generation, Prompt, complete, make_ready, prepare
from worker.engine.load import Loaded, load, needed_bytes
from worker.engine.reporting import NullReporter
from worker.engine.serve import Scheduler, ScoreRequest, ServeRequest, count
from worker.engine.shelf import OwnRoom
from worker.engine.train import train

BUDGET = 1 << 30
WAIT = 20.0


class Listener:
    """A request's sink that can be waited for."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.writing = threading.Event()
        self._ended = threading.Event()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        if event["type"] == "token":
            self.writing.set()
        if event["type"] in ("done", "error"):
            self._ended.set()

    def last(self) -> Mapping[str, Any]:
        assert self._ended.wait(WAIT), f"no end after {WAIT} s: {self.events}"
        return self.events[-1]

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.events if event["type"] == "token")


def request(folder: Path, text: str = "a film", adapter: Path | None = None, **parameters: object) -> ServeRequest:
    chosen = Parameters.model_validate({"max_tokens": 8, "min_tokens": 8, "stop": [], **parameters})
    return ServeRequest(f"{folder.name}+{adapter}", folder, adapter, render(Template(), {"input": text}), chosen)


def ask(scheduler: Scheduler, wanted: ServeRequest, cancelled: Callable[[], bool] = lambda: False) -> Listener:
    listener = Listener()
    scheduler.submit(wanted, listener, cancelled)
    return listener


def test_an_answer_streams_and_says_what_it_cost(tiny: Path, start: Callable[..., Scheduler]) -> None:
    listener = ask(start(), request(tiny))
    done = listener.last()
    assert listener.events[0] == {"type": "loading", "fraction": 0.0}
    assert (done["type"], done["reason"], done["output_tokens"]) == ("done", "length", 8)
    loaded = load(tiny, device="cpu")
    assert listener.text == complete(loaded, [prepare(loaded, request(tiny).rendered, request(tiny).parameters)])[0].text


def test_requests_arriving_together_share_a_batch(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched(Generation):
        def __init__(self, loaded: Loaded, prompts: Sequence[Prompt], *more: Any) -> None:
            sizes.append(len(prompts))
            super().__init__(loaded, prompts, *more)

    monkeypatch.setattr(serve, "Generation", Watched)
    monkeypatch.setattr(serve, "GATHER", 0.2)
    scheduler = start(max_batch=3)
    listeners = [ask(scheduler, request(tiny, text)) for text in ("a", "b", "c", "d")]
    assert [listener.last()["type"] for listener in listeners] == ["done"] * 4
    assert sizes == [3, 1]
    assert sum(event == {"type": "loading", "fraction": 0.0} for listener in listeners for event in listener.events) == 3


def test_a_short_answer_does_not_wait_for_a_long_one(tiny: Path, other: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    long = ask(scheduler, request(tiny, max_tokens=300, min_tokens=300))
    assert long.writing.wait(WAIT)
    short = ask(scheduler, request(other, max_tokens=3, min_tokens=3))
    assert short.last()["output_tokens"] == 3
    assert long.events[-1]["type"] == "token"
    assert long.last()["output_tokens"] == 300


def test_two_models_stay_within_the_budget_least_recently_used_leaves(tiny: Path, other: Path, start: Callable[..., Scheduler]) -> None:
    room_for_one = int(needed_bytes(tiny) * 1.5)
    scheduler = start(room_for_one)
    for folder, loads in ((tiny, 1), (tiny, 0), (other, 1), (tiny, 1)):
        listener = ask(scheduler, request(folder))
        assert listener.last()["type"] == "done"
        assert sum(event == {"type": "loading", "fraction": 0.0} for event in listener.events) == loads
        assert list(scheduler.loaded()) == [request(folder).model]
    both = [ask(scheduler, request(folder, max_tokens=40, min_tokens=40)) for folder in (tiny, other)]
    assert [listener.last()["type"] for listener in both] == ["done", "done"]
    assert sum(scheduler.loaded().values()) <= room_for_one


def test_a_model_larger_than_the_budget_is_refused_and_the_others_go_on(tiny: Path, start: Callable[..., Scheduler]) -> None:
    refused = ask(start(1000), request(tiny)).last()
    assert (refused["type"], refused["code"]) == ("error", "model_too_large")


def test_idle_models_are_given_back_and_busy_ones_are_not(tiny: Path, other: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    ask(scheduler, request(other)).last()
    stop = threading.Event()
    busy = ask(scheduler, request(tiny, max_tokens=400, min_tokens=400), stop.is_set)
    assert busy.writing.wait(WAIT)
    scheduler.release_idle()
    ask(scheduler, request(tiny, max_tokens=1, min_tokens=1)).last()
    assert list(scheduler.loaded()) == [request(tiny).model]
    stop.set()
    assert busy.last()["reason"] == "cancelled"


@pytest.mark.parametrize("leaves", ["when asked to", "for another"])
def test_nothing_holds_a_model_any_more_when_its_memory_is_said_to_be_free(
    leaves: str, tiny: Path, other: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, held = list["weakref.ref[Any]"](), list[int]()

    def watched(*given: Any, **named: Any) -> Loaded:
        found = load(*given, **named)
        loaded.append(weakref.ref(found.model))
        return found

    class Watching(OwnRoom):
        def give_back(self, keys: Sequence[str]) -> None:
            held.append(sum(model() is not None for model in loaded))

    monkeypatch.setattr(shelf, "load", watched)
    size = needed_bytes(tiny)
    scheduler = start(int(size * 1.5) if leaves == "for another" else BUDGET, room=Watching("cpu"))
    for folder in (tiny, other):
        ask(scheduler, request(folder)).last()
    if leaves == "when asked to":
        scheduler.release_idle()
    until = time.monotonic() + WAIT
    while not held and time.monotonic() < until:
        time.sleep(0.01)
    assert held == [0], "a GPU's allocator keeps what something still refers to"


def test_a_bad_request_fails_alone(tiny: Path, tmp_path: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "GATHER", 0.1)
    scheduler = start()
    good = ask(scheduler, request(tiny))
    long = ask(scheduler, request(tiny, "long " * 900))
    missing = ask(scheduler, request(tmp_path / "nowhere"))
    assert good.last()["type"] == "done"
    assert long.last()["code"] == "prompt_too_long"
    assert missing.last()["code"] == "model_missing"
    assert all(missing.last()[field] for field in ("message", "advice"))


def test_neither_a_broken_sink_nor_a_broken_question_hurts_others(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "GATHER", 0.1)
    scheduler = start()

    def broken(*_: object) -> bool:
        raise ConnectionError("the stream is gone")

    scheduler.submit(request(tiny), broken)  # type: ignore[arg-type]
    asking = ask(scheduler, request(tiny), broken)
    fine = ask(scheduler, request(tiny))
    assert asking.last()["type"] == fine.last()["type"] == "done"
    assert fine.last()["reason"] == "length"


def test_a_crash_in_a_step_is_told_and_the_thread_lives(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = start()
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "step", lambda self: 1 / 0)
        failed = ask(scheduler, request(tiny)).last()
    assert (failed["type"], failed["code"]) == ("error", "engine_failed")
    assert ask(scheduler, request(tiny)).last()["type"] == "done"


def test_no_memory_for_a_model_is_told_as_something_that_passes(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(module: Any, *given: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    scheduler = start()
    told = ask(scheduler, request(tiny)).last()
    assert (told["type"], told["status"], told["code"]) == ("error", 503, "out_of_memory")
    monkeypatch.undo()
    assert ask(scheduler, request(tiny)).last()["type"] == "done", "and the next one is answered"


def test_cancelled_before_it_began_loads_nothing(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    done = ask(scheduler, request(tiny), lambda: True).last()
    assert (done["reason"], done["output_tokens"]) == ("cancelled", 0)
    assert scheduler.loaded() == {}


def test_adapters_are_models_of_their_own(tiny: Path, tmp_path: Path, start: Callable[..., Scheduler]) -> None:
    adapter = train(toy_spec(tiny, tmp_path, validation=[], max_steps=30), NullReporter()).artefact
    scheduler = start()
    plain, tuned = ask(scheduler, request(tiny, "it is bad 3")), ask(scheduler, request(tiny, "it is bad 3", adapter, min_tokens=0))
    assert tuned.last()["type"] == plain.last()["type"] == "done"
    assert tuned.text.strip().startswith("negative")
    assert plain.text != tuned.text


@pytest.mark.faults
def test_an_adapter_that_changed_on_disk_is_refused_by_name_and_its_base_still_answers(tiny: Path, tmp_path: Path, start: Callable[..., Scheduler]) -> None:
    adapter = train(toy_spec(tiny, tmp_path, validation=[], max_steps=2), NullReporter()).artefact
    scheduler = start()
    before = ask(scheduler, request(tiny, adapter=adapter))
    assert before.last()["type"] == "done"
    weights = adapter / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # in its last tensor: the file is read as before
    weights.write_bytes(data)
    kept = ask(scheduler, request(tiny, adapter=adapter))
    assert kept.last()["type"] == "done" and kept.text == before.text, "what is in memory is what was saved"
    scheduler.release_idle()
    refused, base = ask(scheduler, request(tiny, adapter=adapter)), ask(scheduler, request(tiny))
    assert (refused.last()["type"], refused.last()["code"]) == ("error", "files_changed")
    assert "adapter_model.safetensors" in refused.last()["message"] and refused.last()["advice"] and refused.text == ""
    assert base.last()["type"] == "done"


def test_closing_tells_those_who_wait(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    waiting = ask(scheduler, request(tiny, max_tokens=400, min_tokens=400))
    scheduler.close()
    assert waiting.last()["code"] == "engine_closed"
    with pytest.raises(Unavailable):
        scheduler.submit(request(tiny), Listener())


def test_tokens_are_counted_without_the_model(tiny: Path) -> None:
    rendered: Rendered = request(tiny).rendered
    assert count(tiny, rendered).total == len(prepare(load(tiny, device="cpu"), rendered, Parameters()).ids)


def test_labels_are_scored_beside_answers_being_written(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(score.PACK, "cpu", 8)
    scheduler = start()
    long = ask(scheduler, request(tiny, max_tokens=200, min_tokens=200))
    assert long.writing.wait(WAIT)
    prompts = tuple(render(Template(), {"input": text}) for text in ("a film", "a bad film", "not good"))
    listener = Listener()
    scheduler.submit(ScoreRequest(request(tiny).model, tiny, None, prompts, (" good", " bad")), listener)
    assert listener.last() == {"type": "done", "reason": "stop", "tokens": [2, 1]}
    scores = [event for event in listener.events if event["type"] == "scores"]
    assert [event["row"] for event in scores] == [0, 1, 2] and all(len(event["likelihoods"]) == 2 for event in scores)
    assert long.last()["output_tokens"] == 200


def test_scoring_stops_when_its_asker_leaves_and_a_bad_one_ends_alone(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    prompts = (render(Template(), {"input": "a film"}),)
    gone, bad = Listener(), Listener()
    scheduler.submit(ScoreRequest("m", tiny, None, prompts, (" good", " bad")), gone, lambda: True)
    scheduler.submit(ScoreRequest("m", tiny, None, prompts, (" very" * 3000, " bad")), bad)
    assert gone.last()["reason"] == "cancelled" and not [event for event in gone.events if event["type"] == "scores"]
    assert (bad.last()["type"], bad.last()["code"]) == ("error", "label_too_long")
    assert ask(scheduler, request(tiny)).last()["type"] == "done"


def test_requests_join_a_batch_that_is_being_written_and_write_what_each_gets_alone(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    long = ask(scheduler, request(tiny, "a long one", max_tokens=60, min_tokens=60))
    assert long.writing.wait(WAIT)
    late = [ask(scheduler, request(tiny, f"it is {'very ' * n}good {n}", max_tokens=10 + n, min_tokens=10 + n)) for n in range(5)]
    assert [listener.last()["output_tokens"] for listener in late] == [10, 11, 12, 13, 14] and long.last()["output_tokens"] == 60
    loaded = load(tiny, device="cpu")
    for n, listener in enumerate(late):
        wanted = request(tiny, f"it is {'very ' * n}good {n}", max_tokens=10 + n, min_tokens=10 + n)
        assert listener.text == complete(loaded, [prepare(loaded, wanted.rendered, wanted.parameters)])[0].text
    assert scheduler.answering() == 0


def test_several_answers_to_one_prompt_are_told_apart_and_counted(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    both = [ask(scheduler, request(tiny, "a film", n=3, temperature=1.5, seed=4)), ask(scheduler, request(tiny, "a film", temperature=1.5, seed=6))]
    three, one = both[0].last(), both[1].last()
    texts = ["".join(event["text"] for event in both[0].events if event.get("index") == at) for at in range(3)]
    assert len(set(texts)) == 3 and texts[2] == both[1].text, "each after the first has the next seed"
    assert three["output_tokens"] == 24 and three["input_tokens"] == one["input_tokens"]
    assert three["answers"] == [{"index": at, "reason": "length", "output_tokens": 8} for at in range(3)]
    assert "answers" not in one and all("index" not in event for event in both[1].events)


def test_what_prompts_share_is_read_once_also_by_later_requests(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler, shots = start(), "the plot is very good " * 12
    loaded = load(tiny, device="cpu")
    key = request(tiny).model
    for round_ in range(2):
        together = [ask(scheduler, request(tiny, f"{shots}{word} {round_}")) for word in ("good", "bad", "dull")]
        for word, listener in zip(("good", "bad", "dull"), together, strict=True):
            assert listener.last()["type"] == "done"
            wanted = request(tiny, f"{shots}{word} {round_}")
            assert listener.text == complete(loaded, [prepare(loaded, wanted.rendered, wanted.parameters)])[0].text
    known = scheduler._shelf.starts(key)
    assert known.covered(prepare(loaded, request(tiny, f"{shots}long").rendered, Parameters()).ids) > 60
    assert len(known._kept) == 1, "the questions to one prompt leave one start"
    scheduler.release_idle()
    ask(scheduler, request(tiny, "x", max_tokens=1, min_tokens=1)).last()
    assert scheduler._shelf.starts(key).bytes == 0, "given back with the model"


def test_a_bad_constraint_is_told_and_others_go_on(tiny: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    bad, good = ask(scheduler, request(tiny, json_schema={"type": "objekt"})), ask(scheduler, request(tiny, choices=["yes", "no"], min_tokens=0))
    assert (bad.last()["code"], bad.last()["status"]) == ("bad_constraint", 422) and "objekt" in bad.last()["message"]
    assert good.last()["reason"] == "stop" and good.text in ("yes", "no")


def test_a_loaded_model_is_made_ready_for_constraints_when_nobody_waits(tiny: Path, start: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    made, ready = list[Any](), threading.Event()
    build = llguidance.hf.from_tokenizer

    def counted(*given: Any, **more: Any) -> Any:
        made.append(more["eos_token"])
        return build(*given, **more)

    def seen(loaded: Loaded) -> None:
        make_ready(loaded)
        ready.set()

    monkeypatch.setattr(llguidance.hf, "from_tokenizer", counted)
    monkeypatch.setattr(serve, "make_ready", seen)
    scheduler = start()
    ask(scheduler, request(tiny)).last()
    assert ready.wait(WAIT) and made, "without anybody asking for it"
    before = len(made)
    held = ask(scheduler, request(tiny, choices=["yes", "no"], min_tokens=0))
    assert held.last()["reason"] == "stop" and len(made) == before, "the first constrained answer waits for nothing"
    ready.clear()
    scheduler.release_idle()
    ask(scheduler, request(tiny, max_tokens=1, min_tokens=1)).last()
    assert ready.wait(WAIT), "loaded anew, it is made ready anew"
