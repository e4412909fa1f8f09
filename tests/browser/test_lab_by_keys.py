"""All of the Lab by keys alone: modes, the turns of a chat, shots, a dataset's rows, what is read and thought of answers, tests and code. In this order."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.steps import SEEN, address, column, draft_kept, lab, no_violations, part, press, settled, sign_up, tab_to, write
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

TURNS = "[...document.querySelectorAll('#turns > li')].map((item) => [item.querySelector('select').value, item.querySelector('textarea').value])"
ASIDE = "[...document.querySelectorAll('#turns > li')].map((item) => item.hasAttribute('data-aside'))"
SHOTS = "[...document.querySelectorAll('#shots [data-shot=input]')].map((one) => one.value)"
REQUEST = "document.querySelector('[data-answer]').answer.request"


def along(page: Page, name: str, key: str, value: str, *, back: bool = False) -> None:
    """Go along a switch with an arrow: what is chosen keeps the keyboard, and is seen to have it."""
    tab_to(page, f"input[name={name}]", back=back)
    page.keyboard.press(key)
    chosen = page.locator(f"input[name={name}][value='{value}']")
    expect(chosen).to_be_checked()
    expect(chosen).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement.parentElement).outlineStyle") != "none", f"nobody sees where {name} has the keyboard"


def mode(page: Page, key: str, name: str) -> None:
    with page.expect_response("**/lab/preview"):
        along(page, "mode", key, name, back=True)
    expect(page.locator(f"#lab [data-mode={name}]")).to_be_visible()


def answered(page: Page, keys: str = "Control+Enter") -> str:
    """Press what runs the first column, and wait for an answer to that."""
    before = page.evaluate(REQUEST)
    page.keyboard.press(keys)
    page.wait_for_function(f"(before) => {REQUEST} && {REQUEST} !== before", arg=before)
    settled(page)
    expect(part(page, "counts").first).to_contain_text("tokens read", timeout=120_000)
    return part(page, "stream").first.inner_text().strip()


def parameters(page: Page, **values: str) -> None:
    """Open the next column's drawer, set some, and close it."""
    press(page, "[data-part=parameters] summary")
    for name, value in values.items():
        write(page, f"[data-parameter={name}]", value)
    tab_to(page, "[data-part=parameters] summary", back=True)
    page.keyboard.press("Enter")


