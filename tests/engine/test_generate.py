"""Writing answers: what stops them, what is never shown, and that company changes nothing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from app.domain.generation import Parameters
from app.domain.rendering import Part, Rendered, Template, render
from app.errors import FettleError, Invalid
from tests.engine.conftest import make_tokenizer, toy_rows
from worker.engine import generate, reading
from worker.engine.constrain import Guide
from worker.engine.generate import Completion, Finish, Generation, Prompt, complete, prepare
from worker.engine.load import Loaded
from worker.engine.prefix import common, read, shaped
from worker.engine.reporting import Stopped
from worker.engine.sample import Sampler
from worker.engine.text import Decoder, Gate

TOKENIZER = make_tokenizer()


def prompt(loaded: Loaded, text: str, **parameters: object) -> Prompt:
    return prepare(loaded, render(Template(), {"input": text}), Parameters.model_validate({"max_tokens": 12, "stop": [], **parameters}))


def one(loaded: Loaded, text: str, **parameters: object) -> Completion:
    return complete(loaded, [prompt(loaded, text, **parameters)])[0]


def endless(chosen: Prompt) -> Prompt:
    """The same prompt without an end token, so that its length is known."""
    return Prompt(chosen.ids, chosen.parameters, chosen.stops, frozenset(), chosen.cancelled)


def test_greedy_writing_is_what_the_model_finds_likeliest(loaded: Loaded) -> None:
    asked = endless(prompt(loaded, "a film"))
    ids = list(asked.ids)
    for _ in range(12):
        with torch.no_grad():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    done = complete(loaded, [asked])[0]
    assert done.text == TOKENIZER.decode(ids[len(asked.ids) :]).rstrip("\ufffd")
    assert (done.finish.reason, done.finish.input_tokens, done.finish.output_tokens) == ("length", len(asked.ids), 12)
    assert done.finish.latency_ms > 0


def test_a_batch_writes_what_each_prompt_gets_alone(loaded: Loaded) -> None:
    texts = [values["input"] * (1 + n % 3) for n, (values, _) in enumerate(toy_rows(7))]
    asked = [endless(prompt(loaded, text, max_tokens=4 + n)) for n, text in enumerate(texts)]
    together = complete(loaded, asked)
    assert [done.text for done in together] == [complete(loaded, [alone])[0].text for alone in asked]
    assert [done.finish.output_tokens for done in together] == [4 + n for n in range(7)]


def test_a_shared_start_and_small_chunks_change_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [endless(prompt(loaded, text)) for text in ("good", "bad and long and dull", "a")]
    prefix = read(loaded.model, asked[0].ids[: common([one.ids for one in asked])], loaded.device)
    expected = [complete(loaded, [alone])[0].text for alone in asked]
    monkeypatch.setattr(reading, "CHUNK", 3)
    texts = ["", "", ""]
    for delta in Generation(loaded, asked, prefix).deltas():
        texts[delta.row] += delta.text
    assert len(prefix.ids) > 2
    assert texts == expected


def test_a_cache_that_grows_in_place_is_the_librarys(loaded: Loaded) -> None:
    ids, own, theirs = list(prompt(loaded, "a film").ids), read(loaded.model, (), loaded.device).cache, DynamicCache()
    for round_ in range(3):
        more = ids if not round_ else [round_ + 5] * 70 if round_ == 1 else [9]
        for cache in (own, theirs):
            with torch.no_grad():
                loaded.model(input_ids=torch.tensor([more]), past_key_values=cache, use_cache=True)
        if not round_:
            own = shaped(own, lambda tensor: tensor.expand(1, -1, -1, -1))
        known = [layer.keys.clone() for layer in own.layers]
        fork = shaped(own, lambda tensor: tensor)
        with torch.no_grad():
            loaded.model(input_ids=torch.tensor([[3]]), past_key_values=fork, use_cache=True)
        for layer, same, before in zip(own.layers, theirs.layers, known, strict=True):
            assert torch.allclose(layer.keys, same.keys, atol=1e-5) and torch.allclose(layer.values, same.values, atol=1e-5)
            assert torch.equal(layer.keys, before), "what goes on from it does not touch it"


def test_seeds_make_samples_repeatable_also_in_company(loaded: Loaded) -> None:
    asked = [endless(prompt(loaded, "a film", temperature=1.5, seed=seed)) for seed in (1, 2, 1)]
    first, second, third = (done.text for done in complete(loaded, asked))
    assert first == third == complete(loaded, asked[:1])[0].text
    assert first != second


def test_an_end_token_stops_and_min_tokens_holds_it_back(loaded: Loaded) -> None:
    free = endless(prompt(loaded, "a film"))
    text = complete(loaded, [free])[0].text
    third = Generation(loaded, [free])
    written: list[int] = []
    while len(written) < 3:
        third.step()
        written.append(third._answers[0].token)
    ends = frozenset({written[2]})
    stopped = complete(loaded, [Prompt(free.ids, free.parameters, (), ends)])[0]
    assert stopped.finish.reason == "stop"
    assert stopped.finish.output_tokens <= 3
    assert text.startswith(stopped.text)
    held = complete(loaded, [Prompt(free.ids, free.parameters.model_copy(update={"min_tokens": 6}), (), ends)])[0]
    assert held.finish.output_tokens >= 6


def test_a_stop_string_ends_the_answer_and_is_not_shown(loaded: Loaded) -> None:
    text = complete(loaded, [endless(prompt(loaded, "a film", max_tokens=20))])[0].text
    stop = text[6:9]
    done = complete(loaded, [Prompt(*_parts(endless(prompt(loaded, "a film", max_tokens=20)), (stop,)))])[0]
    assert done.text == text[: text.index(stop)]
    assert done.finish.reason == "stop"


def _parts(chosen: Prompt, stops: tuple[str, ...]) -> tuple[tuple[int, ...], Parameters, tuple[str, ...], frozenset[int]]:
    return chosen.ids, chosen.parameters, stops, chosen.ends


def test_without_stop_strings_of_their_own_requests_stop_where_the_next_shot_would_start(loaded: Loaded) -> None:
    rendered = render(Template(), {"input": "x"})
    assert prepare(loaded, rendered, Parameters()).stops == ("\nInput:",)
    assert prepare(loaded, rendered, Parameters(stop=["."])).stops == (".",)


def test_cancelling_ends_one_answer_and_leaves_the_others(loaded: Loaded) -> None:
    asked = [endless(prompt(loaded, text)) for text in ("good", "bad")]
    steps = 0
    leaving = Prompt(*_parts(asked[0], ()), cancelled=lambda: steps >= 3)
    generation = Generation(loaded, [leaving, asked[1]])
    finishes: dict[int, Finish] = {}
    while not generation.done:
        finishes |= {delta.row: delta.finish for delta in generation.step() if delta.finish}
        steps += 1
    assert (finishes[0].reason, finishes[0].output_tokens) == ("cancelled", 3)
    assert (finishes[1].reason, finishes[1].output_tokens) == ("length", 12)


def test_completing_many_reports_and_stops(loaded: Loaded) -> None:
    asked = [prompt(loaded, text) for text in ("good", "bad")]
    ticks: list[tuple[int, int]] = []
    complete(loaded, asked, progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (2, 2)
    with pytest.raises(Stopped):
        complete(loaded, asked, should_stop=lambda: True)
    assert complete(loaded, []) == []


def test_prompts_must_leave_room(loaded: Loaded) -> None:
    with pytest.raises(Invalid, match="takes 512"):
        prompt(loaded, "a very long plot " * 300)
    with pytest.raises(Invalid, match="empty"):
        prepare(loaded, Rendered((Part("", True),)), Parameters())
    nearly = endless(prompt(loaded, "\x00" * 490, max_tokens=100))
    assert complete(loaded, [nearly])[0].finish.output_tokens == 512 - len(nearly.ids)


@given(st.text(max_size=30), st.integers(0, 3))
def test_decoding_never_shows_half_a_character(text: str, cut: int) -> None:
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    decoder = Decoder(TOKENIZER, TOKENIZER("Output:")["input_ids"])
    pieces = [decoder.push(token) for token in ids[: len(ids) - cut]]
    joined = "".join(pieces) + decoder.rest()
    assert text.startswith(joined)
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    if not cut and "\ufffd" not in text:
        assert joined == text


@given(st.text(alphabet="abx", max_size=40), st.lists(st.text(alphabet="abx", min_size=1, max_size=4), max_size=3), st.integers(1, 5))
def test_the_gate_passes_exactly_what_stands_before_the_first_stop(text: str, stops: Sequence[str], size: int) -> None:
    gate, passed = Gate(stops), ""
    for at in range(0, len(text), size):
        passed += gate.push(text[at : at + size])
        assert not any(stop in passed for stop in stops)
        if gate.closed:
            break
    passed += gate.rest()
    # A stop string is found as soon as it is complete, so the one that ends first counts.
    ends = [text.find(stop) for stop in stops if stop in text]
    if size == 1 and ends:
        assert gate.closed
        first = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        assert passed == text[: min(text[:first].find(stop) for stop in stops if stop in text[:first])]
    if not ends:
        assert passed == text


def test_sampling_obeys_its_limits() -> None:
    logits = torch.tensor([0.0, 3.0, 2.9, -1.0, 2.8])

    def drawn(**parameters: object) -> set[int]:
        return {Sampler(Parameters.model_validate({"temperature": 1.0, "seed": seed, **parameters}), [], frozenset({1})).choose(logits) for seed in range(60)}

    assert drawn(temperature=0.0) == {1}
    assert drawn(top_k=2) == {1, 2}
    assert drawn(top_p=0.5) <= {1, 2}
    assert drawn(top_p=0.01) == {1}
    assert 1 not in drawn(min_tokens=1)
    again = Sampler(Parameters(repetition_penalty=1.5), [1, 2], frozenset())
    assert [again.choose(logits), again.choose(logits)] == [4, 1]


def test_what_goes_wrong_with_one_prompt_leaves_the_others_alone(loaded: Loaded) -> None:
    class Stuck(Guide):
        """A constraint that grows too large to follow at once."""

        def __init__(self) -> None:
            pass

        def forbidden(self) -> torch.Tensor:
            return torch.zeros(loaded.model.config.vocab_size, dtype=torch.bool)

        def take(self, token: int) -> None:
            raise Invalid("constraint_failed", f"Nothing can follow {token}.", "Use another constraint.")

    asked = [prompt(loaded, text, max_tokens=4) for text in ("a good film", "bad", "long and dull")]
    alone = [complete(loaded, [one])[0].text for one in asked]
    broken = [asked[0], replace(asked[1], guide=Stuck), asked[2]]
    failed: dict[int, FettleError] = {}
    found = complete(loaded, broken, failed=failed)
    assert list(failed) == [1] and failed[1].code == "constraint_failed" and found[1].text == ""
    assert [found[0].text, found[2].text] == [alone[0], alone[2]]
    with pytest.raises(Invalid):
        complete(loaded, broken)


def test_answers_asked_for_one_at_a_time_read_the_start_that_they_share_once(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [prompt(loaded, values["input"], max_tokens=3) for values, _ in toy_rows(4)]
    starts = []

    def kept(*given: object) -> object:
        starts.append(given[1])
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(generate, "read", kept)
    took = generate.alone(loaded, asked)
    assert len(took) == 4 and min(took) > 0 and [len(start) for start in starts] == [common([one.ids for one in asked])]  # type: ignore[arg-type]
    assert generate.alone(loaded, []) == []
