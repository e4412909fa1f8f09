"""The Lab's columns in a real browser with the starter model, with the keyboard alone where a person would: side by side, tables, tests. In this order."""

import json
import os
import re
import signal

import pytest
from playwright.sync_api import Page, Route, expect

from app.pages.lab import listed
from tests.browser.steps import address, column, menu, no_violations, part, set_parameter, settled, sign_up, tab_to
from tests.installation import Running
from tests.pages.test_lab import LISTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]


def test_columns_are_added_run_together_and_reordered_with_the_keyboard(installation: Running, page: Page, complaints: list[str]) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab")
    page.get_by_label("Instruction").fill("Answer good or bad.")
    page.get_by_label("Input", exact=True).fill("Great help, thank you!")
    set_parameter(page.locator("[data-column]"), max_tokens="6")
    tab_to(page, "#add-column")
    page.keyboard.press("Enter")
    expect(part(column(page, "B"), "model")).to_be_focused()
    expect(part(column(page, "B"), "changed")).to_have_text("max tokens 6")
    set_parameter(column(page, "B"), temperature="0.9", seed="3")
    expect(part(column(page, "B"), "changed")).to_have_text("temperature 0.9, max tokens 6, seed 3")
    expect(part(column(page, "A"), "changed")).to_have_text("max tokens 6")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    for letter in "AB":
        expect(part(column(page, letter), "counts")).to_contain_text("tokens read", timeout=120_000)
        expect(part(column(page, letter), "stream")).not_to_be_empty()
    no_violations(page)
    second = part(column(page, "B"), "stream").inner_text()
    menu(page, "B", "Move left")
    expect(part(column(page, "A"), "changed")).to_have_text("temperature 0.9, max tokens 6, seed 3")
    assert part(column(page, "A"), "stream").inner_text() == second, "a column moves with its answer"
    menu(page, "A", "Duplicate")
    expect(page.locator("[data-column]")).to_have_count(3)
    menu(page, "B", "Remove")
    expect(page.locator("[data-column]")).to_have_count(2)
    menu(page, "B", "Move left")
    expect(part(column(page, "A"), "changed")).to_have_text("max tokens 6")


def test_one_column_runs_again_alone_and_control_enter_means_the_one_with_the_keyboard(page: Page) -> None:
    before = part(column(page, "A"), "counts").inner_text()
    part(column(page, "B"), "model").focus()
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(column(page, "B"), "counts")).to_contain_text("tokens read")
    assert part(column(page, "A"), "counts").inner_text() == before
    column(page, "B").get_by_role("button", name="Run column B").focus()
    for keys in ("Enter", "Control+Enter"):
        page.keyboard.press(keys)
        expect(column(page, "B").get_by_role("button", name="Stop column B")).to_be_focused()
        settled(page)
        expect(column(page, "B").get_by_role("button", name="Run column B")).to_be_focused()
    assert part(column(page, "A"), "counts").inner_text() == before
    page.locator("#run").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_focused()
    settled(page)
    expect(page.locator("#run")).to_be_focused()
    page.locator("#diff").focus()
    page.keyboard.press("Space")
    expect(part(column(page, "B"), "diff")).to_be_visible()
    expect(part(column(page, "A"), "diff")).to_be_hidden()
    no_violations(page)
    page.keyboard.press("Space")
    expect(part(column(page, "B"), "stream")).to_be_visible()


PAIRS = [
    ("", ""),
    ("", "one word"),
    ("the cat sat", "the dog sat"),
    ("a b c d", "d c b a"),
    ("same same same", "same same"),
    ("tail \U0001f469\u200d\U0001f680 stays", "head \U0001f469\u200d\U0001f680 stays\n"),
    (" ".join(f"w{n}" for n in range(3000)), " ".join(f"v{n}" for n in range(3000))),
]


def test_a_difference_holds_both_texts_whole_and_marks_no_more_than_it_must(page: Page) -> None:
    script = 'async ([from, to]) => (await import("/static/js/lab-diff.js")).diff(from, to)'
    found = [page.evaluate(script, list(pair)) for pair in PAIRS]
    for (before, after), pieces in zip(PAIRS, found, strict=True):
        assert "".join(text for kind, text in pieces if kind != "ins") == before and "".join(text for kind, text in pieces if kind != "del") == after
    assert found[2] == [["same", "the "], ["del", "cat"], ["ins", "dog"], ["same", " sat"]]
    assert found[6][0] == ["del", PAIRS[6][0]], "too long to compare word by word: one change"


