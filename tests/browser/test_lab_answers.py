"""Answers of the Lab as they stand: several to one request, each read, judged and marked; and all of them again after the page is loaded anew. In this order."""

import re

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, expect

from tests.browser.steps import address, column, no_violations, part, set_parameter, settled, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

THREE = {"n": "3", "temperature": "1.2", "seed": "5", "max_tokens": "4"}


def texts(where: Locator) -> list[str]:
    return [text.strip() for text in part(where, "stream").all_text_contents()]


def kept(page: Page) -> None:
    """Wait until the server has the draft with what stands on the page."""
    page.wait_for_timeout(600)
    expect(page.locator("#kept")).to_contain_text("draft kept")
    page.wait_for_function(
        "() => JSON.parse(sessionStorage.getItem(Object.keys(sessionStorage).find((name) => name.startsWith('lab-draft-at')))).dirty === false"
    )


def test_every_answer_of_several_is_judged_and_marked(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab")
    page.get_by_label("Instruction").fill("Answer up or down.")
    page.locator("#dataset").select_option(label="Thumbs up or down v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    set_parameter(page.locator("[data-column]"), **THREE, choices="up\ndown")
    page.locator("#add-column").click()
    expect(page.locator("[data-column]")).to_have_count(2)
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    for letter in "AB":
        expect(part(column(page, letter), "stream")).to_have_count(3)
        found = texts(column(page, letter))
        assert all(found) and set(found) <= {"up", "down"}
        gold = part(column(page, letter), "gold-text").first.inner_text()
        right = sum(text == gold for text in found)
        expect(part(column(page, letter), "tally")).to_have_text(re.compile(rf"^{right} right, {3 - right} wrong \(\d+ % of 3\)$"))
        expect(column(page, letter).locator("[data-part=right]:visible")).to_have_count(right)
        expect(column(page, letter).locator("[data-part=wrong]:visible")).to_have_count(3 - right)
        expect(column(page, letter).get_by_role("button", name="Good answer")).to_have_count(3)
    no_violations(page)
    third = column(page, "B").get_by_role("group", name="What do you think of answer 3?")
    third.get_by_role("button", name="Bad answer").focus()
    page.keyboard.press("Enter")
    expect(third.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    [mark] = page.request.get(f"{address(installation)}/api/v1/marks").json()["items"]
    assert (mark["text"], mark["thumb"]) == (texts(column(page, "B"))[2], "down")
    page.locator("#diff").check()
    expect(column(page, "B").locator("[data-part=diff]:visible")).to_have_count(3)
    expect(column(page, "A").locator("[data-part=diff]:visible")).to_have_count(0)
    page.locator("#diff").uncheck()


def test_a_reload_brings_back_the_answers_with_their_figures_and_marks(installation: Running, page: Page) -> None:
    page.locator("#diff").check()
    before = {letter: texts(column(page, letter)) for letter in "AB"}
    tallies = part(page, "tally").all_inner_texts()
    counts = [line.split(" · ")[:3] for line in part(page, "counts").all_inner_texts() if line]
    kept(page)
    page.reload()
    for letter in "AB":
        expect(part(column(page, letter), "stream")).to_have_count(3)
        expect(part(column(page, letter), "stream").first).to_have_text(before[letter][0])
        assert texts(column(page, letter)) == before[letter]
        expect(part(column(page, letter), "stale")).to_be_hidden()
    expect(column(page, "B").locator("[data-part=diff]:visible")).to_have_count(3)
    page.locator("#diff").uncheck()
    expect(column(page, "B").locator("[data-part=diff]:visible")).to_have_count(0)
    for letter, tally in zip("AB", tallies, strict=True):
        expect(part(column(page, letter), "tally")).to_have_text(tally)
    after = [line.split(" · ") for line in part(page, "counts").all_inner_texts() if line]
    assert [line[:3] for line in after] == counts and all(re.search(r"\d\d:\d\d$", line[-1]) for line in after)
    third = column(page, "B").get_by_role("group", name="What do you think of answer 3?")
    expect(third.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    no_violations(page)
    page.get_by_label("Instruction").fill("Answer down or up.")
    expect(part(column(page, "A"), "stale")).to_be_visible()


def test_what_was_still_being_written_is_said_to_have_stopped(installation: Running, page: Page) -> None:
    set_parameter(column(page, "B"), n="", choices="", max_tokens="900", min_tokens="900")
    column(page, "B").get_by_role("button", name="Run column B").click()
    expect(part(column(page, "B"), "stream").first).not_to_be_empty(timeout=120_000)
    page.reload()
    expect(part(column(page, "B"), "counts").first).to_contain_text("stopped when the page was left", timeout=30_000)
    expect(part(column(page, "B"), "stream").first).not_to_be_empty()
    expect(part(column(page, "A"), "stream")).to_have_count(3)
    expect(column(page, "B").get_by_role("button", name="Run column B")).to_be_visible()
    set_parameter(column(page, "B"), max_tokens="6", min_tokens="")


def test_another_tab_shows_them_and_a_deleted_run_is_told(installation: Running, page: Page, context: BrowserContext) -> None:
    column(page, "B").get_by_role("button", name="Run column B").click()
    settled(page)
    answer = texts(column(page, "B"))[0]
    kept(page)
    tab = context.new_page()
    tab.goto(f"{address(installation)}/lab")
    expect(part(column(tab, "B"), "stream").first).to_have_text(answer)
    tab.close()
    newest = page.request.get(f"{address(installation)}/api/v1/notebook?limit=1").json()["items"][0]
    page.request.delete(f"{address(installation)}/api/v1/notebook/{newest['id']}", headers={"Origin": address(installation)})
    page.reload()
    expect(part(column(page, "B"), "failure-message")).to_have_text("This answer is not in the notebook any more.")
    expect(part(column(page, "A"), "stream")).to_have_count(3)
    no_violations(page)


def test_an_error_and_a_table_of_inputs_stand_again(installation: Running, page: Page) -> None:
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    page.locator("#inputs-count").fill("2")
    page.get_by_role("button", name="Draw rows").click()
    expect(page.locator("[data-answer]")).to_have_count(4)
    set_parameter(column(page, "A"), n="", choices="", temperature="", seed="")
    set_parameter(column(page, "B"), regex="[0-9")
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    expect(part(column(page, "B"), "failure")).to_have_count(2)
    expect(part(column(page, "A"), "tally")).to_contain_text("of 2)")
    expect(part(column(page, "B"), "tally")).to_contain_text("2 failed")
    before = part(page, "counts").all_inner_texts(), part(page, "tally").all_inner_texts(), texts(page.locator("#columns"))
    kept(page)
    page.reload()
    expect(part(column(page, "B"), "failure-message").first).to_contain_text("unclosed character class")
    expect(part(column(page, "A"), "stream").last).not_to_be_empty()
    expect(part(column(page, "A"), "tally")).to_have_text(before[1][0])
    assert (part(page, "counts").all_inner_texts(), part(page, "tally").all_inner_texts(), texts(page.locator("#columns"))) == before
    no_violations(page)


def heat_of(where: Locator) -> list[tuple[str | None, str | None]]:
    return [(token.get_attribute("aria-label"), token.get_attribute("data-sure")) for token in part(where, "stream").locator(".token").all()]


def test_the_heat_line_and_the_bars_stand_again_after_a_reload_and_from_the_notebook(installation: Running, page: Page) -> None:
    page.get_by_role("radio", name="One input").check(force=True)
    for letter in "BA":
        set_parameter(column(page, letter), logprobs="3", max_tokens="6", regex="")
    page.locator("#dataset").select_option(label="Support desk v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    page.locator("#bars").check()
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    bars = {letter: part(column(page, letter), "bars") for letter in "AB"}
    for one in bars.values():
        expect(one.locator(":scope > dl dt")).to_have_count(5, timeout=60_000)
    heat, drawn = {letter: heat_of(column(page, letter)) for letter in "AB"}, {letter: one.inner_html() for letter, one in bars.items()}
    assert all(len(tokens) >= 2 for tokens in heat.values())
    kept(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    for letter in "AB":
        expect(bars[letter].locator(":scope > dl dt")).to_have_count(5)
        assert (heat_of(column(page, letter)), bars[letter].inner_html()) == (heat[letter], drawn[letter])
    expect(page.locator("#bars")).to_be_checked()
    first = part(column(page, "A"), "stream")
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#heat-tip li")).to_have_count(3)
    no_violations(page)
    page.goto(f"{address(installation)}/lab/notebook")
    page.locator(".runs th a").first.click()
    alone = page.locator("[data-column]")
    opened = part(alone, "bars")
    expect(opened.locator(":scope > dl dt")).to_have_count(5)
    assert (heat_of(alone), opened.inner_html()) in [(heat[letter], drawn[letter]) for letter in "AB"]
    expect(part(alone, "stale")).to_be_hidden()
    expect(part(alone, "counts").first).to_contain_text("tokens read")
    assert not [url for url in asked if "/likelihoods" in url or url.endswith("/generate/table")]
    no_violations(page)
    page.locator("#bars").uncheck()
    expect(opened).to_be_hidden()
    kept(page)
    page.reload()
    expect(part(alone, "stream").locator(".token").first).to_be_visible()
    expect(opened).to_be_hidden()


ROWS = """input,region,output,split
Where is the fair?,south,"{""city"": ""Rome"", ""year"": 1960}",validation
And the other?,north,"{""city"": ""Oslo"",
 ""year"": 1952}",validation
Which came first?,south,"{""city"": ""Athens"", ""year"": 1896}",train
Which came last?,north,"{""city"": ""Paris"", ""year"": 2024}",train
What is sealed?,north,"{""city"": ""Seoul"", ""year"": 1988}",test
"""


def right_or_wrong(where: Locator) -> str:
    return " ".join(name for name in ("right", "wrong") if part(where, name).first.is_visible())


def test_json_is_judged_by_its_fields_and_only_while_the_row_stands(installation: Running, page: Page) -> None:
    file: FilePayload = {"name": "fairs.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}
    made = page.request.post(f"{address(installation)}/api/v1/datasets", multipart={"file": file, "name": "Fairs"}, headers={"Origin": address(installation)})
    assert made.ok, made.text()
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("Say when and where.")
    page.locator("#dataset").select_option(label="Fairs v1")
    expect(page.locator("#input")).to_have_value("Where is the fair?")
    alone = page.locator("[data-column]")
    for written, judged in ((r'{\n  "year": 1960.0,\n  "city": "Rome"\n}', "right"), ('{"city": "Rome", "year": 1961}', "wrong")):
        set_parameter(alone, choices=written, max_tokens="40")
        page.keyboard.press("Control+Enter")
        settled(page)
        expect(part(alone, judged).first).to_be_visible()
        assert right_or_wrong(alone) == judged
    expect(part(alone, "gold-text").first).to_have_text('{"city": "Rome", "year": 1960}')
    page.get_by_label("{region}", exact=True).fill("west")
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(alone, "counts").first).to_contain_text("tokens read")
    expect(part(alone, "gold").first).to_be_hidden()
    page.locator("#row-next").click()
    expect(page.get_by_label("{region}", exact=True)).to_have_value("north")
    set_parameter(alone, choices=r'{"city": "Oslo",\n "year": 1952}')
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(alone, "right").first).to_be_visible()
    no_violations(page)


def test_a_row_that_the_prompt_shows_is_not_judged(page: Page) -> None:
    page.locator("input[name=shots][value='1']").check(force=True)
    expect(page.locator("#shots-note")).to_have_text("1 drawn, balanced, seed 0")
    page.locator("#split").select_option("train")
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    page.get_by_role("button", name="Draw rows").click()
    expect(page.locator("#inputs-note")).to_have_text(
        "2 inputs, 2 with a gold answer. One is among the shots and not judged where the editor's prompt is used."
    )
    expect(page.locator("#inputs-list [data-known]:visible")).to_have_count(1)
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(page, "tally")).to_have_text("0 right, 1 wrong (0 % of 1)")
    expect(page.get_by_text("among the shots, so not judged")).to_have_count(1)
    no_violations(page)
    page.locator("input[name=shots][value='0']").check(force=True)
    expect(page.locator("#inputs-note")).to_have_text("2 inputs, 2 with a gold answer.")


@pytest.mark.parametrize("width", [390, 1280])
def test_several_answers_fit_their_column(installation: Running, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1280, "height": 900})
