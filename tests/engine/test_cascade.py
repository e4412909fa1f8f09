"""A start that rows share lies in memory once while they are answered: each row writes what it writes alone, however rows come and go."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from app.domain.generation import Parameters
from app.domain.rendering import Template, render
from tests.engine.conftest import toy_spec
from worker.engine import cascade, reading
from worker.engine.generate import Generation, Prompt, complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.prefix import Prefix, common, read
from worker.engine.reading import Continuing
from worker.engine.reporting import NullReporter
from worker.engine.starts import Starts
from worker.engine.train import train

SHOTS = "the plot is very good, it was not worth it, a funny film. " * 6
OTHERS = "dull and long! it is very bad, a stirring end. " * 6
QUESTIONS = ["good", "bad and long and dull", "a", "it was not worth it, and the end is very long and very dull", "the film"]


@pytest.fixture(scope="module")
def ready(tiny: Path) -> Loaded:
    """The same model as `loaded`, for answering."""
    return load(tiny, device="cpu", answering=True)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and tokens of these tests are few."""
    monkeypatch.setattr(cascade, "LEAST_ROWS", 1)
    monkeypatch.setattr(cascade, "LEAST_COPIES", 64)


@pytest.fixture
def asked_behind(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were read or written behind a start that was apart, call by call."""
    calls: list[int] = []
    behind = cascade.behind

    def noted(model: Any, start: Prefix, mask: torch.Tensor, new: int) -> Any:
        calls.append(len(mask))
        return behind(model, start, mask, new)

    monkeypatch.setattr(cascade, "behind", noted)
    return calls


def prompts(loaded: Loaded, start: str, questions: Sequence[str] = QUESTIONS, **parameters: object) -> list[Prompt]:
    """Prompts whose answers have a known length: 6 tokens, 7, 8 …"""
    made = [
        prepare(loaded, render(Template(), {"input": start + text}), Parameters.model_validate({"max_tokens": 6 + at, "stop": [], **parameters}))
        for at, text in enumerate(questions)
    ]
    return [Prompt(one.ids, one.parameters, (), frozenset(), one.cancelled) for one in made]


def alone(loaded: Loaded, asked: Sequence[Prompt]) -> list[str]:
    return [complete(loaded, [one])[0].text for one in asked]


def start_of(loaded: Loaded, asked: Sequence[Prompt]) -> Prefix:
    return read(loaded.model, asked[0].ids[: common([one.ids for one in asked])], loaded.device)


def written(batch: Generation, before: dict[int, str] | None = None) -> list[str]:
    """What each row writes to its end, behind what it wrote before, in the order of the rows."""
    texts = dict(before or {})
    for delta in batch.deltas():
        texts[delta.row] = texts.get(delta.row, "") + delta.text
    return [texts[row] for row in sorted(texts)]


@pytest.mark.parametrize("chunk", [3, 384])
@pytest.mark.parametrize("known", [True, False])
def test_each_row_behind_a_shared_start_writes_what_it_writes_alone(
    ready: Loaded, loaded: Loaded, asked_behind: list[int], monkeypatch: pytest.MonkeyPatch, chunk: int, known: bool
) -> None:
    asked = prompts(ready, SHOTS)
    expected = alone(loaded, asked)
    monkeypatch.setattr(reading, "CHUNK", chunk)
    monkeypatch.setattr(reading, "LEAST_ROW", 1)
    shared = common([one.ids for one in asked])
    batch = Generation(ready, asked, start_of(ready, asked)) if known else Generation(ready, asked, None, shared)
    assert written(batch) == expected
    assert asked_behind[0] == 5 and asked_behind[-1] == 1, "rows leave, and the last one goes on behind the start"


def test_the_start_is_copied_where_there_are_too_many_scores(ready: Loaded, loaded: Loaded, asked_behind: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "MOST_SCORES", 2_000)
    asked = prompts(ready, SHOTS)
    assert written(Generation(ready, asked, start_of(ready, asked))) == alone(loaded, asked) and asked_behind


def test_a_start_is_copied_where_that_is_as_fast(ready: Loaded, asked_behind: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "LEAST_COPIES", 300)
    asked = prompts(ready, "it ")
    assert len(start_of(ready, asked).ids) and written(Generation(ready, asked, start_of(ready, asked))) and not asked_behind


def test_a_prompt_with_several_answers_becomes_several_rows(ready: Loaded, loaded: Loaded, asked_behind: list[int]) -> None:
    asked = prompts(ready, SHOTS, QUESTIONS[:2], n=3, temperature=1.5, seed=4, max_tokens=9)
    texts = [
        [
            "".join(delta.text for delta in deltas if (delta.row, delta.index) == (row, index))
            for deltas in [list(Generation(model, asked, start_of(model, asked)).deltas())]
            for row in range(2)
            for index in range(3)
        ]
        for model in (ready, loaded)
    ]
    assert texts[0] == texts[1] and len(set(texts[0])) > 3 and asked_behind[-1] == 6


def begun(
    loaded: Loaded, asked: Sequence[Prompt], prefix: Prefix | None, first_row: int = 0, texts: dict[int, str] | None = None, steps: int = 2
) -> Generation:
    """A batch that has read its prompts and written some tokens; what they say goes into `texts`."""
    batch, told = Generation(loaded, asked, prefix, first_row=first_row), {} if texts is None else texts
    while not batch.writing or steps:
        steps -= batch.writing
        for delta in batch.step():
            told[delta.row] = told.get(delta.row, "") + delta.text
    return batch


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "start", "apart"),
    [
        (1000, 1000, SHOTS, True),
        (0, 1000, SHOTS, True),
        (1000, 0, SHOTS, True),
        (70, 1000, SHOTS, True),
        (0, 70, SHOTS, True),
        (1000, 1000, OTHERS, False),
        (1000, 0, "", False),
    ],
    ids=["the same start", "the first read all by itself", "the second did", "a shorter start", "the second a shorter one", "another start", "no start"],
)
def test_batches_that_become_one_write_what_each_row_writes_alone(
    ready: Loaded, loaded: Loaded, asked_behind: list[int], first: int, second: int, start: str, apart: bool, turned: bool
) -> None:
    every = [prompts(ready, SHOTS), prompts(ready, start)]
    starts = [
        None if not count else start_of(ready, one).first(min(count, common([each.ids for each in one])))
        for count, one in zip((first, second), every, strict=True)
    ]
    texts: dict[int, str] = {}
    batches = [begun(ready, every[0][:2], starts[0], 0, texts), begun(ready, every[1][2:], starts[1], 2, texts, 0)]
    one, other = reversed(batches) if turned else batches
    assert one.joins(other)
    one.take_in(other)
    asked_behind.clear()
    assert written(one, texts) == alone(loaded, [*every[0][:2], *every[1][2:]])
    assert bool(asked_behind) == apart


def test_rows_that_come_one_after_the_other_stand_behind_one_copy_once_they_are_enough(
    ready: Loaded, loaded: Loaded, asked_behind: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LEAST_ROWS", 3)
    asked, texts = prompts(ready, SHOTS), dict[int, str]()
    start = start_of(ready, asked)
    all_of_them, *others = (begun(ready, [one], start, row, texts, 0) for row, one in enumerate(asked))
    for number, one in enumerate(others, 2):
        all_of_them.take_in(one)
        for delta in all_of_them.step():
            texts[delta.row] = texts.get(delta.row, "") + delta.text
        assert bool(asked_behind) == (number >= 3)
    assert written(all_of_them, texts) == alone(loaded, asked) and asked_behind[-1] == 1


def test_rows_that_share_nothing_stay_apart_however_long_they_are(
    ready: Loaded, loaded: Loaded, asked_behind: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LEAST_ROWS", 2)
    asked = [prompts(ready, text * 6)[at] for at, text in enumerate((SHOTS[:20], OTHERS[:30], "a funny film ", "it was not ", ""))]
    texts: dict[int, str] = {}
    all_of_them, *others = (begun(ready, [one], None, row, texts, 0) for row, one in enumerate(asked))
    for one in others:
        all_of_them.take_in(one)
    assert written(all_of_them, texts) == alone(loaded, asked) and not asked_behind


def test_a_start_does_not_grow_with_what_is_read_behind_it(ready: Loaded) -> None:
    nothing, asked = read(ready.model, (), ready.device), prompts(ready, SHOTS)
    written(Generation(ready, asked, nothing))
    assert nothing.length == 0


def test_what_was_read_of_a_row_is_what_reading_it_alone_gives(ready: Loaded) -> None:
    asked = prompts(ready, SHOTS)
    batch = begun(ready, asked, start_of(ready, asked))
    assert isinstance(batch._reading, Continuing) and batch._reading._apart
    ids = asked[3].ids
    found, wanted = batch._reading.read_row(3, ids), read(ready.model, ids, ready.device)
    assert found.ids == ids and found.length == len(ids)
    for layer, same in zip(found.cache.layers, wanted.cache.layers, strict=True):
        assert torch.allclose(layer.keys, same.keys, atol=1e-4) and torch.allclose(layer.values, same.values, atol=1e-4)


def test_what_a_batch_leaves_for_later_ones_is_the_start_and_long_rows(ready: Loaded) -> None:
    starts, asked = Starts(1 << 30), prompts(ready, SHOTS, ["good", "bad " * 60])
    batch = begun(ready, asked, start_of(ready, asked), steps=0)
    batch.leave_starts(starts)
    assert starts.covered((*asked[0].ids, 1)) >= len(start_of(ready, asked).ids) and starts.covered((*asked[1].ids, 1)) == len(asked[1].ids)


def test_a_cancelled_row_leaves_before_anything_was_read(ready: Loaded, loaded: Loaded) -> None:
    asked = prompts(ready, SHOTS)
    gone = [Prompt(one.ids, one.parameters, (), frozenset(), lambda: True) if at in (0, 3) else one for at, one in enumerate(asked)]
    texts = written(Generation(ready, gone, start_of(ready, asked)))
    assert [texts[row] for row in (1, 2, 4)] == alone(loaded, [asked[row] for row in (1, 2, 4)])


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt_tuning", "p_tuning"])
def test_so_do_rows_of_a_tuned_model(tiny: Path, tmp_path: Path, asked_behind: list[int], method: str) -> None:
    tuned = train(toy_spec(tiny, tmp_path, method, max_steps=4), NullReporter())
    plain, made = (load(tiny, adapter=tuned.artefact, device="cpu", answering=answering) for answering in (False, True))
    asked = prompts(made, SHOTS)
    assert made.cascades and not plain.cascades
    texts: dict[int, str] = {}
    early, late = begun(made, asked[:2], None, 0, texts), begun(made, asked[2:], start_of(made, asked), 2, texts, 0)
    early.take_in(late)
    assert written(early, texts) == alone(plain, asked) and asked_behind


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}


@pytest.mark.parametrize(
    ("family", "can"),
    [
        (lambda: MistralForCausalLM(MistralConfig(**SMALL, head_dim=8, sliding_window=None)), True),
        (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4)), True),
        (lambda: MistralForCausalLM(MistralConfig(**SMALL, head_dim=8, sliding_window=16)), False),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8)), False),
    ],
    ids=["Mistral", "GPT-2", "a window", "a soft cap and windows"],
)
def test_which_models_can_is_found_out(family: Callable[[], Any], can: bool) -> None:
    model = family().eval()
    usual = model.config._attn_implementation
    assert cascade.cascades(model) is can and model.config._attn_implementation == usual


def test_an_encoder_decoder_cannot(translator: Path, tiny: Path) -> None:
    assert not load(translator, device="cpu", answering=True).cascades and load(tiny, device="cpu", answering=True).cascades


def test_a_model_that_looks_at_its_start_in_another_way_is_found_out(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    attend = cascade.attend

    def blind(module: Any, query: torch.Tensor, *args: Any, **others: Any) -> Any:
        return attend(module, query * 1.5, *args, **others)

    from transformers import AttentionInterface

    monkeypatch.setitem(AttentionInterface._global_mapping, cascade.NAME, blind)
    assert not cascade.cascades(loaded.model)