def test_lists_come_back_out_of_their_fields_as_they_were(page: Page) -> None:
    script = """async ([texts, field]) => {
      const { read, write } = await import("/static/js/lab-parameters.js");
      const area = Object.assign(document.createElement("textarea"), { value: field });
      Object.assign(area.dataset, { parameter: "stop", kind: "list" });
      const box = document.createElement("div");
      box.append(area);
      const before = read(box);
      write(box, { stop: texts });
      return [before, area.value, read(box)];
    }"""
    for texts in LISTS:
        assert page.evaluate(script, [texts, listed(texts)]) == [{"stop": texts}, listed(texts), {"stop": texts}]
    assert page.evaluate(script, [["x"], "\n"])[0] == {}


def test_an_error_stays_in_its_column_and_is_retried_there(installation: Running, page: Page) -> None:
    made = page.request.post(
        f"{address(installation)}/api/v1/prompts", data={"name": "Toned", "instruction": "Be {tone}."}, headers={"Origin": address(installation)}
    )
    assert made.ok
    page.reload()
    expect(page.locator("[data-column]")).to_have_count(2)
    expect(part(column(page, "B"), "changed")).to_contain_text("temperature 0.9")
    part(column(page, "B"), "prompt").select_option(label="Toned v1")
    set_parameter(column(page, "B"), max_tokens="6")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    expect(part(column(page, "B"), "failure-message")).to_contain_text("{tone}", timeout=60_000)
    expect(part(column(page, "A"), "counts")).to_contain_text("tokens read", timeout=120_000)
    expect(part(column(page, "A"), "failure")).to_be_hidden()
    no_violations(page)
    part(column(page, "B"), "prompt").select_option(label="The editor's prompt")
    column(page, "B").get_by_role("button", name="Retry").focus()
    page.keyboard.press("Enter")
    expect(part(column(page, "B"), "stream")).to_be_focused()
    expect(part(column(page, "B"), "counts")).to_contain_text("tokens read", timeout=120_000)


def test_a_column_is_stopped_while_the_other_goes_on(page: Page) -> None:
    for letter in "AB":
        set_parameter(column(page, letter), max_tokens="600", min_tokens="600")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    for letter in "AB":
        expect(part(column(page, letter), "stream")).not_to_be_empty(timeout=120_000)
    column(page, "B").get_by_role("button", name="Stop column B").click()
    expect(part(column(page, "B"), "counts")).to_contain_text("stopped by you", timeout=30_000)
    expect(part(column(page, "A"), "stream")).to_have_attribute("data-running", "")
    page.keyboard.press("Control+.")
    expect(part(column(page, "A"), "counts")).to_contain_text("stopped by you", timeout=30_000)
    for letter in "AB":
        set_parameter(column(page, letter), max_tokens="6", min_tokens="")


