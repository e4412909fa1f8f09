"""The Lab's tests in a real browser: every model with every prompt, and its chips: watched, stopped, and rows that are left or broke off asked again. In this order."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.steps import address, arrived, column, installed, menu, no_violations, part, set_parameter, sign_up, until
from tests.installation import Running
from tests.remote.servers import Server, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

HERE, THERE = "SmolLM2-135M-Instruct", "fine/m"
DRAFT, SAVED = "Lab draft for Thumbs up or down", "Short"


@pytest.fixture(scope="module")
def faults() -> Iterator[Server]:
    """An endpoint that answers at one path, and is ill at another."""
    with running("tests.remote.fault_server", ready="/log") as server:
        yield server


@pytest.fixture(scope="module")
def installation(starter_models: Path, faults: Server) -> Iterator[Running]:
    """`fettle up` with the starter model, allowed to ask that endpoint."""
    with installed(starter_models, faults.place) as found:
        yield found


def post(installation: Running, page: Page, path: str, about: dict[str, Any]) -> None:
    made = page.request.post(f"{address(installation)}/api/v1/{path}", data=about, headers={"Origin": address(installation)})
    assert made.ok, made.text()


def planned(dialog: Locator) -> list[tuple[str, str, str]]:
    """The plan's lines: model, prompt, rows."""
    cells = [row.locator("th, td").all_inner_texts() for row in dialog.locator("tbody tr").all()]
    return [(model, prompt.split("\n")[0], rows) for model, prompt, rows, *_ in cells]


def every(dialog: Locator, wanted: bool = True) -> None:
    dialog.get_by_role("radio", name="Every model with every prompt" if wanted else "The columns as they are").check(force=True)


def test_the_plan_crosses_every_model_with_every_prompt(installation: Running, faults: Server, page: Page) -> None:
    sign_up(page, installation.said())
    for name, prices in (("fine", {"m": {"input": 1000, "output": 1000}}), ("ill", {}), ("slow", {})):
        about = {"name": name, "url": f"{faults.address}/{name}/v1", "models": ["m"], "prices": prices, "concurrency": 1, "time_out": 20}
        post(installation, page, "endpoints", about)
    post(installation, page, "prompts", {"name": SAVED, "instruction": "Good or bad?", "parameters": {"max_tokens": 2}})
    page.goto(f"{address(installation)}/lab")
    page.get_by_label("Instruction").fill("Say whether the message is good or bad.")
    page.locator("#dataset").select_option(label="Thumbs up or down v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    set_parameter(page.locator("[data-column]"), max_tokens="2")
    page.locator("#test").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#test-every-field")).to_be_hidden()  # one column has nothing to be crossed with
    page.keyboard.press("Escape")
    page.locator("#add-column").click()
    part(column(page, "A"), "model").select_option(label=HERE)
    part(column(page, "B"), "model").select_option(label=THERE)
    part(column(page, "B"), "prompt").select_option(label=f"{SAVED} v1")
    page.locator("#test").click()
    page.get_by_label("Rows", exact=True).fill("2")
    expect(page.locator("#test-plan strong")).to_contain_text("2 evaluations, 4 answers")
    draft = f"the draft, saved as “{DRAFT}”"
    assert planned(dialog) == [(HERE, draft, "2"), (THERE, f"{SAVED} v1", "2")], "each column as it stands"
    every(dialog)
    expect(page.locator("#test-plan strong")).to_contain_text("4 evaluations, 8 answers")
    crossed = {(model, prompt, "2") for model in (HERE, THERE) for prompt in (draft, f"{SAVED} v1")}
    assert len(planned(dialog)) == 4 and set(planned(dialog)) == crossed
    no_violations(page)
    every(dialog, False)
    expect(page.locator("#test-plan strong")).to_contain_text("2 evaluations, 4 answers")
    page.keyboard.press("Escape")


def test_a_column_that_says_the_same_crosses_with_nothing_new(page: Page) -> None:
    menu(page, "B", "Duplicate")
    expect(page.locator("[data-column]")).to_have_count(3)
    part(column(page, "C"), "model").select_option(label=HERE)
    page.locator("#test").click()
    dialog = page.get_by_role("dialog")
    expect(page.locator("#test-plan strong")).to_contain_text("3 evaluations")
    every(dialog)
    expect(page.locator("#test-plan strong")).to_contain_text("4 evaluations, 8 answers")
    assert len(set(planned(dialog))) == 4, "two models with two prompts, though there are three columns"
    page.keyboard.press("Escape")
    menu(page, "C", "Remove")
    expect(page.locator("[data-column]")).to_have_count(2)


def test_each_pair_is_a_job_with_a_chip_and_ends_as_an_evaluation(installation: Running, page: Page) -> None:
    page.locator("#test").click()
    dialog = page.get_by_role("dialog")
    every(dialog)
    expect(page.locator("#test-plan strong")).to_contain_text("4 evaluations, 8 answers")
    dialog.get_by_role("button", name="Start").press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".toast").last).to_contain_text("4 tests are queued.")
    chips = page.locator("#tests [data-job]")
    expect(chips).to_have_count(4)
    expect(page.locator("#prompt-name")).to_have_text(f"{DRAFT} v1")
    expect(page.locator("#tests [data-over]")).to_have_count(4, timeout=300_000)
    pairs = {(model, f"{prompt} v1") for model in (HERE, THERE) for prompt in (DRAFT, SAVED)}
    assert {chip.get_attribute("title") for chip in chips.all()} == {f"{model} · {prompt} on validation" for model, prompt in pairs}
    assert len({chip.get_attribute("data-job") for chip in chips.all()}) == 4
    for chip in chips.all():
        expect(chip.locator("b")).to_have_text(re.compile(r"^(0\.\d{3}|1\.000)$"))
    no_violations(page)
    page.goto(f"{address(installation)}/evaluations")
    rows = page.locator("#main tbody tr")
    expect(rows).to_have_count(4)
    told = [(row.locator("th a").inner_text(), row.locator("th .sub").inner_text()) for row in rows.all()]
    assert sorted(told) == sorted(pairs)
    expect(rows.filter(has_text="validation, 2 rows")).to_have_count(4)


