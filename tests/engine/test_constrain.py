"""Answers that are held to something: they keep to it whatever the model would rather write, and say when they were cut."""

import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.generation import Parameters
from app.domain.rendering import Message, Part, Rendered, Template, render
from app.errors import Invalid
from worker.engine.generate import Completion, Delta, Generation, complete, prepare
from worker.engine.load import Loaded
from worker.engine.sample import Sampler

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CHAT = Rendered(messages=(Message("user", (Part("who is it", True),)),))


def write(loaded: Loaded, rendered: Rendered | None = None, **parameters: object) -> Completion:
    chosen = Parameters.model_validate({"max_tokens": 60, **parameters})
    return complete(loaded, [prepare(loaded, rendered or render(Template(), {"input": "a film"}), chosen)])[0]


def deltas(loaded: Loaded, **parameters: object) -> list[Delta]:
    asked = prepare(loaded, render(Template(), {"input": "a film"}), Parameters.model_validate({"max_tokens": 10, "min_tokens": 10, "stop": [], **parameters}))
    return list(Generation(loaded, [asked]).deltas())


@hypothesis_settings(max_examples=15)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=4))
def test_a_choice_is_one_of_the_list_whatever_it_spells(loaded: Loaded, choices: list[str]) -> None:
    done = write(loaded, temperature=2.0, choices=choices)
    assert done.text in {text.lstrip() for text in choices} | set(choices) and done.finish.reason == "stop"


@pytest.mark.parametrize("rendered", [None, CHAT], ids=["text", "chat"])
def test_json_keeps_to_its_schema(loaded: Loaded, rendered: Rendered | None) -> None:
    for seed in range(3):
        done = write(loaded, rendered, temperature=1.5, seed=seed, json_schema=PERSON)
        found = json.loads(done.text)
        assert set(found) == {"name", "age"} and len(found["name"]) <= 5 and 0 <= found["age"] <= 99
        assert done.finish.reason == "stop"


@pytest.mark.parametrize("expression", [r"[0-9]{4}-[0-9]{2}", r"(yes|no)( really)?", r"a/b \"c\"", "é+", "x|yy"])
def test_a_regular_expression_matches_the_whole_answer(loaded: Loaded, expression: str) -> None:
    done = write(loaded, temperature=1.0, seed=1, regex=expression, max_tokens=200)
    assert done.finish.reason == "length" or re.fullmatch(expression, done.text), done.text


def test_what_is_cut_says_so_and_a_stop_string_inside_json_does_not_count(loaded: Loaded) -> None:
    assert write(loaded, json_schema=PERSON, max_tokens=3).finish.reason == "length"
    assert write(loaded, regex="[a-z]{40}", max_tokens=5).finish.reason == "length"
    lines = prepare(loaded, render(Template(), {"input": "x"}), Parameters(json_schema=PERSON))
    assert lines.stops == () and prepare(loaded, render(Template(), {"input": "x"}), Parameters(json_schema=PERSON, stop=["}"])).stops == ("}",)


def test_the_least_number_of_tokens_gives_way_to_the_constraint(loaded: Loaded) -> None:
    assert write(loaded, choices=["yes"], min_tokens=30).text == "yes"


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ({"json_schema": {"type": "objekt"}}, r"The JSON schema cannot be used: Invalid type: objekt\."),
        ({"json_schema": {"$ref": "#/x"}}, "'/x' does not exist"),
        ({"json_schema": {"not": {"type": "string"}}}, "Unimplemented keys"),
        ({"regex": "[0-9"}, r"The regular expression cannot be used: unclosed character class\."),
        ({"regex": "a)|(b"}, "unopened group"),
        ({"regex": "(?=a)b"}, "look-around"),
    ],
)
def test_what_does_not_compile_is_told_in_a_sentence(loaded: Loaded, constraint: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        write(loaded, None, **constraint)
    assert caught.value.code == "bad_constraint" and caught.value.detail == {"field": next(iter(constraint))} and "\n" not in caught.value.message


def test_an_answer_is_constrained_in_one_way() -> None:
    with pytest.raises(ValidationError, match="one way only, not by choices and regex"):
        Parameters(choices=["a"], regex="a")


def test_log_probabilities_are_those_of_the_model_alone(loaded: Loaded) -> None:
    plain = deltas(loaded, logprobs=3)
    told = [one for delta in plain for one in delta.logprobs]
    asked = prepare(loaded, render(Template(), {"input": "a film"}), Parameters())
    assert len(told) == 10 and all(one.top[0] == (one.token, one.logprob) and len(one.top) == 3 for one in told), "greedy takes the likeliest"
    with torch.no_grad():
        first = loaded.model(torch.tensor([asked.ids])).logits[0, -1].log_softmax(-1)
    assert told[0].logprob == pytest.approx(float(first.max()), abs=1e-4)
    held = deltas(loaded, logprobs=1, choices=["positive"], min_tokens=0)
    values = [one.logprob for delta in held for one in delta.logprobs]
    assert values and min(values) < -0.1, "what the constraint forced was unlikely, and it is said"
    assert not any(delta.logprobs for delta in deltas(loaded))


def test_tokens_that_a_stop_string_took_away_have_no_log_probability(loaded: Loaded) -> None:
    text = "".join(delta.text for delta in deltas(loaded, max_tokens=20, min_tokens=20))
    stop = text[6:9]
    cut = deltas(loaded, max_tokens=20, min_tokens=0, logprobs=1, stop=[stop])
    shown, tokens = "".join(delta.text for delta in cut), "".join(one.token for delta in cut for one in delta.logprobs)
    assert shown == text[: text.index(stop)] and shown.startswith(tokens)


def test_penalties_count_what_the_answer_has_and_not_the_prompt() -> None:
    logits = torch.tensor([3.0, 2.5, 0.0])

    def chosen(count: int, **parameters: object) -> list[int]:
        sampler = Sampler(Parameters.model_validate(parameters), [0, 0, 0], frozenset())
        return [sampler.choose(logits) for _ in range(count)]

    assert chosen(4) == [0, 0, 0, 0]
    assert chosen(4, presence_penalty=1.0) == [0, 1, 0, 0], "once for each token that is there"
    assert chosen(4, frequency_penalty=1.0) == [0, 1, 0, 1], "for every time that it is there"
    assert chosen(3, frequency_penalty=-2.0, presence_penalty=-2.0) == [0, 0, 0]
    assert logits.tolist() == [3.0, 2.5, 0.0]
