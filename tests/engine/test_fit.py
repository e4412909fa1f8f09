"""Rows against a real tokenizer and a real window: what is counted without weights is what the model has room for."""

from pathlib import Path

import pytest

from app.domain.rendering import Shot, Template, render
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from worker.engine.encode import encode_pair, encode_prompt
from worker.engine.fit import fit_examples, fit_rows, ruler
from worker.engine.load import load, window
from worker.engine.reporting import NullReporter
from worker.engine.train import train

TEMPLATE = Template(instruction="good or bad", shots=(Shot("good", "positive"), Shot("bad", "negative")))
LABELS = ["positive", "negative"]


def test_files_say_the_window_of_the_loaded_model(tiny: Path, tmp_path: Path) -> None:
    soft = train(toy_spec(tiny, tmp_path, "prompt_tuning", max_steps=1, virtual_tokens=7), NullReporter()).artefact
    bare, tuned = ruler(tiny, None, TEMPLATE, LABELS, 0), ruler(tiny, soft, TEMPLATE, LABELS, 0)
    assert bare.window == window(load(tiny, device="cpu").model)
    assert tuned.window == window(load(tiny, adapter=soft, device="cpu").model) == bare.window - 7


def test_an_answer_takes_the_longest_labels_tokens_or_as_many_as_may_be_written(tiny: Path, translator: Path) -> None:
    tokenizer = load(tiny, device="cpu").tokenizer
    longest = max(len(tokenizer(f" {label}", add_special_tokens=False).input_ids) + 1 for label in LABELS)
    assert ruler(tiny, None, TEMPLATE, LABELS, 99).answer == longest
    assert ruler(tiny, None, TEMPLATE, [], 99).answer == 99
    assert ruler(translator, None, TEMPLATE, LABELS, 99).answer == 0


def test_a_look_counts_as_one_that_encodes_every_row(tiny: Path) -> None:
    measure = ruler(tiny, None, TEMPLATE, LABELS, 0)
    rows = [{"input": "good " * words} for words in range(1, measure.window, 7)]
    tokens = [measure.count(TEMPLATE, values) for values in rows]
    found = measure.look(TEMPLATE, rows)
    assert (found.rows, found.longest) == (len(rows), max(tokens))
    assert 0 < found.too_long == sum(count > measure.window - measure.answer for count in tokens) < len(rows)
    assert measure.look(TEMPLATE, rows[:2]).longest == max(tokens[:2])


def test_a_value_counts_as_often_as_the_prompt_shows_it(tiny: Path) -> None:
    """In a freeform text it may stand several times; before a shot's input it does once for each shot."""
    shots = tuple(Shot("good", "positive") for _ in range(8))
    for template in (Template("freeform", text="{input} {input} {input} {input}\nLabel:"), Template(input_prefix="{title}, {input}:", shots=shots)):
        measure = ruler(tiny, None, template, LABELS, 0)
        rows = [{"input": "good " * words, "title": "bad " * words} for words in range(1, 120, 7)]
        tokens = [measure.count(template, values) for values in rows]
        found = measure.look(template, rows)
        assert 0 < found.too_long == sum(count > found.room for count in tokens) < len(rows), template
        assert found.longest == max(tokens)


def test_rows_are_made_to_fit_before_any_is_answered(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    most = window(loaded.model)
    rows = {1: {"input": "good"}, 2: {"input": "good " * most}}
    fitting = fit_rows(loaded, TEMPLATE, LABELS, 0, "cut_head", rows)
    assert set(fitting.touched) == {2} and fitting.as_json() == {
        "policy": "cut_head",
        "rows": 2,
        "too_long": 1,
        "window": most,
        "longest": fitting.look.longest,
    }
    for key, values in rows.items():
        assert len(encode_prompt(loaded.tokenizer, fitting.render(key, values))) <= most - fitting.look.answer
    for policy in ("refuse", "fewer_shots"):
        with pytest.raises(Invalid, match=r"1 of 2 rows does not fit") as refused:
            fit_rows(loaded, TEMPLATE, LABELS, 0, policy, rows)
        assert refused.value.code == "rows_do_not_fit"


def test_training_cuts_the_input_and_never_the_list_of_labels(tiny: Path) -> None:
    tokenizer, template = load(tiny, device="cpu").tokenizer, Template(instruction="{labels}")
    row = {"labels": "positive, negative, " * 8, "input": "bad " * 30}
    prompt, answer = encode_pair(tokenizer, render(template, row, "negative"))
    examples, _ = fit_examples(tokenizer, template, [(row, "negative")], len(prompt) + len(answer) - 10, "cut_tail")
    kept = tokenizer.decode(examples[0].prompt)
    assert kept.count("positive, negative,") == 8 and 0 < kept.count("bad") < 30


def test_examples_are_made_to_fit_with_their_answers_whole(tiny: Path) -> None:
    tokenizer = load(tiny, device="cpu").tokenizer
    rows = [({"input": "good"}, "positive"), ({"input": "bad " * 40}, "negative")]
    whole = [encode_pair(tokenizer, render(TEMPLATE, values, answer)) for values, answer in rows]
    most = len(whole[0][0]) + len(whole[0][1]) + 3
    examples, look = fit_examples(tokenizer, TEMPLATE, rows, most, "cut_tail")
    assert (look.rows, look.too_long, look.longest) == (2, 1, len(whole[1][0]) + len(whole[1][1]))
    assert [list(example.answer) for example in examples] == [answer for _, answer in whole]
    assert list(examples[0].prompt) == whole[0][0] and len(examples[1]) <= most
    kept = tokenizer.decode(examples[1].prompt)
    assert kept.startswith("good or bad") and 0 < kept.count("bad") < 40, "the instruction stays, the input is cut"
    fewer, _ = fit_examples(tokenizer, TEMPLATE, [({"input": "good"}, "positive")], most - 4, "fewer_shots")
    assert len(fewer[0].prompt) < len(whole[0][0])
    for policy in ("refuse", "fewer_shots"):
        with pytest.raises(Invalid, match=r"1 of 2 rows does not fit .* in the \d+ tokens of max_length") as refused:
            fit_examples(tokenizer, TEMPLATE, rows, most, policy)
        assert refused.value.code == "rows_do_not_fit"
    with pytest.raises(Invalid, match="answer of example 1"):
        fit_examples(tokenizer, TEMPLATE, rows, len(whole[0][1]))
