"""The main job in a real browser on a whole installation with the starter model: lab, data, tune, compare, /v1. In this order."""

import csv
import json
import re
import time
from pathlib import Path

import pytest
from openai import AuthenticationError, BadRequestError, OpenAI
from playwright.sync_api import Page, expect

from tests.browser.steps import PASSWORD, address, command, no_violations
from tests.house.rules import ROOT
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV cut from a sample task: small enough for a short run on two cores."""
    rows = [json.loads(line) for line in (ROOT / "samples" / "thumbs.jsonl").read_text().splitlines()]
    path = tmp_path_factory.mktemp("data") / "small thumbs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "output"])
        writer.writerows([row["input"], row["output"]] for row in [row for row in rows if row["output"]][:150])
    return path


def test_the_link_makes_the_first_account_and_works_once(installation: Running, page: Page) -> None:
    link = re.search(r"http://\S+/welcome/\S+", installation.said())
    assert link is not None
    page.goto(address(installation))
    expect(page).to_have_url(re.compile("/sign-in"))
    page.goto(link[0])
    no_violations(page)
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    no_violations(page)
    page.goto(link[0])
    expect(page.get_by_text("This link is used up")).to_be_visible()


def test_lab_streams_tokens_counts_them_and_can_be_stopped(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab")
    page.get_by_label("Instruction").fill("Say what the message is about.")
    page.get_by_label("Input", exact=True).fill("My parcel has not arrived.")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-part=foot]")).to_contain_text("tokens", timeout=90_000)
    expect(page.locator("[data-part=stream]")).not_to_be_empty()
    assert re.search(r"\d+\s?(ms|s)", page.locator("[data-part=foot]").inner_text())
    no_violations(page)
    page.get_by_text("Parameters", exact=False).first.click()
    page.locator("#c1-max_tokens").fill("1000")
    page.locator("#c1-min_tokens").fill("1000")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=stream]")).not_to_be_empty(timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Run")).to_be_visible(timeout=5_000)


def test_a_broken_file_is_refused_with_its_lines_and_a_good_one_becomes_a_dataset(installation: Running, page: Page, small: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text('input,output\nfine,good\none,too,many\n"never closed,bad\n')
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(broken))
    expect(page.get_by_role("region", name="Problems in the file").locator("tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_disabled()
    no_violations(page)
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(small))
    expect(page.get_by_text("Read to the end: ")).to_be_visible()
    expect(page.get_by_text("tokens half of them").first).to_be_visible(timeout=90_000)
    page.get_by_label("Delimiter").select_option("|")
    expect(page.get_by_text("No column is named input")).to_be_visible()
    page.get_by_label("Delimiter").select_option("")
    expect(page.get_by_text("No column is named input")).to_have_count(0)
    page.get_by_label("Name").fill("Small thumbs")
    page.get_by_label("Name").press("Tab")
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled()
    no_violations(page)
    page.get_by_role("button", name="Freeze version 1").click()
    expect(page.get_by_role("heading", name="Small thumbs")).to_be_visible()
    expect(page.get_by_text("sealed")).not_to_have_count(0)
    expect(page.get_by_text("stands", exact=True)).to_be_visible(timeout=60_000)
    page.get_by_role("searchbox").fill("the")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("status").filter(has_text="row")).to_be_visible()
    no_violations(page)
    page.goto(f"{address(installation)}/datasets")
    page.get_by_role("link", name="broken").click()
    page.wait_for_load_state()  # what asks back is a script
    page.get_by_role("button", name="Discard").click()
    page.locator("#confirm").get_by_role("button", name="Discard").click()
    expect(page.get_by_role("link", name="broken")).to_have_count(0)


def start_tune(page: Page, installation: Running, steps: int) -> None:
    page.goto(f"{address(installation)}/datasets")
    page.get_by_role("link", name="Small thumbs").click()
    page.get_by_role("link", name="Tune", exact=True).last.click()
    page.get_by_text("More parameters").click()
    page.get_by_label("max steps", exact=False).fill(str(steps))
    page.get_by_label("evaluations", exact=False).first.fill("1")
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))


def test_a_running_job_is_cancelled_within_five_seconds(installation: Running, page: Page) -> None:
    start_tune(page, installation, 500)
    expect(page.get_by_text(re.compile(r"step \d+ of 500"))).to_be_visible(timeout=120_000)
    page.reload()
    expect(page.get_by_text(re.compile(r"step \d+ of 500"))).to_be_visible()
    no_violations(page)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    began = time.monotonic()
    expect(page.get_by_role("button", name="Retry")).to_be_visible(timeout=10_000)
    assert time.monotonic() - began < 6, "5 s, and one for the page to hear of it"


def test_a_tune_ends_with_curves_a_log_and_a_model(installation: Running, page: Page) -> None:
    start_tune(page, installation, 6)
    expect(page.get_by_role("link", name="Try in Lab")).to_be_visible(timeout=300_000)
    assert page.locator("figure.chart canvas").count() >= 2
    expect(page.locator("#log")).to_contain_text("Longest step")
    no_violations(page)


def test_the_ladder_puts_prompts_and_the_tuned_model_on_one_split(installation: Running, page: Page) -> None:
    page.get_by_role("link", name="Add to ladder").click()
    page.locator("#few_shot").uncheck()  # its long prompts are most of the reading, and tests/worker/test_parent.py has them
    page.get_by_role("button", name="Full run").click()
    expect(page).to_have_url(re.compile(r"/experiments/\d+$"))
    opening = page.get_by_role("button", name="Open the test rows")
    expect(opening).to_be_enabled(timeout=400_000)
    expect(page.locator(".ladder")).to_contain_text("provisional")
    opening.click()
    expect(page.locator("#poll")).to_have_count(0, timeout=400_000)
    expect(page.locator(".verdict")).to_contain_text(re.compile("^(Use|Cannot tell|Do not tune|Label more)"))
    rows = page.locator(".ladder tbody tr")
    assert rows.count() == 5, "majority, linear baseline, zero-shot, one-shot and the tuned model"
    assert page.locator(".ladder svg.whisker .span").count() == 4
    no_violations(page)


def test_a_slider_that_is_moved_moves_no_other(installation: Running, page: Page) -> None:
    page.goto(address(installation) + "/experiments/1")
    values = page.locator("#what-if output")
    expect(values).to_have_text(["not set", "not set", "3 points"])
    page.get_by_label("Requests a month").press("ArrowRight")
    expect(values).to_have_text(["20,000", "not set", "3 points"])
    page.get_by_label("Margin").press("ArrowRight")
    expect(values).to_have_text(["20,000", "not set", "3.5 points"])
    page.get_by_label("Requests a month").press("ArrowLeft")
    expect(values).to_have_text(["10,000", "not set", "3.5 points"])


def test_the_tuned_model_answers_the_unmodified_openai_client(installation: Running, page: Page) -> None:
    token = command(installation, "token", "create", "--name", "journey").splitlines()[-1]
    client = OpenAI(base_url=f"{address(installation)}/v1", api_key=token)
    names = [model.id for model in client.models.list()]
    tuned = next(name for name in names if name != "starter")
    answer = client.chat.completions.create(model=tuned, messages=[{"role": "user", "content": "Great help, thank you!"}], temperature=0, max_tokens=5)
    assert answer.choices[0].message.content and answer.usage is not None and answer.usage.completion_tokens > 0
    stream = client.chat.completions.create(
        model=tuned, messages=[{"role": "user", "content": "Great help, thank you!"}], temperature=0, max_tokens=5, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == answer.choices[0].message.content
    with pytest.raises(BadRequestError, match="raw: true"):
        client.chat.completions.create(model=tuned, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    raw = client.chat.completions.create(
        model="starter", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0, max_tokens=12
    )
    assert "Paris" in (raw.choices[0].message.content or "")
    assert client.completions.create(model="starter", prompt="One, two, three,", temperature=0, max_tokens=3).choices[0].text.strip().startswith("four")
    with pytest.raises(AuthenticationError):
        OpenAI(base_url=f"{address(installation)}/v1", api_key="wrong").models.list()
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("[data-part=model]")).to_contain_text("Small thumbs")


def test_a_tuned_model_brings_its_prompt_to_the_lab_and_mine_comes_back(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # nobody can type before the draft stands
    model, note, instruction = page.locator("[data-part=model]"), page.locator("[data-part=note-model]"), page.get_by_label("Instruction")
    instruction.fill("Sort it my way.")
    expect(note).to_be_empty()
    tuned = model.locator("option").filter(has_text="Small thumbs").first
    through = tuned.get_attribute("data-through")
    model.select_option(tuned.get_attribute("value"))
    expect(note).to_have_text(f"tuned through {through}. Bring back mine")
    expect(page.locator("#prompt-name")).to_have_text(through or "")
    expect(instruction).not_to_have_value("Sort it my way.")
    its = instruction.input_value()
    no_violations(page)
    page.get_by_role("button", name="Bring back mine").press("Enter")
    expect(instruction).to_have_value("Sort it my way.")
    expect(note).to_have_text(f"tuned through {through}, not this prompt. Use its prompt")
    expect(page.locator("#prompt-name")).to_have_text("New prompt")
    expect(model).to_be_focused()
    no_violations(page)
    page.get_by_role("button", name="Use its prompt").press("Enter")
    expect(instruction).to_have_value(its)
    expect(model).to_be_focused()
    instruction.fill("Sort it another way.")
    expect(note).to_contain_text("not this prompt")


@pytest.mark.parametrize("width", [390, 1040, 1280, 1920])
def test_every_page_fits_its_window(installation: Running, page: Page, complaints: list[str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in (
        "/",
        "/lab",
        "/datasets",
        "/datasets/new",
        "/datasets/1",
        "/jobs",
        "/jobs/new",
        "/jobs/1",
        "/experiments",
        "/experiments/new",
        "/experiments/1",
        "/models",
        "/models/1",
        "/settings",
    ):
        page.goto(address(installation) + path)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{path} is {wider} px wider than its window of {width}"
    assert complaints == []
