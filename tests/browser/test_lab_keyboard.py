"""The Lab from an empty prompt to a saved one with the keyboard alone: what is focused is reached by Tab, and seen. In this order."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import SEEN, address, column, no_violations, sign_up, tab_to
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ASKED = "() => [...document.querySelectorAll('[data-column] .answer')].map((one) => one.answer?.request || '')"
ASKED_ANEW = f"(before) => {{ const now = ({ASKED})(); return now.length && now.every((request) => request && !before.includes(request)); }}"


def answered(page: Page, inputs: int = 1) -> None:
    """Run all columns, and wait until both have answered each input: anew, also where they had answered before."""
    before = page.evaluate(ASKED)
    page.keyboard.press("Control+Shift+Enter")
    page.wait_for_function(ASKED_ANEW, arg=before, timeout=30_000)
    for letter in "AB":
        expect(column(page, letter).locator("[data-part=counts]").filter(has_text="tokens read")).to_have_count(inputs, timeout=90_000)


def test_an_account_and_an_empty_lab(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab?new=1")
    expect(page.locator("#lab:not([inert])")).to_be_attached()


def test_a_prompt_with_a_shot_is_written_and_answered(page: Page, complaints: list[str]) -> None:
    tab_to(page, "#instruction")
    assert page.evaluate(SEEN)
    page.keyboard.type("Say whether the message is urgent: yes or no.")
    tab_to(page, "#add-shot")
    assert page.evaluate(SEEN)
    page.keyboard.press("Enter")
    expect(page.locator("[data-shot=input]")).to_be_focused()
    page.keyboard.type("The server is down.")
    tab_to(page, "[data-shot=output]")
    page.keyboard.type("yes")
    expect(page.locator("#shots-note")).to_have_text("1 own")
    tab_to(page, "#input")
    page.keyboard.type("The invoice is a cent off.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=counts]").first).to_contain_text("tokens read", timeout=90_000)
    no_violations(page)
    assert complaints == []


def test_a_second_column_with_its_own_parameters_runs_beside_it(page: Page, complaints: list[str]) -> None:
    tab_to(page, "#add-column")
    page.keyboard.press("Enter")
    expect(column(page, "B").locator("[data-part=model]")).to_be_focused()
    tab_to(page, "[data-part=parameters] summary")
    page.keyboard.press("Enter")
    tab_to(page, "[data-parameter=max_tokens]")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    answered(page)
    expect(column(page, "B").locator("[data-part=counts]").first).to_contain_text(", 3 written")
    assert complaints == []


def test_several_inputs_are_answered_and_one_is_taken_away(page: Page, complaints: list[str]) -> None:
    tab_to(page, "input[name=inputs]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#inputs-table")).to_be_visible()
    tab_to(page, "#inputs-lines")
    page.keyboard.type("Nothing works any more.")
    page.keyboard.press("Enter")
    page.keyboard.type("Thank you for the quick help.")
    page.keyboard.press("Enter")
    page.keyboard.type("The invoice is a cent off.")
    tab_to(page, "#inputs-add")
    page.keyboard.press("Enter")
    rows = page.locator("#inputs-list li")
    expect(rows).to_have_count(3)
    tab_to(page, "#inputs-list button", back=True)
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    answered(page, 2)
    no_violations(page)
    assert complaints == []


def test_it_is_saved_and_the_help_names_every_key(page: Page, complaints: list[str]) -> None:
    page.keyboard.press("Control+s")
    expect(page.locator("#save-dialog")).to_be_visible()
    tab_to(page, "#save-name")
    page.keyboard.press("Control+a")
    page.keyboard.type("Urgent or not")
    page.keyboard.press("Enter")
    expect(page.locator(".toast").last).to_contain_text("Saved as Urgent or not v1.")
    tab_to(page, "#add-column")
    page.keyboard.press("?")
    help_ = page.locator("#keys")
    expect(help_).to_be_visible()
    for said in ("Run all columns", "Save as a prompt", "Add a column", "This help"):
        expect(help_).to_contain_text(said)
    no_violations(page)
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press(page.locator("[data-go]").first.get_attribute("data-go") or "")
    expect(page).not_to_have_url(re.compile("/lab"))
    assert complaints == []
