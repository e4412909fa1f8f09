"""The Lab's editor in a real browser: its three modes, variables, shots and turns, with the keyboard alone where that is how it is done. In this order."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, draft_kept, no_violations, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ASIDE = "[...document.querySelectorAll('#turns > li')].map((item) => [item.querySelector('select').value, item.querySelector('textarea').value, item.hasAttribute('data-aside')])"


def mode(page: Page, name: str) -> None:
    """Change the mode as the keyboard does: to the switch, then along it."""
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # keys are taken once the draft stands
    page.locator("input[name=mode]:checked").focus()
    order = ["structured", "freeform", "chat"]
    step = order.index(name) - order.index(page.locator("input[name=mode]:checked").get_attribute("value") or "")
    for _ in range(abs(step)):
        with page.expect_response(lambda answer: "/lab/preview" in answer.url):
            page.keyboard.press("ArrowRight" if step > 0 else "ArrowLeft")
    expect(page.locator(f"#lab [data-mode={name}]")).to_be_visible()


def inputs(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all("#shots [data-shot=input]", "all => all.map((one) => one.value)")
    return found


def test_a_sample_prompt_opens_and_says_what_each_shot_costs(installation: Running, page: Page, complaints: list[str]) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab?prompt=1@1&dataset=1@1")
    expect(page.locator("#tokens")).to_contain_text(re.compile(r"\d+ instruction \+ \d+ shots \+ \d+ input = \d+ of 8,192 tokens"))
    expect(page.locator("[data-shot-facts]").first).to_have_text(re.compile(r"^\d+ tokens$"))
    no_violations(page)
    assert complaints == []


def test_a_prompt_goes_through_all_modes_and_comes_back_as_it_was(page: Page, complaints: list[str]) -> None:
    before = (page.locator("#instruction").input_value(), page.locator("#input_prefix").input_value(), inputs(page))
    mode(page, "freeform")
    text = page.locator("#text").input_value()
    assert text.startswith(before[0]) and text.rstrip().endswith("Customer: {input}\nWants:") and all(shot in text for shot in before[2])
    no_violations(page)
    mode(page, "chat")
    turns = page.evaluate(ASIDE)
    assert [role for role, _, _ in turns] == ["system", *["user", "assistant"] * len(before[2]), "user"], "the text passed on the way takes nothing"
    expect(page.locator("#mode-note")).to_have_text("Structured keeps the prefixes.")
    mode(page, "structured")
    assert (page.locator("#instruction").input_value(), page.locator("#input_prefix").input_value(), inputs(page)) == before
    page.locator("#instruction").fill("Sort {input} by what is wanted.")
    mode(page, "freeform")
    assert page.locator("#text").input_value().startswith("Sort {input} by what is wanted.\n\nCustomer: "), "what was edited is converted anew"
    mode(page, "structured")
    assert complaints == []


def test_a_misspelt_variable_is_told_while_it_is_written(page: Page, complaints: list[str]) -> None:
    page.locator("#instruction").fill("")
    page.locator("#instruction").press_sequentially("Answer {inptu} in a {tone} tone.")
    expect(page.locator("#template-problem")).to_have_text(
        "The prompt uses {inptu}, {tone}, which the data does not have. Did you mean {input}? Available here: {input}, {labels}."
    )
    expect(page.locator("#instruction")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#why")).to_have_text("Mend the prompt first.")
    no_violations(page)
    page.get_by_role("button", name="Use {input}").press("Enter")
    expect(page.locator("#instruction")).to_have_value("Answer {input} in a {tone} tone.")
    expect(page.locator("#template-problem")).to_contain_text("{tone}, which")
    page.get_by_role("button", name="Declare {tone}").press("Enter")
    expect(page.locator("#template-problem")).to_contain_text("{tone} of the prompt has no value here and no default.")
    page.keyboard.type("friendly")
    expect(page.locator("#template-error")).to_be_hidden()
    page.get_by_label("{tone}", exact=True).fill("kind")
    for button in ("#row-next", "#row-previous"):
        before = page.locator("#input").input_value()
        page.locator(button).press("Enter")
        expect(page.locator("#input")).not_to_have_value(before)
        expect(page.get_by_label("{tone}", exact=True)).to_have_value("kind")
    page.get_by_label("{tone}", exact=True).fill("")
    page.locator("#seen summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#seen-text")).to_contain_text("in a friendly tone.")
    page.get_by_label("{tone}", exact=True).fill("brusque")
    expect(page.locator("#seen-text")).to_contain_text("in a brusque tone.")
    page.get_by_label("{tone}", exact=True).fill("")
    expect(page.locator("#seen-text")).to_contain_text("in a friendly tone.")
    page.keyboard.press("Control+s")
    page.get_by_label("Name", exact=True).fill("In a tone")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt-name")).to_have_text("In a tone v1")
    saved = page.evaluate("fetch('/api/v1/prompts/3').then((answer) => answer.json())")
    assert saved["defaults"] == {"tone": "friendly"}
    page.reload()
    expect(page.get_by_label("Default of {tone}")).to_have_value("friendly")
    expect(page.locator("#prompt-changed")).to_be_hidden()
    no_violations(page)
    assert complaints == []


def test_what_a_closing_page_sends_is_no_change_from_elsewhere(page: Page, complaints: list[str]) -> None:
    with page.expect_request(lambda request: request.method == "PUT" and "/lab/draft" in request.url):
        page.locator("#instruction").fill("Answer {input} in a {tone} tone, soon.")
        page.reload()
    expect(page.locator("#instruction")).to_have_value("Answer {input} in a {tone} tone, soon.")
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # nobody can type before the draft stands
    with page.expect_response(lambda response: response.request.method == "PUT" and "/lab/draft" in response.url) as kept:
        page.locator("#instruction").fill("Answer {input} in a {tone} tone.")
    assert kept.value.status == 200 and complaints == []


def test_shots_are_drawn_picked_and_put_in_order(page: Page, complaints: list[str]) -> None:
    page.locator("input[name=shots][value='0']").check(force=True)
    expect(page.locator("#shots-note")).to_have_text("none: zero-shot")
    page.locator("input[name=shots][value=n]").check(force=True)
    page.locator("#count").fill("3")
    page.locator("#count").press("Enter")
    expect(page.locator("#shots-note")).to_have_text("3 drawn, balanced, seed 0")
    expect(page.locator("[data-shot-facts]").first).to_have_text(re.compile(r"^row [\d,]+ · \d+ tokens$"))
    balanced = inputs(page)
    page.locator("#draw-selection").select_option("diverse")
    expect(page.locator("#shots-note")).to_have_text("3 drawn, diverse, seed 0")
    assert inputs(page) != balanced
    page.locator("#draw-selection").select_option("nearest")
    expect(page.locator("#draw-note")).to_have_text("No shared prefix: every input is read whole.")
    expect(page.locator("#tokens")).to_contain_text("no shared prefix")
    page.locator("#test").click()
    expect(page.locator("#test-plan")).to_contain_text("Shots drawn anew for each row would share no prefix")
    page.keyboard.press("Escape")
    near = inputs(page)
    page.locator("#input").fill("My parcel never arrived, where is my parcel?")
    expect(page.locator("#shots [data-shot=input]").last).to_have_value(re.compile("parcel", re.IGNORECASE))
    assert inputs(page) != near, "the nearest follow the input"
    near = inputs(page)
    draft_kept(page)
    page.reload()
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.locator("#shots-note")).to_have_text("3 drawn, nearest to the input")
    assert inputs(page) == near
    page.locator("#input").fill("I was charged twice.")
    expect(page.locator("#why")).to_have_text("The shots are being drawn anew.")
    expect(page.locator("#run")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#shots-note")).to_have_text("3 drawn, nearest to the input")
    expect(page.locator("#why")).to_have_text("")
    assert inputs(page) != near, "also after a reload"
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    expect(page.locator("#shots-note")).to_have_text("3 drawn, nearest to the one input, the same for all rows")
    expect(page.locator("#draw-note")).to_be_empty()
    page.get_by_role("radio", name="One input").check(force=True)
    page.locator("#input").fill("My parcel never arrived, where is my parcel?")
    expect(page.locator("#shots [data-shot=input]").last).to_have_value(re.compile("parcel", re.IGNORECASE))
    page.locator("#pick-open").press("Enter")
    page.keyboard.type("refund")
    expect(page.locator("#pick-rows button").first).to_contain_text(re.compile("refund", re.IGNORECASE))
    no_violations(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#pick-note")).to_contain_text("is shot 4 now")
    page.keyboard.press("Escape")
    expect(page.locator("#pick-open")).to_be_focused()
    expect(page.locator("#shots-note")).to_have_text("3 drawn, nearest to the input, 1 own")
    order = inputs(page)
    page.locator("[data-shot-move]").last.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#shots-said")).to_have_text("Shot 3 of 4")
    assert inputs(page) == [order[0], order[1], order[3], order[2]] and page.evaluate("document.activeElement.matches('[data-shot-move]')")
    page.locator("[data-shot-move]").nth(2).drag_to(page.locator("#shots > li").first, target_position={"x": 40, "y": 3})
    expect(page.locator("#shots [data-shot=input]").first).to_have_value(order[3])
    assert inputs(page) == [order[3], order[0], order[1], order[2]]
    page.locator("[data-shot-remove]").first.press("Enter")
    assert inputs(page) == order[:3] and complaints == []


def test_a_chat_goes_on_from_the_models_answer_and_is_sent_again_from_any_turn(page: Page, complaints: list[str]) -> None:
    page.locator("#saved-menu").evaluate("(menu) => menu.showPopover()")
    page.get_by_role("button", name="New prompt").click()
    page.get_by_role("button", name="Paste JSON").first.click()
    request = {
        "model": "x",
        "max_tokens": 8,
        "messages": [{"role": "system", "content": "Answer in {one} word."}, {"role": "user", "content": "What is the capital of France?"}],
    }
    page.locator("#paste-text").fill(json.dumps(request))
    for keys in ("Control+Enter", "Control+Shift+Enter", "Control+s"):
        page.keyboard.press(keys)
    expect(page.locator("dialog[open]")).to_have_attribute("id", "paste-dialog")
    page.locator("#paste-dialog").get_by_role("button", name="Cancel").focus()
    page.keyboard.press("c")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("[data-column]")).to_have_count(1)
    expect(page.locator("#turns > li")).to_have_count(2)
    assert page.locator("#turns textarea").first.input_value() == "Answer in {{one}} word.", "another's braces are text"
    expect(page.locator("#input-field")).to_be_hidden()
    page.locator("#seen summary").press("Enter")
    expect(page.locator("#seen-text .special").first).to_have_text("<|im_start|>")
    expect(page.locator("#tokens")).to_contain_text(re.compile(r"\d+ turns \+ \d+ frame = \d+ of 8,192 tokens"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=counts]").first).to_contain_text("tokens read", timeout=90_000)
    answer = page.locator("[data-part=stream]").first.inner_text().strip()
    page.locator("[data-take]").first.press("Enter")
    turns = page.evaluate(ASIDE)
    assert [turn[0] for turn in turns] == ["system", "user", "assistant", "user"] and turns[2][1] == answer != ""
    page.keyboard.type("And of Italy?")
    no_violations(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=stream]").first).not_to_have_attribute("data-running", "", timeout=90_000)
    page.locator("[data-take]").first.press("Enter")
    page.locator("#turns textarea").nth(1).fill("What is the capital of Spain?")
    page.locator("[data-turn-run]:visible").first.press("Enter")
    expect(page.locator("[data-turn-after]:visible")).to_have_text("4 turns come after this one.")
    no_violations(page)
    page.get_by_role("button", name="Keep them, unsent").press("Enter")
    expect(page.locator("[data-part=stream]").first).not_to_have_attribute("data-running", "", timeout=90_000)
    assert [turn[2] for turn in page.evaluate(ASIDE)] == [False, False, True, True, True, True]
    expect(page.locator("#seen-text")).not_to_contain_text("Italy")
    page.locator("[data-take]").first.press("Enter")
    turns = page.evaluate(ASIDE)
    assert len(turns) == 6 and not any(turn[2] for turn in turns) and turns[3][1] == "And of Italy?"
    assert turns[2][1] == page.locator("[data-part=stream]").first.inner_text().strip(), "the answer stands where the old one stood"
    page.locator("[data-turn-run]:visible").first.press("Enter")
    page.get_by_role("button", name="Drop them").press("Enter")
    expect(page.locator("#turns > li")).to_have_count(2)
    expect(page.locator("[data-part=stream]").first).not_to_have_attribute("data-running", "", timeout=90_000)
    page.locator("[data-take]").first.press("Enter")
    page.locator("[data-turn-remove]").last.press("Enter")
    expect(page.locator("#why")).to_have_text("The last turn is the model's own: add one for it to answer.")
    page.keyboard.press("Control+s")
    page.get_by_label("Name", exact=True).fill("Capitals")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt-name")).to_have_text("Capitals v1")
    before = page.evaluate(ASIDE)
    page.goto(page.url.split("/lab")[0] + "/lab?prompt=4")
    expect(page.locator("#turns > li")).to_have_count(3)
    assert page.evaluate(ASIDE) == before and complaints == []


def test_a_very_long_prompt_and_one_of_emoji_get_clear_answers(page: Page, complaints: list[str]) -> None:
    mode(page, "freeform")
    page.locator("#text").fill("")
    page.locator("#text").evaluate(
        "(area, words) => { area.value = words; area.dispatchEvent(new Event('input', { bubbles: true })); }", "A line of some length.\n" * 4_500
    )
    expect(page.locator("#why")).to_have_text(
        re.compile(r"The prompt takes [\d,]+ tokens, and the model reads 8,192, its answer included: make it shorter by at least [\d,]+\.")
    )
    page.locator("#text").focus()
    page.keyboard.press("Control+End")
    page.keyboard.type("still typing")
    assert page.locator("#text").input_value().endswith("still typing")
    mode(page, "chat")
    assert page.evaluate(ASIDE)[0][1].endswith("still typing")
    mode(page, "freeform")
    page.locator("#text").fill("😀🎉👩‍👩‍👧")
    expect(page.locator("#tokens")).to_have_text(re.compile(r"^\d+ of 8,192 tokens$"))
    expect(page.locator("#why")).to_have_text("")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=counts]").first).to_contain_text("tokens read", timeout=90_000)
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_editor_fits_its_window_in_every_mode(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for name in ("structured", "freeform", "chat"):
        mode(page, name)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name} is {wider} px too wide at {width}"
        no_violations(page)
