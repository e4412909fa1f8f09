"""Answers judged in a real browser: a real model grades and compares, people grade and compare by the keyboard alone. In this order."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, no_violations, sign_up
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROWS = [(f"My parcel number {at} is late. What now?", f"We are sorry. Parcel {at} comes on Friday.") for at in range(12)]
ASK = "async ([path, body]) => (await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)})).json()"


def ask(page: Page, path: str, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(ASK, [path, body])
    return found


def test_two_prompts_are_evaluated(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    rows = "\n".join(json.dumps({"input": text, "output": answer, "split": "validation" if at < 8 else "train"}) for at, (text, answer) in enumerate(ROWS))
    upload = "async text => { const form = new FormData(); form.append('file', new File([text], 'letters.jsonl')); form.append('name', 'letters'); return (await fetch('/api/v1/datasets', {method: 'POST', body: form})).json(); }"
    version = page.evaluate(upload, rows)
    assert version["splits"]["validation"] == 8, version
    for name in ("Answer kindly.", "Answer in one word."):
        prompt = ask(page, "/api/v1/prompts", {"name": name, "mode": "structured", "instruction": name, "parameters": {"max_tokens": 12}})
        body = {"model": "starter", "dataset": f"{version['id']}@1", "prompt_version": f"{prompt['id']}@1", "split": "validation", "answer": "generate"}
        assert ask(page, "/api/v1/evaluations", body)["state"] == "queued"
    for key in (1, 2):
        page.goto(f"{address(installation)}/evaluations/{key}")
        expect(page.locator(".figures").first).to_be_visible(timeout=240_000)


def test_a_model_judges_one_beside_the_other(page: Page, installation: Running, complaints: list[str]) -> None:
    page.goto(f"{address(installation)}/evaluations/1?other=2")
    page.get_by_role("link", name="Judge A beside B").click()
    expect(page.locator("#judgement-form [aria-live]")).to_contain_text("16 readings")
    no_violations(page)
    page.get_by_label("What counts").fill("The kinder one.")
    page.get_by_role("button", name="Judge", exact=True).click()
    expect(page).to_have_url(re.compile(r"/judgements/1$"))
    expect(page.locator(".wins")).to_be_visible(timeout=240_000)
    expect(page.locator(".predictions tbody tr")).to_have_count(8)
    no_violations(page)
    page.locator(".predictions tbody a").first.click()
    expect(page.get_by_role("heading", name="B stood first")).to_be_visible()
    no_violations(page)
    assert complaints == []


def test_a_model_grades_by_rubric_and_a_person_beside_it_by_keys(page: Page, installation: Running, complaints: list[str]) -> None:
    page.goto(f"{address(installation)}/evaluations/1")
    page.get_by_role("link", name="Grade by rubric").click()
    page.get_by_role("textbox", name="Rubric").fill("5: sorry, and says when the parcel comes. 1: neither.")
    page.get_by_role("button", name="Judge", exact=True).click()
    expect(page.locator(".grades")).to_be_visible(timeout=240_000)
    no_violations(page)
    page.get_by_role("link", name="Grade rows yourself").click()
    expect(page.locator("#progress")).to_have_text("0 of 8 by you")
    no_violations(page)
    first = page.locator("#input").inner_text()
    page.keyboard.press("4")
    expect(page.locator("#progress")).to_have_text("1 of 8 by you")
    expect(page.locator("#input")).not_to_have_text(first)
    page.keyboard.press("u")
    expect(page.locator("#input")).to_have_text(first)
    page.keyboard.press("2")
    expect(page.locator("#progress")).to_have_text("1 of 8 by you")
    page.keyboard.press("s")
    page.reload()
    expect(page.locator(".answer-part")).to_be_visible()
    expect(page.locator("#progress")).to_have_text("1 of 8 by you")
    for at in range(7):
        page.keyboard.press("3")
        expect(page.locator("#progress")).to_have_text(f"{at + 2} of 8 by you")
    expect(page.locator("#done")).to_be_visible()
    page.goto(f"{address(installation)}/judgements/2")
    expect(page.locator("#trust-title + p")).to_contain_text("known from 8 rows")
    assert complaints == []


def test_people_compare_blind_and_the_names_come_at_the_end(page: Page, installation: Running, complaints: list[str]) -> None:
    page.goto(f"{address(installation)}/judgements/new?evaluation=1&other=2&kind=blind")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator(".answer-part")).to_have_count(2)
    no_violations(page)
    assert "starter" not in page.content().lower() and "smollm" not in page.content().lower() and page.locator("#live").count() == 0
    of = re.search(r"of (\d+)", page.locator("#progress").inner_text())
    assert of is not None
    for at, key in enumerate(("a", "b", "t", "a")):
        page.keyboard.press(key)
        expect(page.locator("#progress")).to_have_text(f"{at + 1} of {of[1]} by you")
    page.get_by_role("button", name="Close and show the names").click()
    page.get_by_role("button", name="Close it").click()
    expect(page.get_by_role("heading", name="compared blind by people")).to_be_visible()
    expect(page.locator(".lede")).to_contain_text("SmolLM2")
    expect(page.locator(".predictions tbody tr")).to_have_count(4)
    no_violations(page)
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_pages_fit_their_window(installation: Running, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("/judgements/1", "/judgements/2", "/judgements/2/mark", "/judgements/3", "/judgements/new?evaluation=1", "/evaluations/1?other=2"):
        page.goto(address(installation) + path)
        page.wait_for_load_state("networkidle")
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{path} is {wider} px wider than its window of {width}"