def test_tokens_say_how_sure_the_model_was_and_what_else_was_likely(page: Page) -> None:
    set_parameter(column(page, "A"), logprobs="5")
    part(column(page, "A"), "model").focus()
    page.keyboard.press("Control+Enter")
    settled(page)
    stream = part(column(page, "A"), "stream")
    tokens = stream.locator(".token")
    assert tokens.count() >= 2 and "".join(tokens.all_text_contents()) == stream.text_content()
    stream.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    expect(tokens.nth(1)).to_have_attribute("aria-label", re.compile(r"%$"))
    expect(page.locator("#heat-tip li")).to_have_count(5)
    shares = [float(text.split()[-2].lstrip("<")) for text in page.locator("#heat-tip li").all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 101
    no_violations(page)
    page.keyboard.press("Escape")
    expect(page.locator("#heat-tip")).to_be_hidden()
    tokens.first.hover()
    expect(page.locator("#heat-tip")).to_be_visible()
    expect(page.locator("#heat-tip li")).to_have_count(5)
    expect(page.locator("#heat-tip p")).to_have_text((tokens.first.get_attribute("aria-label") or "").replace(", ", " "))
    set_parameter(column(page, "A"), logprobs="")


def test_several_answers_and_answers_held_to_a_list(page: Page) -> None:
    set_parameter(column(page, "B"), n="2", temperature="0.9", seed="1")
    part(column(page, "B"), "model").focus()
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(column(page, "B").get_by_role("group", name="Answer 2", exact=True)).not_to_be_empty()
    set_parameter(column(page, "B"), n="", temperature="", seed="", choices="good\nbad")
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    expect(part(column(page, "B"), "stream")).to_have_text(re.compile("^(good|bad)$"))
    set_parameter(column(page, "B"), choices="")


def test_bars_say_how_likely_each_label_is(page: Page) -> None:
    expect(page.locator("#bars-field")).to_be_visible()  # column B's answer is held to a list, whose labels can be weighed
    page.locator("#dataset").select_option(label="Support desk v1")
    expect(page.locator("#bars-field")).to_be_visible()
    page.locator("#bars").focus()
    page.keyboard.press("Space")
    bars = part(column(page, "A"), "bars")
    expect(bars.locator(":scope > dl dt")).to_have_count(5, timeout=60_000)
    shares = bars.locator(":scope > dl .num:not(.faint)").all_inner_texts()
    assert len(shares) == 5 and all(text.endswith("%") for text in shares)
    more = bars.locator("summary")
    expect(more).to_have_text(re.compile(r"^\d+ more$"))
    more.focus()
    page.keyboard.press("Enter")
    assert bars.locator("details dt").count() == int(more.inner_text().split()[0])
    no_violations(page)
    page.locator("#bars").uncheck()
    expect(bars).to_be_hidden()


def test_labels_are_weighed_one_answer_after_another_and_stop_ends_that(page: Page) -> None:
    held: list[Route] = []
    left: list[str] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/likelihoods", hold)
    page.on("requestfailed", lambda request: left.append(request.url))
    page.locator("#bars").check()
    page.keyboard.press("Control+Shift+Enter")
    bars = [part(column(page, letter), "bars") for letter in "AB"]
    for one in bars:
        expect(one).to_have_text("Weighing the labels", timeout=120_000)
    assert len(held) == 1, "the other waits for it"
    page.locator("#stop").click()
    for one in bars:
        expect(one).to_contain_text("You stopped this")
    settled(page)
    assert len(held) == 1 and [url for url in left if url.endswith("/likelihoods")] == [held[0].request.url]
    page.unroute("**/api/v1/likelihoods")
    page.locator("#bars").uncheck()
    page.locator("#bars").check()
    for one in bars:
        expect(one.locator(":scope > dl dt")).to_have_count(5, timeout=60_000)
    settled(page)
    page.locator("#bars").uncheck()


def test_a_table_of_inputs_fills_cell_by_cell_with_a_tally(page: Page, complaints: list[str]) -> None:
    page.locator("#dataset").select_option(label="Thumbs up or down v1")
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    expect(page.locator("#why")).to_have_text("Add rows to the table of inputs first.")
    page.locator("#inputs-count").fill("3")
    page.get_by_role("button", name="Draw rows").click()
    expect(page.locator("#inputs-list li")).to_have_count(3)
    page.get_by_label("Lines to add").fill("A pasted line.\n\nAnother one.")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#inputs-note")).to_contain_text("5 inputs, 3 with a gold answer")
    page.get_by_role("button", name="Remove input 5").click()
    expect(page.locator("[data-answer]")).to_have_count(8)
    page.keyboard.press("Control+Shift+Enter")
    for letter in "AB":
        expect(part(column(page, letter), "tally")).to_contain_text(re.compile(r"\d right, \d wrong \(\d+ % of 3\)"), timeout=180_000)
    settled(page)
    no_violations(page)
    cell = column(page, "B").locator("[data-answer]").nth(3)
    expect(part(cell, "input")).to_have_text("4 · A pasted line.")
    expect(part(cell, "gold")).to_be_hidden()
    others = part(column(page, "A"), "counts").all_inner_texts()
    cell.get_by_role("button", name="Run this cell again").focus()
    page.keyboard.press("Enter")
    settled(page)
    expect(part(cell, "counts")).to_contain_text("tokens read")
    assert part(column(page, "A"), "counts").all_inner_texts() == others
    menu(page, "B", "View code")
    expect(page.locator("#code-curl")).to_contain_text(json.dumps(page.locator("#inputs-list .clip").first.text_content(), ensure_ascii=False)[:40])
    expect(page.locator("#code-curl")).to_contain_text('"input": ')
    page.keyboard.press("Escape")
    expect(page.locator("#code-dialog")).to_be_hidden()
    assert complaints == []


def test_thumbs_and_notes_are_kept_and_listed(installation: Running, page: Page) -> None:
    cell = column(page, "A").locator("[data-answer]").first
    cell.get_by_role("button", name="Good answer").focus()
    page.keyboard.press("Enter")
    expect(cell.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    cell.get_by_role("button", name="Note").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("short and right")
    with page.expect_response(lambda response: response.url.endswith("/api/v1/marks")):
        page.keyboard.press("Tab")
    page.goto(f"{address(installation)}/lab/marks")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("good")
    expect(page.locator("tbody tr")).to_contain_text("short and right")
    no_violations(page)


def test_columns_are_tested_on_validation_as_jobs_with_chips(installation: Running, page: Page, complaints: list[str]) -> None:
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("#inputs-list li")).to_have_count(4)
    set_parameter(column(page, "B"), temperature="0.5")
    tab_to(page, "#test")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody tr")).to_have_count(2)
    expect(dialog.locator("tbody")).to_contain_text("Lab draft for Thumbs up or down")
    page.get_by_label("Rows", exact=True).fill("4")
    expect(dialog.locator("#test-plan strong")).to_contain_text("2 evaluations, 8 answers")
    no_violations(page)
    dialog.get_by_role("button", name="Start").focus()
    page.keyboard.press("Enter")
    chips = page.locator("#tests [data-job]")
    expect(chips).to_have_count(2)
    expect(page.locator("#prompt-name")).to_have_text("Lab draft for Thumbs up or down v1")
    expect(page.locator("#tests [data-over]")).to_have_count(2, timeout=300_000)
    expect(chips.first).to_contain_text(re.compile(r"0\.\d{3}|1\.000"))
    no_violations(page)
    page.reload()
    expect(chips).to_have_count(2)
    chips.first.click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_six_columns_scroll_inside_their_strip(installation: Running, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address(installation)}/lab")
    add = page.locator("#add-column")
    while add.get_attribute("aria-disabled") != "true":
        add.click()
    expect(page.locator("[data-column]")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.locator("#columns").evaluate("strip => strip.scrollWidth > strip.clientWidth")
    expect(part(column(page, "F"), "model")).to_be_in_viewport()
    no_violations(page)
    for letter in "FEDC":
        menu(page, letter, "Remove")
    expect(page.locator("[data-column]")).to_have_count(2)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_says_when_the_engine_is_gone_and_when_it_is_back(installation: Running, page: Page) -> None:
    expect(page.locator("#away")).to_be_hidden(timeout=60_000)
    for process in installation.find("engine", "interactive"):
        os.kill(process, signal.SIGKILL)
    expect(page.locator("#away")).to_be_visible(timeout=2_000)  # what is promised, however long a new one takes to start
    expect(page.locator("#why")).to_have_text("No engine process answers.")
    expect(page.locator("#run")).to_have_attribute("aria-disabled", "true")
    no_violations(page)
    expect(page.locator("#away")).to_be_hidden(timeout=120_000)
    expect(page.locator("#why")).to_be_empty()


def test_a_model_that_is_still_loading_says_how_far_it_is(page: Page) -> None:
    # The engine process that came back has no model in memory.
    cells = part(column(page, "A"), "progress")
    progress = cells.first
    cells.evaluate_all(
        """all => {
          window.told = [];
          for (const element of all) new MutationObserver(() => window.told.push(element.textContent)).observe(element, { childList: true });
        }"""
    )
    page.locator("#run").click()
    settled(page)
    assert any(words.startswith("Loading weights") for words in page.evaluate("window.told"))
    half_way = """element => {
        let place = element;
        while (!place.answer) place = place.parentElement;
        Object.assign(place.answer, { state: "running", loads: { since: performance.now() - 6000, from: 0 } });
        place.answer.take("loading", { fraction: 0.5 });
        clearInterval(place.answer.clock);
        place.answer.state = "done";
        return element.textContent;
    }"""
    assert progress.evaluate(half_way) == "Loading weights, 50 %, about 6 s left"


def test_code_of_what_cannot_be_asked_says_why(page: Page) -> None:
    set_parameter(column(page, "A"), json_schema="{")
    page.get_by_role("button", name="Code", exact=True).click()
    expect(page.locator("#code-dialog [role=alert]")).to_contain_text("json_schema")
    no_violations(page)
    page.keyboard.press("Escape")
    set_parameter(column(page, "A"), json_schema="")
