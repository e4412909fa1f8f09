"""Labels with the keyboard alone, in a real browser: the label book, the grid, and the queue with a real model's suggestions. In this order."""

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.steps import address, no_violations, sign_up, tab_to, until
from tests.house.rules import ROOT
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODES = {"delivery": "T-1", "billing": "T-2", "returns": "T-3"}


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Support mails whose labels are codes, every fourth row without one, and a column that says what the codes mean."""
    path = tmp_path_factory.mktemp("labels") / "coded.csv"
    rows = [json.loads(line) for line in (ROOT / "samples" / "desk.jsonl").read_text().splitlines()]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "output", "kind"])
        for number, row in enumerate([row for row in rows if row["output"] in CODES][:160]):
            told = number % 4 != 3
            writer.writerow([row["input"], CODES[row["output"]] if told else "", row["output"] if told else ""])
    return path


def save(page: Page, reason: str, version: int) -> None:
    page.keyboard.press("Control+s")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text(f"Saved as version {version}.", timeout=60_000)


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.querySelector('.label-now')?.textContent ?? document.activeElement.tagName"))


def test_an_account_and_a_file_with_codes(installation: Running, page: Page, coded: Path) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(coded))
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    page.get_by_role("button", name="Freeze version 1").click()
    expect(page.get_by_role("heading", name="coded")).to_be_visible()
    expect(page.get_by_role("link", name="Label 40 rows")).to_be_visible()


def test_codes_get_their_display_texts_when_somebody_accepts_them(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/datasets/3/labels")
    expect(page.locator("#proposed-text")).to_have_text("3 display texts are proposed.")
    expect(page.locator("#rows [data-field=display]").first).to_have_value("T-1")
    no_violations(page)
    tab_to(page, "#accept-all")
    page.keyboard.press("Enter")
    expect(page.locator("#proposed")).to_be_hidden()
    page.reload()
    expect(page.locator("#changes")).to_have_text("3 changed, not saved")
    tab_to(page, "[data-field=display]")
    page.keyboard.press("ArrowDown")
    page.keyboard.type("money")
    tab_to(page, "[data-field=aliases]")
    page.keyboard.type("bill; invoice")
    page.keyboard.press("Tab")
    save(page, "named the codes", 2)
    expect(page.locator("#rows [data-field=display]").nth(1)).to_have_value("money")
    expect(page.locator("#rows [data-field=aliases]").nth(1)).to_have_value("bill; invoice")


def test_a_refused_book_says_so_at_its_label_and_loses_nothing(page: Page) -> None:
    tab_to(page, "[data-field=display]")
    page.keyboard.type("money")
    page.keyboard.press("Control+s")
    page.keyboard.press("Enter")
    expect(page.locator("#save-labels-error")).to_contain_text("would mean")
    page.keyboard.press("Escape")
    expect(page.locator("#rows .error").nth(1)).to_contain_text("would mean")
    expect(page.locator("#rows [data-field=display]").first).to_have_value("money")
    tab_to(page, "#discard")
    page.keyboard.press("Enter")
    expect(page.locator("#rows [data-field=display]").first).to_have_value("delivery")


def test_the_grid_is_edited_with_arrows_letters_enter_and_u(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/datasets/3/grid")
    rows = page.locator("#grid tr")
    expect(rows.first).to_be_focused()
    no_violations(page)
    page.keyboard.press("ArrowDown")
    before = focused(page)
    wanted = "returns" if before != "returns" else "delivery"
    page.keyboard.type(wanted[:3])
    expect(page.locator("#picker-list [aria-selected='true']")).to_contain_text(wanted)
    no_violations(page)
    page.keyboard.press("Enter")
    expect(rows.nth(1).locator(".label-now")).to_have_text(wanted)
    expect(rows.nth(2)).to_be_focused()
    expect(page.locator("#changes")).to_have_text("1 changed, not saved")
    page.reload()
    expect(rows.nth(1).locator(".label-now")).to_have_text(wanted)
    expect(rows.nth(1).locator(".was")).to_have_text(f"was {before}")
    page.keyboard.press("u")
    expect(rows.nth(1).locator(".label-now")).to_have_text(before)
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#picker-list [aria-selected='true']")).to_contain_text(before)
    page.keyboard.press("Escape")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Delete")
    expect(rows.nth(1).locator(".label-now")).to_have_text("unlabelled")
    page.keyboard.press("ArrowUp")
    page.keyboard.type("a label of my own")
    expect(page.locator("#picker-list [aria-selected='true']")).to_contain_text("New label")
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    last = page.locator("#grid tr").last.get_attribute("data-row")
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-row='{last}']")).to_have_count(0)
    expect(rows.first).to_be_focused()
    save(page, "one label was wrong", 3)


def test_the_queue_is_worked_off_with_single_keys(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/datasets/3/queue")
    expect(page.locator("#card")).to_be_focused()
    expect(page.locator("#progress")).to_have_text("0 of 41 labelled")
    tab_to(page, "#card")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#model")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#choices progress").first).to_be_visible(timeout=120_000)
    expect(page.locator("#card")).to_be_focused()
    no_violations(page)
    first = page.locator("#text").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("1 of 41 labelled")
    expect(page.locator("#text")).not_to_have_text(first)
    expect(page.locator("#choices progress").first).to_be_visible(timeout=60_000)  # numbers stand for what is shown, and the model may still be reading
    page.keyboard.press("2")
    expect(page.locator("#progress")).to_have_text("2 of 41 labelled")
    page.keyboard.type("inv")
    expect(page.locator("#picker-list [aria-selected='true']")).to_contain_text("money")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("3 of 41 labelled")
    page.keyboard.press("s")
    expect(page.locator("#progress")).to_have_text("3 of 41 labelled, 1 skipped")
    page.keyboard.press("u")
    expect(page.locator("#progress")).to_have_text("3 of 41 labelled")
    page.reload()
    expect(page.locator("#progress")).to_have_text("3 of 41 labelled")
    expect(page.locator("#choices progress").first).to_be_visible(timeout=60_000)
    save(page, "a first batch", 4)
    expect(page.locator("#progress")).to_have_text("0 of 38 labelled")


def test_an_answer_that_comes_late_does_not_turn_the_count_back(installation: Running, page: Page) -> None:
    """More rows are fetched while somebody labels on; what that answer counted is of a time before."""
    held: list[tuple[Route, APIResponse]] = []
    page.route("**/queue?*", lambda route: held.append((route, route.fetch())))
    page.goto(f"{address(installation)}/datasets/3/queue")
    expect(page.locator("#progress")).to_have_text("0 of 38 labelled")
    until(page, lambda: bool(held))
    first, answer = held.pop()
    first.fulfill(response=answer)
    for number in (1, 2):
        expect(page.locator("#choices button").first).to_be_visible(timeout=60_000)
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_have_text(f"{number} of 38 labelled")
        until(page, lambda number=number: len(held) >= number)  # type: ignore[misc]
    for route, answer in reversed(held):
        with page.expect_response("**/queue?*") as came:
            route.fulfill(response=answer)
        came.value.finished()
        page.evaluate("fetch(location.href).then((response) => response.text())")
    expect(page.locator("#progress")).to_have_text("2 of 38 labelled")
    page.unroute("**/queue?*")
    page.keyboard.press("u")
    expect(page.locator("#progress")).to_have_text("1 of 38 labelled")
    page.keyboard.press("u")
    expect(page.locator("#progress")).to_have_text("0 of 38 labelled")


def test_who_is_faster_than_the_next_rows_is_not_told_that_there_are_none(installation: Running, page: Page) -> None:
    """All rows that were fetched ahead are labelled while the next ones are on their way; what was asked for before the last press counts all the same."""
    held: list[tuple[Route, APIResponse]] = []
    page.goto(f"{address(installation)}/datasets/3/queue")
    expect(page.locator("#progress")).to_have_text("0 of 38 labelled")
    page.locator("#model").select_option("")
    expect(page.locator("#text")).not_to_be_empty()
    page.locator("#card").focus()
    page.route("**/queue?*", lambda route: held.append((route, route.fetch())))
    for _ in range(8):
        page.keyboard.press("1")
    until(page, lambda: len(held) == 8)
    expect(page.locator("#coming")).to_contain_text("on their way")
    expect(page.locator("#done")).to_be_hidden()
    for route, answer in held:
        route.fulfill(response=answer)
    expect(page.locator("#card")).to_be_focused()
    expect(page.locator("#progress")).to_have_text("8 of 38 labelled")
    page.unroute("**/queue?*")


def test_taking_back_a_label_that_was_never_kept_takes_no_other_one_back(installation: Running, page: Page) -> None:
    held: list[Route] = []
    page.goto(f"{address(installation)}/datasets/3/queue")
    expect(page.locator("#progress")).to_have_text("8 of 38 labelled")
    expect(page.locator("#card")).to_be_focused()
    first = page.locator("#text").inner_text()
    page.route("**/annotations", lambda route: held.append(route))  # noqa: PLW0108 Playwright marks the function it is given
    page.keyboard.press("1")
    expect(page.locator("#text")).not_to_have_text(first)
    page.keyboard.press("u")
    until(page, lambda: bool(held))
    held.pop().fulfill(status=503, json={"error": {"code": "away", "message": "The database does not answer.", "advice": "Try again."}})
    expect(page.locator(".toast")).to_contain_text("Not set: The database does not answer.")
    expect(page.locator("#text")).to_have_text(first)
    page.unroute("**/annotations")
    page.keyboard.press("1")
    expect(page.locator("#progress")).to_have_text("9 of 38 labelled")
    page.keyboard.press("u")
    expect(page.locator("#text")).to_have_text(first)
    expect(page.locator("#progress")).to_have_text("8 of 38 labelled")
    page.evaluate("fetch('/api/v1/datasets/3/annotations', { method: 'DELETE' }).then((response) => response.text())")


def test_a_book_of_a_thousand_labels_is_searched_and_edited(installation: Running, page: Page, tmp_path: Path) -> None:
    """Few rows of it are drawn at a time, any label is found by its letters, and what was typed survives a search."""
    path = tmp_path / "many.csv"
    rows = [f"message {row} about case {label} {label * 7919 % 1000},T-{label:04d}" for label in range(1000) for row in range(3)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(path))
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    page.get_by_role("button", name="Freeze version 1").click()
    expect(page.get_by_role("link", name="Label book")).to_be_visible(timeout=60_000)
    page.goto(f"{address(installation)}/datasets/4/labels")
    expect(page.locator("#shown")).to_have_text("1,000 labels")
    expect(page.locator("#rows tr")).to_have_count(50)
    expect(page.locator("#place")).to_have_text("page 1 of 20")
    no_violations(page)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#place")).to_have_text("page 2 of 20")
    page.get_by_role("searchbox", name="Find a label").fill("T-0777")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#rows [data-field=display]").fill("lost luggage")
    page.locator("#rows [data-field=display]").press("Tab")
    page.get_by_role("searchbox", name="Find a label").fill("luggage")
    expect(page.locator("#rows [data-cell=key]")).to_have_text("T-0777")
    page.get_by_role("searchbox", name="Find a label").fill("")
    expect(page.locator("#shown")).to_have_text("1,000 labels")
    page.locator("#only").select_option("changed")
    expect(page.locator("#rows tr")).to_have_count(1)
    save(page, "named one of a thousand", 2)
    page.goto(f"{address(installation)}/datasets/4/grid")
    expect(page.locator("#grid tr").first).to_be_focused()
    page.keyboard.type("luggage")
    expect(page.locator("#picker-list [aria-selected='true']")).to_contain_text("lost luggage")
    page.keyboard.press("Enter")
    expect(page.locator("#grid tr").first.locator(".label-now")).to_have_text("lost luggage")
    page.keyboard.press("u")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_pages_of_labels_fit_their_window(installation: Running, page: Page, complaints: list[str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("/datasets/3", "/datasets/3/labels", "/datasets/3/grid", "/datasets/3/queue"):
        page.goto(address(installation) + path)
        page.wait_for_load_state("networkidle")
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{path} is {wider} px wider than its window of {width}"
    assert complaints == []
