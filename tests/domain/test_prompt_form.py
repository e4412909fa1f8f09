"""Forms of a prompt: what is changed, that nothing else is, and that a draw can be repeated."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.generation import Parameters
from app.domain.label_book import LabelBook
from app.domain.prompt_form import BETWEEN, CASINGS, LISTED, SEPARATORS, Asked, Form, draw
from app.domain.rendering import LABELS, Shot, Template, render

BOOK = LabelBook.of_texts(["refund", "delivery"])
SHOTS = (Shot("Where is it?", "delivery"), Shot("Money back", "refund"))
STRUCTURED = Template(instruction="What is it about? One of: {labels}.", input_prefix="Message:", output_prefix="Topic:", shots=SHOTS)
VALUES = {"input": "It never came", LABELS: BOOK.rendered()}

FORMS = st.builds(
    Form,
    casing=st.sampled_from([None, *CASINGS]),
    separator=st.sampled_from([None, *SEPARATORS]),
    between=st.sampled_from([None, *BETWEEN]),
    last=st.booleans(),
    labels=st.sampled_from([None, *LISTED]),
)


def written(form: Form, template: Template = STRUCTURED) -> str:
    found = render(form.applied(template), form.listed(VALUES, BOOK), "refund")
    return found.text + (found.answer or "")


def test_the_prompts_own_form_is_the_prompt() -> None:
    assert written(Form()) == render(STRUCTURED, VALUES, "refund").text + " refund" and Form().words == "as the prompt is" and not Form().as_json()


@pytest.mark.parametrize(
    ("form", "line"),
    [
        (Form(casing="upper"), "MESSAGE: It never came\nTOPIC: refund"),
        (Form(separator=" - "), "Message - It never came\nTopic - refund"),
        (Form(separator=":\n", casing="lower"), "message:\nIt never came\ntopic:\nrefund"),
        (Form(between=" || ", separator="\t"), "Message\tIt never came || Topic\trefund"),
    ],
)
def test_field_names_and_what_stands_around_them_are_varied_in_every_shot_and_the_input(form: Form, line: str) -> None:
    assert written(form).endswith(line)
    assert line.replace("It never came", "Where is it?").replace("refund", "delivery") in written(form)


def test_the_instruction_can_follow_the_shots_and_labels_can_be_listed_otherwise() -> None:
    text = written(Form(last=True, labels="lines"))
    assert text.startswith("Message: Where is it?") and text.index("Money back") < text.index("One of: - refund\n- delivery.") < text.index("It never came")
    told = LabelBook.of([{"key": "a", "description": "money"}, {"key": "b"}])
    values = {LABELS: told.rendered()}
    assert Form(labels="bars").listed(values, told)[LABELS] == "a: money | b"
    assert Form(labels="bars").listed({LABELS: told.rendered({"b"})}, told, ["b"])[LABELS] == "b", "of those offered"
    assert Form(labels="bars").listed({LABELS: "a column of the row"}, told)[LABELS] == "a column of the row"


@given(FORMS)
def test_nothing_but_the_form_changes(form: Form) -> None:
    def words(text: str) -> list[str]:
        return sorted(re.findall(r"\w+", text.casefold()))

    assert words(written(form)) == words(written(Form()))
    assert form == Form.model_validate(form.as_json()) and (form.words != "as the prompt is" or form == Form())


def test_prompts_of_free_text_and_of_turns_are_varied_where_a_line_begins_with_a_field() -> None:
    free = Template("freeform", text="Classify: be brief.\n\nText: Money back\nTopic: refund\n\nText: {input}\nTopic:")
    form = Form(casing="upper", separator=" - ")
    assert form.applied(free).text == "Classify: be brief.\n\nTEXT - Money back\nTOPIC - refund\n\nTEXT - {input}\nTOPIC - "
    assert written(form, free).endswith("TOPIC - refund")
    chat = Template("chat", messages=(("system", "Answer: one word."), ("user", "Text: {input}")))
    assert form.applied(chat).messages == (("system", "Answer: one word."), ("user", "TEXT - {input}"))
    sentence = Template("freeform", text="Say in one of two words what this is about: {input}")
    assert draw(Asked(sentence, BOOK), 0, 8) == [], "a sentence in capitals says something else"


@given(st.integers(0, 50))
def test_a_draw_can_be_repeated_and_no_two_of_it_read_the_same(seed: int) -> None:
    forms = draw(Asked(STRUCTURED, BOOK), seed, 8)
    assert forms == draw(Asked(STRUCTURED, BOOK), seed, 8) and forms[:4] == draw(Asked(STRUCTURED, BOOK), seed, 4)
    texts = {written(form) for form in forms}
    assert len(texts) == 8 and written(Form()) not in texts


def test_what_cannot_be_varied_is_not() -> None:
    bare = Template(instruction="", input_prefix="", output_prefix="")
    assert all(form.casing is None and not form.last and form.labels is None for form in draw(Asked(bare, LabelBook()), 0, 100))
    assert draw(Asked(Template("freeform", text="{input}"), LabelBook()), 0, 8) == []
    assert len(draw(Asked(Template("chat", messages=(("user", "{labels}\n{input}"),)), BOOK), 0, 100)) == len(LISTED)


@pytest.mark.parametrize("template", [STRUCTURED, replace(STRUCTURED, shots=(), input_prefix=""), Template("freeform", text="{input}\nTopic:")])
@pytest.mark.parametrize("seed", range(3))
def test_where_a_model_writes_no_two_forms_read_the_same_to_it(template: Template, seed: int) -> None:
    forms = draw(Asked(template, BOOK, "generate"), seed, 200)
    texts = [render(form.applied(template), form.listed(VALUES, BOOK)).text for form in [Form(), *forms]]
    assert len(set(texts)) == len(texts) > 10, "what stands before the answer is the model's to write"


def test_turns_that_differ_in_white_space_around_them_read_the_same() -> None:
    chat = Template("chat", messages=(("user", "{input}\n\nTopic:"),))
    for answer in ("likelihood", "generate"):
        forms = draw(Asked(chat, BOOK, answer), 0, 200)
        texts = [render(form.applied(chat), VALUES).text.strip() for form in [Form(), *forms]]
        assert len(set(texts)) == len(texts) > 4


def leads(template: Template, parameters: Parameters, answer: str = "generate") -> set[str]:
    """What a model would have to begin its answer with, in every form that is drawn."""
    return {render(form.applied(template), VALUES, "").answer or "" for form in draw(Asked(template, BOOK, answer, parameters), 0, 5000)}


def test_no_form_makes_a_model_stop_before_its_answer() -> None:
    assert "\n" in leads(STRUCTURED, Parameters()), "it stops where the next shot begins"
    for stop in ("\n", "\t", " "):
        assert any(stop in lead for lead in leads(STRUCTURED, Parameters(), "likelihood"))
    assert leads(STRUCTURED, Parameters(stop=["\n"])) and not any("\n" in lead for lead in leads(STRUCTURED, Parameters(stop=["\n"])))
    assert not any("\t" in lead for lead in leads(STRUCTURED, Parameters(stop=["###", "\t"])))
    assert "\n" in leads(STRUCTURED, Parameters(stop=["\n"]), "likelihood"), "an answer that is given is not cut off"
    assert leads(STRUCTURED, Parameters(stop=[" "])), "the prompt itself begins with a space"


FREE = Template("freeform", text="Text: Money back\nTopic: refund\n\nText: {input}\nTopic:")
CHAT = Template("chat", messages=(("user", "Text: {input}"), ("assistant", "Topic:")))


@pytest.mark.parametrize(
    ("template", "form", "given", "wanted"),
    [
        (STRUCTURED, Form(casing="upper"), "\nMessage:", "\nMESSAGE:"),
        (STRUCTURED, Form(casing="lower", separator=" - "), "\n\nMessage:", "\n\nmessage -"),
        (STRUCTURED, Form(separator=" :: "), "Message: ", "Message :: "),
        (STRUCTURED, Form(separator="\t"), "\nMessage:", "\nMessage\t"),
        (STRUCTURED, Form(casing="upper"), "\nMessage", "\nMESSAGE"),
        (STRUCTURED, Form(casing="upper"), "\nMessages:", "\nMessages:"),
        (STRUCTURED, Form(casing="upper"), "see Message:", "see Message:"),
        (STRUCTURED, Form(casing="upper", separator=" = "), "###", "###"),
        (STRUCTURED, Form(), "\nMessage:", "\nMessage:"),
        (STRUCTURED, Form(last=True, between=" || "), "\nMessage:", "\nMessage:"),
        (FREE, Form(casing="upper", separator=" - "), "\nText:", "\nTEXT -"),
        (CHAT, Form(casing="lower"), "Text:", "text:"),
        (Template("freeform", text="{input}"), Form(casing="upper"), "\nText:", "\nText:"),
    ],
)
def test_a_stop_that_names_a_field_is_written_as_the_field(template: Template, form: Form, given: str, wanted: str) -> None:
    assert form.stopping(template, [given, "###", given]) == list(dict.fromkeys([wanted, "###"]))


@given(FORMS, st.sampled_from([STRUCTURED, FREE]), st.sampled_from(["\n{}:", "\n{}", "{}: "]))
def test_a_stop_where_the_next_shot_would_start_is_there_in_every_form(form: Form, template: Template, stop: str) -> None:
    first = "Message" if template is STRUCTURED else "Text"
    (adapted,) = form.stopping(template, [stop.format(first)])
    assert adapted in "\n" + written(form, template)


def test_nor_at_the_templates_own_stop() -> None:
    """A template whose fields have no names stops at an empty line, and so does free text."""
    bare = Template(instruction="Topic of a message.", input_prefix="", output_prefix="", shots=SHOTS, between=" ")
    found = draw(Asked(bare, BOOK, "generate"), 0, 5000)
    assert found and all("\n\n" not in (render(form.applied(bare), VALUES, "").answer or "") for form in found)
    doubled = Form(separator=":\n\n")
    free = Template("freeform", text="Text: {input}\nTopic:")
    assert Asked(free, BOOK, "generate").cut_off(doubled) and not Asked(free, BOOK, "generate", Parameters(choices=["refund"])).cut_off(doubled)
