"""The one template path: braces come back as written, values are never scanned, white space goes to the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rendering import DEFAULT, Rendered, Shot, Template, check, render, substitute, template_variables, variables
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


@given(PIECES, st.data())
def test_braces_come_back_as_they_were_written(pieces: list[tuple[str, str]], data: st.DataObject) -> None:
    text = " ".join(WRITTEN[kind] % piece for kind, piece in pieces)
    values = {piece: data.draw(st.text(max_size=12)) for kind, piece in pieces if kind == "variable"}
    expected = " ".join({"literal": piece, "variable": values.get(piece, ""), "escaped": "{" + piece + "}"}[kind] for kind, piece in pieces)
    assert "".join(part.text for part in substitute(text, values)) == expected
    assert variables(text) == tuple(dict.fromkeys(piece for kind, piece in pieces if kind == "variable"))


@given(st.text(), st.text())
def test_values_are_never_scanned_again(first: str, second: str) -> None:
    parts = substitute("<{a}|{b}>", {"a": first + "{b}", "b": second + "{{a}}{a}"})
    assert [(part.text, part.trusted) for part in parts] == [
        ("<", True), (first + "{b}", False), ("|", True), (second + "{{a}}{a}", False), (">", True),
    ]  # fmt: skip


@given(st.text())
def test_what_a_cell_holds_is_never_trusted(cell: str) -> None:
    template = Template(instruction="Classify {input}.", shots=(Shot(cell, cell),))
    rendered = render(template, {"input": cell})
    assert cell == "" or {part.text for part in rendered.parts if not part.trusted} <= {cell, " " + cell}
    assert all(cell not in part.text or not cell.strip("Clasify.nptOu: \n") for part in rendered.parts if part.trusted)


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


@pytest.mark.parametrize(("prefix", "prompt", "answer"), [("Label:", "Label:", " z"), ("Label:\n", "Label:", "\nz"), ("Label:  ", "Label:", "  z"), ("", "", "z")])
def test_white_space_before_the_answer_belongs_to_it(prefix: str, prompt: str, answer: str) -> None:
    rendered = render(Template(input_prefix="", output_prefix=prefix), {"input": "c"}, "z")
    assert rendered.text == f"c\n{prompt}".rstrip("\n") or rendered.text == f"c\n{prompt}"
    assert (rendered.answer or "").strip() == "z" and (rendered.answer == answer or not prefix)


def test_prompt_and_answer_of_a_shot_are_those_of_the_example_itself() -> None:
    # What a shot shows between prompt and answer is what the model is then trained and scored on.
    template = Template(output_prefix="Output:\n")
    shot = render(template.with_shots([Shot("a", "x")]), {"input": "b"}).text
    alone = render(template, {"input": "a"}, "x")
    assert shot.startswith(alone.text + (alone.answer or ""))


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
    assert error.value.advice == "Available here: {input}, {topic}."
    check(Template(instruction="About {topic}"), ["input", "topic"])
    assert template_variables(Template(instruction="About {topic}")) == ("input", "topic")


def test_a_structured_prompt_needs_an_input() -> None:
    with pytest.raises(Invalid, match="needs a value for"):
        render(DEFAULT, {"text": "a"})
