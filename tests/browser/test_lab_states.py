"""States of the Lab that somebody meets in passing: open menus and dialogs, prompts too long to run, a window that is resized, a page that crashes. In this order."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, FilePayload, Locator, Page, Route, expect

from tests.browser.steps import address, arrived, column, draft_kept, lab, no_violations, part, press, set_parameter, settled, sign_up, tab_to, until
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]


LINE = "Say what is wanted, and of whom.\n"
WINDOW = 8192
TOO_LONG = re.compile(
    r"^The prompt takes ([\d,]+) tokens, and the model reads 8,192, its answer included: make it shorter by at least ([\d,]+)\.$",
)


def put(field: Locator, text: str) -> None:
    """A text that somebody has put into a field at once: fill() would take minutes for a long one."""
    field.evaluate("(area, text) => { area.value = text; area.dispatchEvent(new Event('input', { bubbles: true })); }", text)


def wider(page: Page) -> int:
    """How much of the page is beside its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def too_long(page: Page) -> tuple[int, int]:
    """What the page says of a prompt that is too long: its tokens, and how many of them are too many."""
    expect(page.locator("#why")).to_have_text(TOO_LONG, timeout=60_000)
    found = TOO_LONG.match(page.locator("#why").inner_text())
    assert found is not None
    total, over = (int(number.replace(",", "")) for number in found.groups())
    return total, over


