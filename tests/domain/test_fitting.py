"""How a row is made to fit: by no more than it takes, and never beyond the room."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.domain.fitting import POLICIES, DoesNotFit, Fit, Policy, applied, cut, fit, said
from app.domain.rendering import Shot, Template, render

TEMPLATE = Template(instruction="Say which.", shots=tuple(Shot(f"example {number}", "yes") for number in range(4)))
CUTS: tuple[Policy, ...] = ("cut_head", "cut_middle", "cut_tail")


def characters(template: Template, values: Mapping[str, str]) -> int:
    """A tokenizer whose tokens are characters."""
    return len(render(template, values).text)


def test_what_fits_stays_as_it_is() -> None:
    values = {"input": "short"}
    for policy in POLICIES:
        found = fit(TEMPLATE, values, characters(TEMPLATE, values), policy, characters)  # type: ignore[arg-type]
        assert found.whole and found.template is TEMPLATE and found.values is values


def test_refusing_says_how_much_there_is_and_how_much_fits() -> None:
    with pytest.raises(DoesNotFit, match=r"takes 1,\d\d\d tokens and the model has room for 200"):
        fit(TEMPLATE, {"input": "x" * 1000}, 200, "refuse", characters)


def test_the_last_shots_go_first_and_only_as_many_as_must() -> None:
    values = {"input": "short"}
    two = characters(TEMPLATE.with_shots(TEMPLATE.shots[:2]), values)
    found = fit(TEMPLATE, values, two, "fewer_shots", characters)
    assert found.template.shots == TEMPLATE.shots[:2] and found.shots == 2
    with pytest.raises(DoesNotFit):
        fit(TEMPLATE, values, characters(TEMPLATE.with_shots(()), values) - 1, "fewer_shots", characters)


@given(some.text(min_size=1, max_size=300), some.sampled_from(CUTS), some.integers(0, 400))
def test_a_cut_input_takes_all_the_room_there_is_and_no_more(text: str, policy: Policy, room: int) -> None:
    try:
        found = fit(TEMPLATE, {"input": text}, room, policy, characters)
    except DoesNotFit:
        assert room < characters(TEMPLATE, {"input": "x"})
        return
    took = characters(found.template, found.values)
    assert took <= room and found.template.shots == TEMPLATE.shots
    assert found.whole or (took == room and found.characters == len(text) - len(found.values["input"]))


@given(some.text(max_size=40), some.integers(0, 50))
def test_cutting_keeps_the_ends_it_says(text: str, keep: int) -> None:
    head, middle, tail = (cut(text, keep, policy) for policy in CUTS)
    assert text.endswith(head) and text.startswith(tail) and len(head) == len(tail) == len(middle) == min(keep, len(text))
    end = len(middle) // 2
    assert middle == text if keep >= len(text) else middle == text[: len(middle) - end] + text[len(text) - end :]


def test_the_longest_value_is_the_one_that_is_cut() -> None:
    template = Template(instruction="About {title}:", shots=())
    found = fit(template, {"title": "T" * 10, "input": "i" * 500}, 200, "cut_tail", characters)
    assert found.values["title"] == "T" * 10 and len(found.values["input"]) < 500


LABELLED = Template(instruction="Answer with one of: {labels}.")
MANY = {"labels": ", ".join(f"label {number}" for number in range(77)), "input": "i" * 300}


@pytest.mark.parametrize("policy", CUTS)
def test_the_labels_stay_whole_however_long_their_list_is(policy: Policy) -> None:
    room = characters(LABELLED, MANY) - 200
    found = fit(LABELLED, MANY, room, policy, characters)
    assert found.values == {"labels": MANY["labels"], "input": "i" * 100} and (found.variable, found.characters) == ("input", 200)


@pytest.mark.parametrize("template", [LABELLED, Template("freeform", text="{labels}\nLabel:")])
def test_a_row_whose_labels_alone_are_too_long_does_not_fit(template: Template) -> None:
    with pytest.raises(DoesNotFit):
        fit(template, MANY, 200, "cut_tail", characters)


@given(some.sampled_from(["fewer_shots", *CUTS]), some.integers(30, 150))
def test_what_a_row_lost_is_left_out_again_without_a_tokenizer(policy: Policy, less: int) -> None:
    template = Template(instruction="About {title}, in {tongue}:", shots=TEMPLATE.shots, defaults=(("tongue", "English"),))
    values = {"title": "T" * 150, "input": "".join(map(str, range(100)))}
    try:
        found = fit(template, values, characters(template, values) - less, policy, characters)
    except DoesNotFit:
        assert policy == "fewer_shots"
        return
    kept = found.as_json(policy)
    assert kept and render(*applied(kept, template, values)) == render(found.template, found.values)


def test_a_whole_row_has_lost_nothing() -> None:
    found = fit(TEMPLATE, {"input": "short"}, 1000, "cut_tail", characters)
    assert found.as_json("cut_tail") is None and applied(None, TEMPLATE, {"input": "short"}) == (TEMPLATE, {"input": "short"})


def test_what_a_row_lost_is_a_sentence() -> None:
    assert (said({"shots": 1}), said({"shots": 3})) == ("The last shot was left out.", "The last 3 shots were left out.")
    lost = {"variable": "input", "kept": 1200, "of": 4000, "policy": "cut_middle"}
    assert said(lost) == "The middle of {input} was cut: the model read 1,200 of its 4,000 characters."


def test_of_columns_as_long_as_each_other_the_input_is_cut() -> None:
    template = Template("freeform", text="{title}\n{input}\nLabel:")
    assert fit(template, {"title": "T" * 90, "input": "i" * 90}, 150, "cut_tail", characters).variable == "input"


def test_a_look_at_rows_is_a_sentence() -> None:
    found = Fit(window=100, answer=10).and_row(50).and_row(95)
    assert (found.rows, found.too_long, found.longest, found.room) == (2, 1, 95, 90)
    assert found.sentence == "1 of 2 rows does not fit (shots + input + answer) in this model's 100 tokens; the longest takes 105."
    assert Fit(window=100, answer=10).and_row(50).sentence == "Every row fits: the longest takes 60 of this model's 100 tokens, answer included."
