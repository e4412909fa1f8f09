"""The table of a file's labels before it is frozen, in a real browser: searched, merged where they look alike, and named."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.steps import address, arrived, no_violations, sign_up, until
from tests.browser.uploading import fits, letters
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def somebody(installation: Running, page: Page) -> None:
    """Signed up, whichever of these tests is the first to be run."""
    sign_up(page, installation.said())


def looked_at(installation: Running, page: Page, path: Path, rows: str) -> None:
    """Send a file and wait for its report."""
    path.write_text(rows.replace("brief;art", "text;label"))
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(path))
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)


def test_a_long_table_of_labels_is_searched_in_place(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    looked_at(installation, page, tmp_path / "themen.csv", letters(300, 0, ";", tuple(f"thema {number}" for number in range(30))))
    shown = page.locator(".labels dt:visible")
    expect(shown).to_have_count(10)
    find = page.get_by_label("Find a label")
    find.fill("THEMA 2")
    expect(shown).to_have_count(11)
    expect(page.locator(".labels-find output")).to_have_text("11 of 30")
    no_violations(page)
    page.evaluate("document.querySelector('#upload').addEventListener('change', ({ currentTarget }) => { currentTarget.dataset.changed = ''; })")
    find.press("Tab")
    assert page.locator("#upload").get_attribute("data-changed") is None, "leaving the search sends no form"
    with page.expect_response(lambda response: response.request.method == "POST") as came:
        page.get_by_label("Name").fill("Themen")
        page.get_by_label("Name").press("Tab")
    came.value.finished()
    expect(page.locator("#upload")).to_have_attribute("data-changed", "")
    expect(find).to_have_value("THEMA 2")
    expect(shown).to_have_count(11)
    find.fill("nichts")
    expect(shown).to_have_count(0)
    find.fill("")
    expect(shown).to_have_count(30)
    fits(page)
    assert complaints == []


def test_labels_are_merged_and_named_in_their_table_before_it_is_frozen(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    looked_at(installation, page, tmp_path / "codes.csv", letters(120, 0, ";", ("T-1", "T-2", "T-2 ", "T-3")))
    page.get_by_label("Display text of T-1").fill("refund")
    page.get_by_label("Display text of T-1").press("Enter")
    expect(page.locator("""[data-display='"T-2"']""")).to_be_focused()
    page.keyboard.type("delivery")
    page.keyboard.press("ArrowDown")
    page.get_by_label("Merge “T-2 ” 30 into “T-2”").check()
    expect(page.locator(".labels dt")).to_have_count(3, timeout=60_000)
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    expect(page.get_by_label("Display text of T-1")).to_have_value("refund")
    page.get_by_label("Display text of T-3").fill("refund")
    page.get_by_label("Display text of T-3").press("Tab")
    expect(page.locator("#displays-refused")).to_contain_text("“refund” would mean “T-1” and “T-3”.")
    expect(page.get_by_role("button", name="Freeze version 1")).to_have_attribute("aria-disabled", "true")
    no_violations(page)
    page.get_by_label("Display text of T-3").fill("")
    page.get_by_label("Display text of T-3").press("Tab")
    expect(page.locator("#displays-refused")).to_have_count(0)
    fits(page)
    page.get_by_role("button", name="Freeze version 1").click()
    arrived(page, re.compile(r"/datasets/\d+$"))
    page.goto(f"{page.url}/labels")
    expect(page.locator("#rows tr")).to_have_count(3)
    assert [field.input_value() for field in page.get_by_label("Display text", exact=True).all()] == ["refund", "delivery", "T-3"]
    assert complaints == []


def test_display_texts_typed_faster_than_answers_come_are_all_kept(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    """An answer to the first one must not set the others back; and a key that freezes takes along what is being typed."""
    looked_at(installation, page, tmp_path / "kinds.csv", letters(120, 0, ";", ("T-1", "T-2", "T-3", "T-4")))
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST" and not held:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/datasets/uploads/*", hold)
    page.get_by_label("Display text of T-1").click()
    page.keyboard.type("refund")
    page.keyboard.press("Enter")
    until(page, lambda: bool(held))
    page.keyboard.type("delivery")
    page.keyboard.press("Enter")
    page.keyboard.type("card")
    held[0][0].fulfill(response=held[0][1])
    page.wait_for_timeout(500)
    with page.expect_response(lambda answer: answer.request.method == "POST" and "card" in (answer.request.post_data or "")):
        page.keyboard.press("Enter")
    page.keyboard.type("loan")
    page.keyboard.press("ControlOrMeta+Enter")
    arrived(page, re.compile(r"/datasets/\d+$"))
    page.unroute("**/datasets/uploads/*")
    page.goto(f"{page.url}/labels")
    expect(page.locator("#rows tr")).to_have_count(4)
    assert [field.input_value() for field in page.get_by_label("Display text", exact=True).all()] == ["refund", "delivery", "card", "loan"]
    assert complaints == []