def test_saving_under_no_name_is_refused_and_under_a_name_done(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    lab(installation, page)
    tab_to(page, "#instruction")
    page.keyboard.type("Name the colour.")
    page.keyboard.press("Control+s")
    expect(page.locator("#save-name")).to_be_focused()
    no_violations(page)
    page.keyboard.type(" ")
    page.keyboard.press("Enter")
    expect(page.locator("#save-error")).to_be_visible()
    no_violations(page)
    page.keyboard.type("Colours")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt-name")).to_have_text("Colours v1")
    expect(page.locator("#save-dialog")).to_be_hidden()
    expect(page.locator("#instruction")).to_be_focused()


def test_the_menu_of_saved_prompts_and_what_is_pasted(installation: Running, page: Page) -> None:
    lab(installation, page, "?prompt=3")
    expect(page.locator("#prompt-name")).to_have_text("Colours v1")
    press(page, ".lab-open")
    expect(page.locator("#saved-menu")).to_be_visible()
    expect(page.locator("#saved-menu")).to_contain_text("Copy a link to version 1")
    no_violations(page)
    press(page, "#saved-menu [data-dialog=paste-dialog]")
    expect(page.locator("#paste-text")).to_be_focused()
    no_violations(page)
    page.keyboard.type('{"prompt": ')
    press(page, "#paste-form .primary")
    expect(page.locator("#paste-error")).to_contain_text("JSON")
    no_violations(page)
    page.keyboard.press("Escape")
    expect(page.locator("#paste-dialog")).to_be_hidden()
    expect(page.locator(".lab-open")).to_be_focused()


def test_a_variable_is_declared_and_a_bad_name_refused(page: Page) -> None:
    press(page, "#declare-open")
    expect(page.locator("#declare-name")).to_be_focused()
    no_violations(page)
    page.keyboard.type("2nd")
    page.keyboard.press("Enter")
    expect(page.locator("#declare-error")).to_have_text("A name has letters, digits and _, and begins with no digit.")
    expect(page.locator("#declare-name")).to_be_focused()
    no_violations(page)
    page.keyboard.press("Control+a")
    page.keyboard.type("shade")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Default of {shade}")).to_be_focused()
    expect(page.locator("#declare-error")).to_be_hidden()
    no_violations(page)
    page.keyboard.type("blue")
    tab_to(page, "[data-undeclare]", back=True)
    page.keyboard.press("Enter")
    expect(page.locator("#declare-open")).to_be_focused()


def test_a_columns_menu_and_the_code_of_what_cannot_be_asked(page: Page) -> None:
    press(page, "#add-column")
    expect(part(column(page, "B"), "model")).to_be_focused()
    tab_to(page, "[aria-label='More for this column']")
    page.keyboard.press("Enter")
    opened = page.locator(".column-menu:popover-open")
    expect(opened).to_be_visible()
    expect(opened.get_by_role("button", name="Move right")).to_have_attribute("aria-disabled", "true")
    no_violations(page)
    page.keyboard.press("Escape")
    expect(opened).to_have_count(0)
    expect(column(page, "B").get_by_role("button", name="More for this column")).to_be_focused()
    schema = column(page, "B").locator("[data-parameter=json_schema]")
    tab_to(page, "[data-part=parameters] summary")
    page.keyboard.press("Enter")
    schema.fill("{")
    expect(part(column(page, "B"), "why")).to_have_text("JSON schema: this is no JSON object.")
    column(page, "B").get_by_role("button", name="More for this column").focus()
    page.keyboard.press("Enter")
    press(page, ".column-menu:popover-open [data-do=code]")
    expect(page.locator("#code-dialog [role=alert]")).to_contain_text("json_schema")
    no_violations(page)
    page.keyboard.press("Escape")
    expect(page.locator("#code-dialog")).to_be_hidden()
    expect(column(page, "B").get_by_role("button", name="More for this column")).to_be_focused()
    schema.fill("")
    expect(part(column(page, "B"), "why")).to_be_hidden()
    column(page, "B").locator("summary").press("Enter")
    expect(schema).to_be_hidden()


def test_the_prompt_as_the_model_sees_it_is_one_key_away(page: Page) -> None:
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.type("vivid violet")
    expect(page.locator("#seen")).not_to_have_attribute("open", "")
    expect(page.get_by_label("Input", exact=True)).to_have_value("vivid violet")
    tab_to(page, "#add-column")
    page.keyboard.press("v")
    expect(page.locator("#seen-text")).to_be_visible(timeout=60_000)
    expect(page.locator("#seen-text .cell")).to_have_text("vivid violet")
    expect(page.locator("#seen-text")).to_contain_text("Name the colour.")
    expect(page.locator("#add-column")).to_be_focused()
    no_violations(page)
    page.keyboard.press("v")
    expect(page.locator("#seen-text")).to_be_hidden()


def test_an_answer_whose_model_is_loading(page: Page) -> None:
    for letter in "AB":
        set_parameter(column(page, letter), max_tokens="6")
    held: list[Route] = []
    page.route("**/api/v1/generate/table", lambda route: held.append(route))  # noqa: PLW0108 Playwright marks the function it is given
    page.locator("#run-all").focus()
    page.keyboard.press("Enter")
    until(page, lambda: bool(held))
    page.evaluate("""() => {
      const { answer } = document.querySelector("[data-answer]");
      answer.take("accepted", { request: "r" });
      answer.take("loading", { fraction: 0.4 });
    }""")
    expect(part(column(page, "A"), "progress")).to_have_text(re.compile("^Loading weights, 40 %"))
    expect(part(column(page, "B"), "progress")).to_have_text(re.compile("^Waiting for the engine"))
    no_violations(page)
    held[0].continue_()
    page.unroute("**/api/v1/generate/table")
    settled(page)
    for letter in "AB":
        expect(part(column(page, letter), "counts")).to_contain_text("tokens read", timeout=120_000)


def test_answers_stand_in_a_window_that_is_made_narrow_and_wide_again(page: Page) -> None:
    before = part(page, "stream").all_text_contents(), part(page, "counts").all_inner_texts()
    assert all(before[0])
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert wider(page) <= 0, f"{wider(page)} px too wide at {width}"
        assert (part(page, "stream").all_text_contents(), part(page, "counts").all_inner_texts()) == before
        expect(part(column(page, "A"), "stream")).to_be_visible()
        expect(page.get_by_label("Input", exact=True)).to_have_value("vivid violet")
        no_violations(page)


def test_a_long_prompt_is_pasted_and_told_how_much_too_long_it_is(installation: Running, page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address(installation))
    lab(installation, page)
    press(page, "#instruction", "x")
    text = (LINE * 4000)[:100_000]
    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+v")
    expect(page.locator("#instruction")).to_have_js_property("value", text)
    page.get_by_label("Input", exact=True).fill("Where is my parcel?")
    total, over = too_long(page)
    assert over == total - WINDOW + 1 > WINDOW
    page.locator("#instruction").focus()
    page.keyboard.press("Control+End")
    page.keyboard.type("briefly")
    expect(page.locator("#instruction")).to_have_js_property("value", f"{text}briefly")
    draft_kept(page)
    page.reload()
    expect(page.locator("#instruction")).to_have_js_property("value", f"{text}briefly")
    too_long(page)


def test_run_does_nothing_for_a_prompt_that_is_too_long_and_says_why(page: Page) -> None:
    put(page.locator("#instruction"), LINE * 20)
    expect(page.locator("#why")).to_be_empty()
    put(page.locator("#instruction"), LINE * 1_000)
    total, over = too_long(page)
    assert WINDOW < total < 3 * WINDOW and over == total - WINDOW + 1
    no_violations(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    run = page.locator("#run")
    expect(run).to_have_attribute("aria-disabled", "true")
    tab_to(page, "#run", back=True)
    expect(run).to_have_accessible_description(TOO_LONG)
    for keys in ("Enter", "Space", "Control+Enter", "Control+Shift+Enter"):
        page.keyboard.press(keys)
    run.click(force=True)  # as a mouse does, which waits for nothing
    page.wait_for_timeout(300)
    assert not [url for url in asked if "/generate" in url and not url.endswith("/count")]
    expect(page.get_by_text("The answer appears here.")).to_be_visible()
    expect(run).to_be_focused()
    put(page.locator("#instruction"), LINE * 20)
    expect(page.locator("#why")).to_be_empty()
    expect(run).not_to_have_attribute("aria-disabled", "true")


def test_a_second_column_whose_own_prompt_is_too_long_is_refused_alone(installation: Running, page: Page) -> None:
    made = page.request.post(
        f"{address(installation)}/api/v1/prompts", data={"name": "Endless", "instruction": LINE * 1_000}, headers={"Origin": address(installation)}
    )
    assert made.ok, made.text()
    draft_kept(page)
    lab(installation, page, "")
    page.locator("#instruction").fill("Say what is wanted.")
    set_parameter(page.locator("[data-column]"), max_tokens="6")
    press(page, "#add-column")
    part(column(page, "B"), "prompt").select_option(label="Endless v1")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    expect(part(column(page, "B"), "failure-message")).to_have_text(
        re.compile(r"^The prompt has [\d,]+ tokens; this model takes 8,?192 with the answer\.$"), timeout=120_000
    )
    expect(part(column(page, "B"), "failure-advice")).not_to_be_empty()
    expect(part(column(page, "A"), "counts")).to_contain_text("tokens read", timeout=120_000)
    expect(part(column(page, "A"), "failure")).to_be_hidden()
    expect(part(column(page, "A"), "stream")).not_to_be_empty()
    no_violations(page)


def test_a_prompt_of_nothing_but_emoji(installation: Running, page: Page) -> None:
    lab(installation, page)
    press(page, "#instruction", "x")
    page.locator("#instruction").fill("😀🎉👩‍👩‍👧")
    expect(page.locator("#why")).to_have_text("Give an input first.")
    no_violations(page)
    page.get_by_label("Input", exact=True).fill("👍🏽")
    expect(page.locator("#tokens")).to_have_text(re.compile(r"\d+ of 8,192 tokens$"), timeout=60_000)
    set_parameter(page.locator("[data-column]"), max_tokens="6")
    page.keyboard.press("Control+Enter")
    expect(part(page, "counts").first).to_contain_text("tokens read", timeout=120_000)
    no_violations(page)


def crash(tab: Page) -> None:
    """The tab's own process dies, as when it runs out of memory: it hears nothing of it."""
    crashed: list[Page] = []
    tab.on("crash", lambda page: crashed.append(page))  # noqa: PLW0108 Playwright marks the function it is given
    with suppress(Error):  # nobody is left to say that it went there
        tab.goto("chrome://crash")
    until(tab.context.pages[0], lambda: bool(crashed))


def test_a_page_that_crashes_loses_neither_the_draft_nor_its_answer(installation: Running, context: BrowserContext) -> None:
    tab = context.new_page()
    lab(installation, tab)
    tab.locator("#instruction").fill("Name the town.")
    tab.get_by_label("Input", exact=True).fill("The fair in Oslo was in 1952.")
    set_parameter(tab.locator("[data-column]"), max_tokens="7")
    tab.keyboard.press("Control+Enter")
    expect(part(tab, "counts").first).to_contain_text("tokens read", timeout=120_000)
    answer = part(tab, "stream").first.inner_text().strip()
    draft_kept(tab)
    held: list[Route] = []
    tab.route("**/lab/draft", lambda route: held.append(route) if route.request.method == "PUT" else route.continue_())
    tab.locator("#instruction").fill("Name the town, and nothing else.")
    until(tab, lambda: bool(held))  # on its way to the server, which never gets it
    crash(tab)
    tab.close()
    again = context.new_page()
    lab(installation, again, "")
    expect(again.locator("#instruction")).to_have_value("Name the town, and nothing else.")
    expect(again.get_by_label("Input", exact=True)).to_have_value("The fair in Oslo was in 1952.")
    expect(part(again.locator("[data-column]"), "changed")).to_have_text("max tokens 7")
    expect(part(again, "stream").first).to_have_text(answer)
    expect(part(again, "stale").first).to_be_visible()
    again.goto(f"{address(installation)}/lab/notebook")
    newest = again.locator("tbody tr").first
    expect(newest).to_contain_text("The fair in Oslo was in 1952.")
    expect(newest.locator(".answer")).to_contain_text(answer[:40])
    again.close()


def test_the_dialogs_of_the_prompts_room(installation: Running, page: Page, tmp_path: Path) -> None:
    page.goto(f"{address(installation)}/prompts/3")
    press(page, "[popovertarget=prompt-menu]")
    expect(page.locator("#prompt-menu")).to_be_visible()
    no_violations(page)
    press(page, "#prompt-menu [data-dialog=rename-dialog]")
    expect(page.locator("#new-name")).to_be_focused()
    no_violations(page)
    page.keyboard.press("Escape")
    expect(page.locator("[popovertarget=prompt-menu]")).to_be_focused()
    page.goto(f"{address(installation)}/prompts")
    press(page, "[data-dialog=import-dialog]")
    expect(page.locator("#import-file")).to_be_focused()
    no_violations(page)
    path = tmp_path / "broken.json"
    path.write_text('{"name": ')
    page.locator("#import-file").set_input_files(path)
    press(page, "#import-form .primary")
    expect(page.locator("#import-error")).to_contain_text("This file is not JSON")
    no_violations(page)
    page.keyboard.press("Escape")
    expect(page.locator("#import-dialog")).to_be_hidden()
    expect(page.locator("[data-dialog=import-dialog]")).to_be_focused()
    arrived(page, re.compile("/prompts$"))


WATSONX = {
    "prompt": {
        "data": {"instruction": "Say where it is.", "input_prefix": "Fair:", "output_prefix": "Place:", "examples": [["The fair of 1952", "Oslo"]]},
        "input": [["The fair of 1994", ""]],
        "model_parameters": {"decoding_method": "greedy", "max_new_tokens": 9, "stop_sequences": ["\n"]},
    }
}
FAIRS = "input,output,split\n" + "".join(
    f"The {split} fair {at} of the {way},{way},{split}\n" for split in ("train", "validation", "test") for at in range(4) for way in ("north", "south")
)


def test_an_empty_lab_is_begun_from_somebody_elses_json_or_from_a_dataset(installation: Running, page: Page) -> None:
    lab(installation, page)
    starters = page.locator("#starters")
    starters.get_by_role("button", name="Paste JSON").press("Enter")
    page.locator("#paste-text").fill(json.dumps(WATSONX))
    page.locator("#paste-form .primary").press("Enter")
    expect(starters).to_be_hidden()
    expect(page.locator("#instruction")).to_have_value("Say where it is.")
    expect(page.get_by_label("Output prefix")).to_have_value("Place:")
    assert [area.input_value() for area in page.locator("#shots textarea").all()] == ["The fair of 1952", "Oslo"]
    expect(page.get_by_label("Input", exact=True)).to_have_value("The fair of 1994")
    expect(part(page.locator("[data-column]"), "changed")).to_have_text('max tokens 9, stop "\\n"')
    no_violations(page)
    lab(installation, page)
    starters.get_by_role("link", name="My dataset").press("Enter")
    arrived(page, re.compile("/datasets/new$"))
    file: FilePayload = {"name": "fairs.csv", "mimeType": "text/csv", "buffer": FAIRS.encode()}
    made = page.request.post(f"{address(installation)}/api/v1/datasets", multipart={"file": file, "name": "Fairs"}, headers={"Origin": address(installation)})
    assert made.ok, made.text()
    lab(installation, page)
    starters.get_by_role("link", name="A prompt for Fairs").press("Enter")
    expect(page.locator("#instruction")).to_have_value("Answer with one of: {labels}.")
    expect(page.locator("#shots > li")).to_have_count(4)
    expect(page.locator("#dataset option:checked")).to_have_text("Fairs v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    no_violations(page)