def test_rows_time_and_cost_are_said_before_anything_starts(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab")
    page.locator("#test").click()
    page.get_by_label("Rows", exact=True).fill("9")
    expect(page.locator("#test-plan strong")).to_have_text(re.compile(r"^2 evaluations, 18 answers, (a few seconds|about .+), at most \$0\.\d+\.$"))
    here, there = (row.locator("td").all_inner_texts()[-3:] for row in page.get_by_role("dialog").locator("tbody tr").all())
    assert (here[0], there[0]) == ("9", "9") and all(re.match("a few seconds|about", time) for time in (here[1], there[1]))
    assert here[2] == "none" and page.locator("#test-plan strong").inner_text().endswith(f"{there[2]}."), "only the endpoint has its price"
    no_violations(page)
    page.keyboard.press("Escape")


def test_rows_that_an_endpoint_broke_off_are_asked_again_from_the_chip(installation: Running, faults: Server, page: Page) -> None:
    page.goto(f"{address(installation)}/lab")
    menu(page, "B", "Remove")
    page.locator("[data-part=model]").select_option(label="ill/m")
    page.locator("#test").click()
    page.get_by_label("Rows", exact=True).fill("9")
    expect(page.locator("#test-plan strong")).to_contain_text("1 evaluation, 9 answers")
    page.locator("#test-start").press("Enter")
    chip = page.locator("#tests [data-job]").filter(has_text="ill/m")
    expect(chip).to_have_attribute("data-over", "", timeout=60_000)
    expect(chip).to_contain_text("failed")
    expect(chip).to_have_attribute("title", re.compile(r": 3 of 9 rows were not answered\."))
    expect(chip.locator("b")).to_have_count(0)  # no figure for a part of the rows
    no_violations(page)
    chip.press("Enter")
    arrived(page, re.compile(r"/jobs/\d+$"))
    trouble = page.get_by_role("alert").filter(has_text="rows_missing")
    expect(trouble).to_contain_text("3 of 9 rows were not answered. The last reason: ill broke its answer off.")
    expect(trouble).to_contain_text("only these rows are asked again, the others are kept")
    no_violations(page)
    assert len(faults.requests("ill")) == 9
    faults.ask("/mend")
    page.get_by_role("button", name="Retry").press("Enter")
    expect(page.locator(".figure").filter(has_text="Accuracy")).to_contain_text("of 9 rows, validation", timeout=60_000)
    expect(trouble).to_have_count(0)
    assert len(faults.requests("ill")) == 12, "the six rows that were answered are not asked again"
    no_violations(page)
    page.goto(f"{address(installation)}/lab")
    expect(chip.get_by_role("img", name="succeeded")).to_be_visible()
    expect(chip.locator("b")).to_have_text(re.compile(r"^0\.\d{3}$"))
    expect(page.locator("#tests [data-job]")).to_have_count(5)


ROWS = 80
"""At 0.3 s each there is time to watch, and to stop it."""


def test_a_test_is_watched_and_stopped_and_goes_on_with_the_rows_that_are_left(installation: Running, faults: Server, page: Page) -> None:
    page.locator("[data-part=model]").select_option(label="slow/m")
    page.locator("#test").click()
    page.get_by_label("Rows", exact=True).fill(str(ROWS))
    expect(page.locator("#test-plan strong")).to_contain_text(f"1 evaluation, {ROWS} answers")
    page.locator("#test-start").press("Enter")
    chip = page.locator("#tests [data-job]").filter(has_text="slow/m")

    def share() -> int:
        found = re.search(r"running.*?(\d+)\s%", chip.inner_text(), re.DOTALL)
        return int(found[1]) if found else 0

    expect(chip).to_be_visible()
    until(page, lambda: share() > 0)
    first = share()
    until(page, lambda: share() > first)
    no_violations(page)
    chip.press("Enter")
    arrived(page, re.compile(r"/jobs/\d+$"))
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    asked = len(faults.requests("slow"))
    assert ROWS * first / 100 <= asked < ROWS
    page.goto(f"{address(installation)}/lab")
    expect(chip).to_contain_text("cancelled")
    expect(chip.locator("b")).to_have_count(0)
    no_violations(page)
    chip.press("Enter")
    arrived(page, re.compile(r"/jobs/\d+$"))
    assert len(faults.requests("slow")) == asked, "what is stopped asks nothing more"
    page.get_by_role("button", name="Retry").press("Enter")
    expect(page.locator(".figure").filter(has_text="Accuracy")).to_contain_text(f"of {ROWS} rows, validation", timeout=120_000)
    assert len(faults.requests("slow")) == ROWS, "no row is asked twice"
    assert faults.ask("/log")["most"] == 1, "one at a time, as the endpoint wants it"
    page.goto(f"{address(installation)}/lab")
    expect(chip.get_by_role("img", name="succeeded")).to_be_visible()