def test_a_prompt_goes_on_as_free_text_and_as_a_chat(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    lab(installation, page)
    write(page, "#instruction", "Name the capital.")
    mode(page, "ArrowRight", "freeform")
    expect(page.locator("#text")).to_have_value(re.compile(r"^Name the capital\.\n\nInput: \{input\}\nOutput:"))
    mode(page, "ArrowRight", "chat")
    assert page.evaluate(TURNS) == [["system", "Name the capital."], ["user", "{input}"]]
    mode(page, "ArrowLeft", "freeform")
    write(page, "#text", "The capital of Norway is")
    expect(page.locator("#input-field")).to_be_hidden()  # nothing reads it
    parameters(page, max_tokens="8")
    assert answered(page)
    no_violations(page)


def test_a_chat_is_written_by_hand_and_goes_on_from_an_answer(page: Page) -> None:
    mode(page, "ArrowRight", "chat")
    tab_to(page, "#turns > li:last-child textarea")
    while page.locator("#turns > li").count():
        tab_to(page, "[data-turn-remove]", back=True)
        page.keyboard.press("Enter")
    expect(page.locator("#add-turn")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#turns textarea")).to_be_focused()
    tab_to(page, "#turns select", back=True)
    assert page.evaluate(SEEN)
    page.keyboard.press("ArrowUp")
    expect(page.locator("#turns > li")).to_have_attribute("data-role", "system")
    write(page, "#turns textarea", "Answer in one word.")
    tab_to(page, "#add-turn", back=True)
    page.keyboard.press("Enter")
    page.keyboard.type("What is the capital of France?")
    assert page.evaluate(TURNS) == [["system", "Answer in one word."], ["user", "What is the capital of France?"]]
    answer = answered(page)
    press(page, "[data-take]")
    expect(page.locator("#turns textarea").last).to_be_focused()
    page.keyboard.type("And of Italy?")
    assert page.evaluate(TURNS)[2:] == [["assistant", answer], ["user", "And of Italy?"]]
    answered(page)
    press(page, "[data-take]")
    expect(page.locator("#turns > li")).to_have_count(6)
    expect(page.locator("#turns textarea").last).to_be_focused()


def test_a_turn_is_edited_and_what_comes_after_it_is_kept_unsent(page: Page) -> None:
    second = "#turns > li:nth-child(2)"
    expect(page.locator(f"{second} [data-turn-run]")).to_be_visible()
    tab_to(page, f"{second} textarea", back=True)
    page.keyboard.press("Control+a")
    page.keyboard.type("What is the capital of Spain?")
    tab_to(page, f"{second} [data-turn-run]", back=True)
    assert page.evaluate(SEEN)
    page.keyboard.press("Enter")
    expect(page.locator(f"{second} [data-turn-after]")).to_have_text("4 turns come after this one.")
    expect(page.get_by_role("button", name="Drop them")).to_be_focused()
    assert page.evaluate(SEEN)
    page.keyboard.press("Escape")
    expect(page.locator("[data-turn-choice]:visible")).to_have_count(0)
    expect(page.locator(f"{second} textarea")).to_be_focused()
    assert not any(page.evaluate(ASIDE)) and len(page.evaluate(TURNS)) == 6, "thought better of, nothing has changed"
    tab_to(page, f"{second} [data-turn-run]", back=True)
    page.keyboard.press("Enter")
    tab_to(page, f"{second} [data-turn-keep]")
    answered(page, "Enter")
    expect(page.locator(f"{second} textarea")).to_be_focused()
    assert page.evaluate(ASIDE) == [False, False, True, True, True, True]
    no_violations(page)
    tab_to(page, "#send-all")
    assert page.evaluate(SEEN)
    page.keyboard.press("Enter")
    expect(page.locator("#turns-note")).to_be_hidden()
    expect(page.locator("#turns textarea").last).to_be_focused()
    assert not any(page.evaluate(ASIDE))


def test_turns_after_it_are_dropped_and_one_is_taken_away(page: Page) -> None:
    second = "#turns > li:nth-child(2)"
    tab_to(page, f"{second} [data-turn-run]", back=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Drop them")).to_be_focused()
    answer = answered(page, "Enter")
    expect(page.locator("#turns > li")).to_have_count(2)
    press(page, "[data-take]")
    assert page.evaluate(TURNS)[1:] == [["user", "What is the capital of Spain?"], ["assistant", answer], ["user", ""]]
    tab_to(page, "#turns > li:last-child [data-turn-remove]", back=True)
    page.keyboard.press("Enter")
    expect(page.locator("#turns textarea").last).to_be_focused()
    expect(page.locator("#why")).to_have_text("The last turn is the model's own: add one for it to answer.")


def row(page: Page, keys: str, place: int) -> str:
    """Press what goes to another row; its input."""
    before = page.locator("#input").input_value()
    page.keyboard.press(keys)
    expect(page.locator("#row-place")).to_have_text(f"row {place} of 162")
    expect(page.locator("#input")).not_to_have_value(before)
    return page.locator("#input").input_value()


def test_a_dataset_is_chosen_and_its_rows_walked_through(installation: Running, page: Page) -> None:
    lab(installation, page)
    write(page, "#instruction", "Is the customer pleased? Say good or bad.")
    tab_to(page, "#dataset", back=True)
    assert page.evaluate(SEEN)
    page.keyboard.type("Thumbs")
    expect(page.locator("#dataset option:checked")).to_have_text("Thumbs up or down v1")
    expect(page.locator("#dataset")).to_be_focused()
    expect(page.locator("#row-place")).to_have_text("row 1 of 162")
    expect(page.locator("#input")).not_to_have_value("")
    first = page.locator("#input").input_value()
    tab_to(page, "#row-next")
    assert page.evaluate(SEEN)
    second = row(page, "Enter", 2)
    expect(page.locator("#row-next")).to_be_focused()
    tab_to(page, "#row-previous", back=True)
    assert row(page, "Enter", 1) == first
    assert row(page, "]", 2) == second, "and by a key of their own, wherever nothing is written"
    assert row(page, "[", 1) == first
    tab_to(page, "#split", back=True)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#split")).to_have_value("train")
    expect(page.locator("#row-place")).to_have_text("row 1 of 652")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#input")).to_have_value(first)


def note(page: Page, words: str) -> list[str]:
    """The inputs of the shots, once it is said how they came there."""
    expect(page.locator("#shots-note")).to_have_text(words)
    expect(page.locator("#why")).to_have_text("")
    found: list[str] = page.evaluate(SHOTS)
    return found


def test_shots_are_counted_and_drawn_in_another_way(page: Page) -> None:
    along(page, "shots", "ArrowRight", "1")
    assert len(note(page, "1 drawn, balanced, seed 0")) == 1
    along(page, "shots", "ArrowRight", "n")
    assert len(note(page, "4 drawn, balanced, seed 0")) == 4
    write(page, "#count", "3")
    page.keyboard.press("Enter")
    balanced = note(page, "3 drawn, balanced, seed 0")
    tab_to(page, "#draw-selection")
    assert page.evaluate(SEEN)
    page.keyboard.type("div")
    assert note(page, "3 drawn, diverse, seed 0") != balanced
    expect(page.locator("#draw-selection")).to_be_focused()
    write(page, "#draw-seed", "7")
    page.keyboard.press("Enter")
    seventh = note(page, "3 drawn, diverse, seed 7")
    press(page, "#draw")
    assert note(page, "3 drawn, diverse, seed 8") != seventh
    expect(page.locator("#draw")).to_be_focused()
    expect(page.locator("#draw-seed")).to_have_value("8")
    no_violations(page)


def test_one_is_picked_by_search_and_put_before_another(page: Page) -> None:
    before = page.evaluate(SHOTS)
    tab_to(page, "#pick-open", back=True)
    assert page.evaluate(SEEN)
    page.keyboard.press("Enter")
    expect(page.locator("#pick-words")).to_be_focused()
    page.keyboard.type("thanks")
    rows = page.locator("#pick-rows button")
    expect(rows.first).to_contain_text(re.compile("thanks", re.IGNORECASE))
    page.keyboard.press("ArrowDown")
    expect(rows.first).to_be_focused()
    assert page.evaluate(SEEN)
    no_violations(page)
    page.keyboard.press("Enter")
    expect(page.locator("#pick-note")).to_contain_text("is shot 4 now")
    page.keyboard.press("Escape")
    expect(page.locator("#pick-open")).to_be_focused()
    picked = note(page, "3 drawn, diverse, seed 8, 1 own")
    assert picked[:3] == before and "thanks" in picked[3].lower()
    tab_to(page, "#shots > li:last-child [data-shot-move]")
    for place in (3, 2):
        page.keyboard.press("ArrowUp")
        expect(page.locator("#shots-said")).to_have_text(f"Shot {place} of 4")
        expect(page.locator("[data-shot-move]").nth(place - 1)).to_be_focused()
        assert page.evaluate(SEEN)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#shots-said")).to_have_text("Shot 3 of 4")
    assert page.evaluate(SHOTS) == [picked[0], picked[1], picked[3], picked[2]]


def test_shots_are_taken_away_and_the_keyboard_stays(page: Page) -> None:
    tab_to(page, "#shots > li:nth-child(3) [data-shot-remove]")
    for left in (3, 2, 1):
        page.keyboard.press("Enter")
        expect(page.locator("#shots > li")).to_have_count(left)
        expect(page.locator("#shots > li [data-shot-remove]").nth(min(2, left - 1))).to_be_focused()
    page.keyboard.press("Enter")
    note(page, "none: zero-shot")
    expect(page.locator("#add-shot")).to_be_focused()
    along(page, "shots", "ArrowRight", "1", back=True)
    note(page, "1 drawn, diverse, seed 8")
    along(page, "shots", "ArrowRight", "n")
    note(page, "2 drawn, diverse, seed 8")
    write(page, "#count", "1")
    page.keyboard.press("Enter")
    note(page, "1 drawn, diverse, seed 8")
    expect(page.locator("#count")).to_be_hidden()
    expect(page.locator("input[name=shots][value='1']")).to_be_focused()


def difference(page: Page) -> Locator:
    return part(column(page, "B"), "diff")


def test_two_answers_are_compared_word_by_word(page: Page) -> None:
    parameters(page, max_tokens="6", logprobs="3")
    tab_to(page, "#add-column", back=True)
    page.keyboard.press("Enter")
    expect(part(column(page, "B"), "model")).to_be_focused()
    parameters(page, max_tokens="3")
    answered(page, "Control+Shift+Enter")
    expect(part(column(page, "B"), "counts")).to_contain_text("tokens read", timeout=120_000)
    tab_to(page, "#diff", back=True)
    assert page.evaluate(SEEN)
    page.keyboard.press("Space")
    expect(difference(page)).to_be_visible()
    tab_to(page, "[data-column]:nth-child(2) [data-part=diff]")
    assert page.evaluate(SEEN)
    no_violations(page)
    tab_to(page, "#diff", back=True)
    page.keyboard.press("Space")
    expect(difference(page)).to_be_hidden()


def test_a_heat_line_is_walked_along_and_labels_are_weighed(page: Page) -> None:
    tab_to(page, "#bars")
    assert page.evaluate(SEEN)
    page.keyboard.press("Space")
    bars = part(column(page, "A"), "bars")
    expect(bars.locator(":scope > dl dt")).to_have_count(2, timeout=60_000)
    settled(page)
    tab_to(page, "[data-part=stream]")
    assert page.evaluate(SEEN)
    tokens, tip = part(column(page, "A"), "stream").locator(".token"), page.locator("#heat-tip")
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        expect(tokens.nth(place)).to_be_focused()
        assert tokens.nth(place).evaluate("one => getComputedStyle(one).outlineStyle") != "none", "also of a line's end, which has no width"
        expect(tip.locator("p")).to_have_text(re.compile(r"\d\s%$"))
        expect(tip.locator("li")).to_have_count(3)
    expect(tip).to_be_visible()
    no_violations(page)
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('[data-thumb=up]')"), "the whole line is one stop"


def test_a_thumb_and_a_note_stand_under_the_answer_again(page: Page) -> None:
    marks = part(page, "note").first.locator("xpath=..")
    assert page.evaluate(SEEN)
    page.keyboard.press("Enter")
    expect(marks.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    press(page, "[data-do=note]")
    expect(part(page, "note").first).to_be_focused()
    no_violations(page)
    page.keyboard.type("Right, and short.")
    with page.expect_response(lambda response: response.url.endswith("/api/v1/marks")):
        page.keyboard.press("Tab")
    draft_kept(page)
    page.reload()
    expect(part(page, "stream").first).not_to_be_empty()
    expect(marks.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    expect(part(page, "note").first).to_be_visible()
    expect(part(page, "note").first).to_have_value("Right, and short.")
    expect(part(column(page, "B"), "note")).to_be_hidden()
    no_violations(page)


def test_the_code_is_read_and_copied(installation: Running, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address(installation))
    press(page, ".lab-bar [data-view-code]")
    dialog = page.locator("#code-dialog")
    expect(dialog.locator("pre")).to_have_count(3)
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    press(page, "#code details:nth-of-type(2) summary")
    text = page.locator("#code-openai")
    expect(text).to_be_visible()
    tab_to(page, "#code-openai")
    assert page.evaluate(SEEN)
    press(page, "[data-copy='#code-openai']")
    said = page.locator(".toast", has_text="Copied.")
    expect(said).to_be_visible()
    assert said.evaluate(
        "one => { const box = one.getBoundingClientRect(); return one.contains(document.elementFromPoint(box.x + 20, box.y + box.height / 2)); }"
    )
    assert page.evaluate("navigator.clipboard.readText()") == text.text_content()
    no_violations(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".lab-bar [data-view-code]")).to_be_focused()
    expect(page.locator("body > #toasts")).to_be_attached()


def test_columns_are_tested_and_what_is_over_is_cleared(page: Page) -> None:
    press(page, "#test")
    start = page.locator("#test-start")
    write(page, "#test-limit", "40")
    tab_to(page, "#test-answer")
    page.keyboard.type("like")
    expect(page.locator("#test-answer")).to_have_value("likelihood")
    expect(page.locator("#test-plan strong")).to_contain_text("2 evaluations, 80 answers")
    expect(start).not_to_have_attribute("aria-disabled", "true")
    tab_to(page, "#test-start")
    assert page.evaluate(SEEN)
    no_violations(page)
    page.keyboard.press("Enter")
    expect(page.locator("#test-dialog")).to_be_hidden()
    expect(page.locator("#test")).to_be_focused()
    chips = page.locator("#tests [data-job]")
    expect(chips).to_have_count(2)
    expect(chips.filter(has_text="running").first).to_be_visible(timeout=120_000)
    no_violations(page)
    clear = page.get_by_role("button", name="Take the finished tests off the bar")
    expect(clear).to_be_visible(timeout=300_000)
    tab_to(page, "#tests button", back=True)
    assert page.evaluate(SEEN)
    expect(page.locator("#tests [data-over]")).to_have_count(2, timeout=300_000)
    expect(clear).to_be_focused()
    for chip in chips.all():
        expect(chip.locator("b")).to_have_text(re.compile(r"^(0\.\d{3}|1\.000)$"))
    page.keyboard.press("Enter")
    expect(page.locator("#tests")).to_be_hidden()
    expect(page.locator("#test")).to_be_focused()
