"""A prompt in another mode says the same, and what a mode cannot say is there again on the way back."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.modes import convert
from app.domain.rendering import Shot, Template, literal, render, template_variables

# Pieces that spell, together with their neighbours, variables, escaped ones and braces that are neither.
TEXT = st.lists(st.sampled_from(["a", "Word ", " ", "\n", "{input}", "{tone}", "{{x}}", "{ ", " }", "{}", "{{", "}}", "é", "😀", ":"]), max_size=6).map("".join)
SHOTS = st.lists(st.builds(Shot, TEXT, TEXT), max_size=3).map(tuple)
STRUCTURED = st.builds(Template, st.just("structured"), TEXT, TEXT, TEXT, SHOTS)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=7).map(tuple)
CHAT = st.builds(Template, st.just("chat"), messages=TURNS)
VALUES = {"input": "the {input}", "tone": "warm"}


@settings(deadline=None)
@given(STRUCTURED)
def test_a_structured_prompt_reads_the_same_written_out(template: Template) -> None:
    free = convert(template, "freeform").template
    assert render(free, VALUES).text == render(template, VALUES).text
    assert render(free, VALUES, "yes").answer == render(template, VALUES, "yes").answer


@settings(deadline=None)
@given(STRUCTURED)
def test_it_comes_back_from_chat_as_it_was(template: Template) -> None:
    chat = convert(template, "chat")
    assert convert(chat.template, "structured", template).template == replace(
        template, instruction=template.instruction if template.instruction.strip() else ""
    )
    shown = render(chat.template, VALUES).messages
    assert shown[-1].content == VALUES["input"] and [message.content for message in shown if message.role == "assistant"] == [
        one.output for one in template.shots
    ]


@settings(deadline=None)
@given(CHAT)
def test_a_chat_comes_back_from_structured_and_asks_the_same(template: Template) -> None:
    there = convert(template, "structured")
    back = convert(there.template, "chat", template).template
    if not template.messages:
        assert back.messages == (("user", "{input}"),)
        return
    values = {**VALUES, "input": VALUES["input"] if there.input is None else there.input}
    if there.input is None or "input" not in template_variables(template):
        same = render(template, values).messages
        # A question that says nothing is the place where the input goes.
        assert [one for one in render(back, values).messages if one.content != values["input"]] == [
            one for one in same if one.content != values["input"]
        ] or any(not content for _, content in template.messages)


@settings(deadline=None)
@given(
    st.text("ab c", max_size=8).map(str.strip),
    st.sampled_from(["Text:", "In", ""]),
    st.sampled_from(["Out:", "", "Label: "]),
    SHOTS.filter(lambda shots: all(shot.output.rstrip() == shot.output != "" for shot in shots)),
)
def test_plain_text_finds_its_parts_again(instruction: str, prefix: str, after: str, shots: tuple[Shot, ...]) -> None:
    template = Template("structured", instruction, prefix, after, tuple(Shot(literal(one.input), literal(one.output)) for one in shots))
    free = convert(template, "freeform").template
    back = convert(free, "structured").template
    assert render(back, VALUES).text == render(template, VALUES).text
    assert (back.input_prefix, back.output_prefix) == (prefix, after)


@settings(deadline=None)
@given(CHAT)
def test_any_chat_becomes_text_with_every_word_of_it(template: Template) -> None:
    free = convert(template, "freeform").template
    assert all(content in free.text for _, content in template.messages)
    assert convert(free, "chat").template.messages == ((("user", free.text),) if free.text else ())


def test_a_talk_by_example() -> None:
    talk = (("system", "Be brief."), ("user", "1+1?"), ("assistant", "2"), ("user", "In {tone}: {input}"), ("assistant", "fine"))
    found = convert(Template("chat", messages=talk, defaults=(("tone", "words"),)), "structured")
    assert found.template == Template("structured", "Be brief.", shots=(Shot("1+1?", "2"),), defaults=(("tone", "words"),))
    assert found.kept == "1 turn after the question and the words around the question's variables" and found.input is None
    text = convert(Template("chat", messages=talk[:2]), "freeform").template.text
    assert text == "Be brief.\n\n1+1?"
    assert convert(Template("chat", messages=talk[:4]), "freeform").template.text.endswith("Assistant: 2\n\nUser: In {tone}: {input}\n\nAssistant:")
    assert convert(Template("chat", messages=talk[:2]), "structured").input == "1+1?"
