"""The one template path: braces come back as written, values are never scanned, white space goes to the answer."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.rendering import (
    DEFAULT,
    Mode,
    Rendered,
    Shot,
    Template,
    answer_text,
    check,
    literal,
    render,
    sections,
    substitute,
    template_variables,
    unknown,
    variables,
)
from app.errors import Invalid

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
# Braces that spell no variable, among them those of JSON, of code and of other template languages.
LITERALS = st.one_of(
    st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["{", "}", "{}", "{{", "}}", "{ name }", "{1}", "{a.b}", "{0.__class__}", "{a!r}", '{"key": 1}', "{%s}", "{{ x }}", "${", "{-"]),
)
PIECES = st.lists(st.one_of(st.tuples(st.just("literal"), LITERALS), st.tuples(st.just("variable"), NAMES), st.tuples(st.just("escaped"), NAMES)), max_size=8)
WRITTEN = {"literal": "%s", "variable": "{%s}", "escaped": "{{%s}}"}


def joined(parts: Rendered) -> str:
    return "".join(part.text for part in parts.parts)


@settings(deadline=None)
@given(PIECES, st.data())
def test_braces_come_back_as_they_were_written(pieces: list[tuple[str, str]], data: st.DataObject) -> None:
    text = " ".join(WRITTEN[kind] % piece for kind, piece in pieces)
    values = {piece: data.draw(st.text(max_size=12)) for kind, piece in pieces if kind == "variable"}
    expected = " ".join({"literal": piece, "variable": values.get(piece, ""), "escaped": "{" + piece + "}"}[kind] for kind, piece in pieces)
    assert "".join(part.text for part in substitute(text, values)) == expected
    assert variables(text) == tuple(dict.fromkeys(piece for kind, piece in pieces if kind == "variable"))


@settings(deadline=None)
@given(st.text(), st.text())
def test_values_are_never_scanned_again(first: str, second: str) -> None:
    parts = substitute("<{a}|{b}>", {"a": first + "{b}", "b": second + "{{a}}{a}"})
    assert [(part.text, part.trusted) for part in parts] == [
        ("<", True), (first + "{b}", False), ("|", True), (second + "{{a}}{a}", False), (">", True),
    ]  # fmt: skip


@settings(deadline=None)
@given(st.text())
def test_what_a_cell_holds_is_never_trusted(cell: str) -> None:
    template = Template(instruction="Classify {input}.", shots=(Shot(cell, cell),))
    trusted = [part.text for part in render(template, {"input": cell}).parts if part.trusted]
    assert trusted == ["Classify ", ".", "\n\n", "Input:", " ", "\nOutput:", "\n\n", "Input:", " ", "\nOutput:"]


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_a_template_or_says_what_is_missing(text: str) -> None:
    template = Template("freeform", text=text)
    names = template_variables(template)
    with_all = render(template, dict.fromkeys(names, "value"))
    assert joined(with_all) == joined(with_all).rstrip() or names
    if names:
        with pytest.raises(Invalid) as error:
            render(template, {})
        assert error.value.code == "unknown_variable"


def test_zero_shot_reads_like_the_default_prompt() -> None:
    rendered = render(DEFAULT, {"input": "Nice."}, "positive")
    assert rendered.text == "Input: Nice.\nOutput:"
    assert rendered.answer == " positive"
    assert rendered.stop == ("\nInput:",)


def test_shots_stand_between_instruction_and_input_in_their_order() -> None:
    template = Template(instruction="Label it.\n", input_prefix="Text:", output_prefix="Label: ").with_shots([Shot("a", "x"), Shot("b", "y")])
    rendered = render(template, {"input": "c"}, "z")
    assert rendered.text == "Label it.\n\nText: a\nLabel: x\n\nText: b\nLabel: y\n\nText: c\nLabel:"
    assert rendered.answer == " z"


@pytest.mark.parametrize(
    ("prefix", "prompt", "answer"),
    [
        ("Label:", "c\nLabel:", " z"),
        ("Label:\n", "c\nLabel:", "\nz"),
        ("Label:  ", "c\nLabel:", "  z"),
        ("", "c", "\nz"),
        (" ", "c", "\n z"),
        ("{tone}:", "c\nbrief:", " z"),
    ],
)
def test_white_space_before_the_answer_belongs_to_it(prefix: str, prompt: str, answer: str) -> None:
    template = Template(input_prefix="", output_prefix=prefix)
    rendered = render(template, {"input": "c", "tone": "brief"}, "z")
    assert (rendered.text, rendered.answer) == (prompt, answer)
    assert answer_text(template, "z") == answer


@settings(deadline=None)
@given(st.text(max_size=8), st.text(max_size=8), st.sampled_from(["structured", "freeform"]))
def test_a_label_reads_the_same_scored_alone_and_rendered(text: str, label: str, mode: Literal["structured", "freeform"]) -> None:
    template = Template(mode, text=literal(text), output_prefix=literal(text))
    assert render(template, {"input": "c"}, label).answer == answer_text(template, label)
    assert render(template, {"input": "c"}).text + answer_text(template, "") == (f"Input: c\n{text}" if mode == "structured" else text) + (
        "" if text[-1:].isspace() or (mode == "structured" and not text) else " "
    )


@settings(deadline=None)
@given(st.sampled_from(["Output:", "Output:\n", "Output: ", "", "\n", "{input}"]), st.text(max_size=5), st.text(max_size=5))
def test_a_shot_reads_exactly_like_an_example_with_its_answer(prefix: str, text: str, label: str) -> None:
    # What a shot shows between prompt and answer is what the model is then trained and scored on.
    template = Template(output_prefix=prefix)
    shot = render(template.with_shots([Shot(text, label)]), {"input": text}).text
    alone = render(template, {"input": text}, label)
    assert shot == alone.text + (alone.answer or "") + "\n\n" + alone.text


def test_freeform_and_chat() -> None:
    rendered = render(Template("freeform", text="{question}\nA: "), {"question": "1+1?"}, "2")
    assert (rendered.text, rendered.answer) == ("1+1?\nA:", " 2")
    chat = render(Template("chat", messages=(("system", "Be {tone}."), ("user", "{input}"))), {"tone": "brief", "input": "{tone}"}, "ok")
    assert [(message.role, message.content) for message in chat.messages] == [("system", "Be brief."), ("user", "{tone}")]
    assert (chat.text, chat.answer) == ("system: Be brief.\nuser: {tone}", "ok")


def test_an_unknown_variable_is_named_with_those_that_exist() -> None:
    with pytest.raises(Invalid) as error:
        check(Template("freeform", text="{inptu} {output}"), ["input", "topic"])
    assert error.value.message == "The prompt uses {inptu}, {output}, which the data does not have."
    assert error.value.advice == "Did you mean {input}? Available here: {input}, {topic}."
    check(Template(instruction="About {topic}"), ["input", "topic"])
    assert template_variables(Template(instruction="About {topic}")) == ("input", "topic")


def test_a_structured_prompt_needs_an_input() -> None:
    with pytest.raises(Invalid, match="needs a value for"):
        render(DEFAULT, {"text": "a"})


VALUES = st.dictionaries(st.sampled_from(["input", "tone", "place"]), st.text(max_size=5))


@settings(deadline=None)
@given(VALUES, VALUES, st.sampled_from(["structured", "freeform", "chat"]))
def test_a_default_stands_where_a_value_is_missing_and_nowhere_else(values: dict[str, str], defaults: dict[str, str], mode: Mode) -> None:
    template = Template(mode, "{tone} {place}", text="{input} {tone} {place}", messages=(("user", "{input} {tone} {place}"),), defaults=tuple(defaults.items()))
    missing = [name for name in ("input", "tone", "place") if name not in values and not defaults.get(name)]
    assert set(unknown(template, values)) == set(missing)
    if missing:
        with pytest.raises(Invalid) as error:
            render(template, values)
        assert error.value.code == "unknown_variable"
    else:
        meant = {name: values.get(name) or defaults.get(name, "") for name in ("input", "tone", "place")}
        rendered = render(template, values)
        assert rendered == render(replace(template, defaults=()), meant)
        assert len(sections(template, values)) == len(rendered.parts) + sum(len(message.parts) for message in rendered.messages)


def test_a_default_is_no_template() -> None:
    template = Template("freeform", text="{tone}", defaults=(("tone", "{input} {{tone}}"),))
    assert render(template, {}).text == "{input} {{tone}}" and not render(template, {}).parts[0].trusted


def test_a_declared_variable_without_a_value_is_told_apart_from_a_misspelt_one() -> None:
    template = Template(instruction="Be {tone}, {Plce}.", defaults=(("tone", ""), ("place", "here")))
    with pytest.raises(Invalid) as error:
        check(template, ["input"])
    assert error.value.message == "The prompt uses {Plce}, which the data does not have."
    assert error.value.advice == "Did you mean {place}? Available here: {input}, {place}, {tone}."
    with pytest.raises(Invalid) as error:
        check(replace(template, instruction="Be {tone}."), ["input"])
    assert (error.value.code, error.value.message) == ("no_value", "{tone} of the prompt has no value here and no default.")
