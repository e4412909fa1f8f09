"""An endpoint in a real browser: one Fettle asks another (itself, over its own /v1), and the answer is the one the model gives here. In this order."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.api.table import AT_ONCE
from tests.browser.steps import address, command, draft_kept, installed, no_violations, part, set_parameter, settled, sign_up
from tests.browser.test_code import run
from tests.installation import Running
from tests.remote.servers import Server, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]


@pytest.fixture(scope="module")
def faults() -> Iterator[Server]:
    """An endpoint that does everything wrong."""
    with running("tests.remote.fault_server", ready="/log") as server:
        yield server


@pytest.fixture(scope="module")
def installation(starter_models: Path, faults: Server) -> Iterator[Running]:
    """`fettle up` with the starter model, allowed to ask itself and the endpoint that does everything wrong."""
    with installed(starter_models, faults.place, itself=True) as found:
        yield found


def test_an_endpoint_is_added_tested_and_priced(installation: Running, page: Page, complaints: list[str]) -> None:
    sign_up(page, installation.said())
    token = command(installation, "token", "create", "--name", "endpoint")
    page.goto(f"{address(installation)}/models")
    page.get_by_role("link", name="Endpoints").first.click()
    no_violations(page)
    page.get_by_role("link", name="Add an endpoint").click()
    page.get_by_label("Name").fill("myself")
    page.get_by_label("Address").fill(f"{address(installation)}/v1")
    page.get_by_label("Key", exact=True).fill(token)
    no_violations(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="myself")).to_be_visible()
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("It answers: 1 model listed")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("It does not echo prompts with log-probabilities.")).to_be_visible()
    page.get_by_label("starter", exact=True).check()
    page.get_by_label("Dollars a million tokens in, starter").fill("100")
    page.get_by_label("Dollars a million tokens out, starter").fill("200")
    page.get_by_role("button", name="Save models").click()
    expect(page.get_by_text("myself/starter")).to_be_visible()
    no_violations(page)
    assert token not in page.content() and complaints == []


def test_the_lab_answers_through_it_as_the_model_does_here(installation: Running, page: Page, complaints: list[str]) -> None:
    page.get_by_role("link", name="Try in Lab").click()
    expect(page.locator("[data-part=model]")).to_contain_text("myself/starter")
    page.get_by_label("Instruction").fill("Say what the message is about.")
    page.get_by_label("Input", exact=True).fill("My parcel has not arrived.")
    expect(page.locator("#tokens")).to_contain_text("the endpoint counts them when it answers")
    answers = []
    for model in ("myself/starter", "SmolLM2-135M-Instruct"):
        page.locator("[data-part=model]").select_option(label=model)
        page.keyboard.press("Control+Enter")
        expect(page.locator("[data-part=counts]")).to_contain_text("tokens read", timeout=90_000)
        expect(page.locator("#run")).to_be_visible()
        answers.append((page.locator("[data-part=stream]").inner_text(), page.locator("[data-part=counts]").inner_text()))
    assert answers[0][0] == answers[1][0] != "", "greedy, the same text: the same answer"
    counts = [re.search(r"(\d+) tokens read, (\d+) written", words) for _, words in answers]
    assert counts[0] is not None and counts[1] is not None and counts[0].groups() == counts[1].groups()
    assert "$0.0" in answers[0][1] and "$" not in answers[1][1]
    assert complaints == []


def test_code_for_a_model_at_an_endpoint_answers_as_the_page(installation: Running, page: Page, tmp_path: Path) -> None:
    """A program asks this installation, which asks the endpoint; there are no weights here to load."""
    page.locator("[data-part=model]").select_option(label="myself/starter")
    set_parameter(page.locator("[data-column]"), max_tokens="12")
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(page.locator("[data-part=counts]")).to_contain_text("tokens read")
    shown = (page.locator("[data-part=stream]").text_content() or "").strip()
    page.get_by_role("button", name="Code", exact=True).click()
    dialog = page.locator("#code-dialog")
    expect(dialog.locator("summary")).to_have_text(["curl", "Python openai", "Python transformers"])
    expect(dialog.locator("pre")).to_have_count(2)
    dialog.locator("summary").last.press("Enter")
    expect(dialog.get_by_text("myself/starter answers at its endpoint; its weights are not here.")).to_be_visible()
    no_violations(page)
    found = {key: page.locator(f"#code-{key}").text_content() or "" for key in ("curl", "openai")}
    page.keyboard.press("Escape")
    token = command(installation, "token", "create", "--name", "code").split()[-1]
    assert shown and {key: run(text, key, tmp_path, token) for key, text in found.items()} == dict.fromkeys(found, shown)


def test_the_notebook_says_what_a_run_there_took(installation: Running, page: Page) -> None:
    took = re.search(r"(\d+) tokens read, (\d+) written .*(\$0\.\d+)", page.locator("[data-part=counts]").inner_text())
    assert took is not None
    draft_kept(page)
    page.goto(f"{address(installation)}/lab/notebook")
    row = page.locator("tbody tr").first
    expect(row.locator("th")).to_contain_text("max tokens 12")
    tokens, latency, cost = row.locator("td.num").all_inner_texts()[:3]
    assert tokens == f"{took[1]} + {took[2]}" and re.fullmatch(r"[\d.]+\s(ms|s)", latency) and cost == took[3]
    expect(row).to_contain_text("myself/starter")
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    set_parameter(page.locator("[data-column]"), max_tokens="")
    part(page, "model").select_option(label="SmolLM2-135M-Instruct")


def test_a_column_says_what_an_endpoint_cannot(page: Page, complaints: list[str]) -> None:
    page.locator("#add-shot").click()
    page.locator("[data-shot=input]").fill("The invoice is wrong.")
    page.locator("[data-shot=output]").fill("billing")
    facts = page.locator("#shots [data-shot-facts]")
    expect(facts).to_have_text(re.compile(r"^\d+ tokens$"))
    page.locator("#dataset").select_option(label="Support desk v1")
    expect(page.locator("#bars")).to_be_enabled()
    page.locator("[data-part=model]").select_option(label="myself/starter")
    expect(facts).to_have_text(re.compile(r"^about \d+ tokens$"))
    expect(page.locator("#bars")).to_be_disabled()
    expect(page.locator("#bars-field")).to_have_attribute("title", "It does not echo prompts with log-probabilities.")
    page.locator("#test").click()
    expect(page.locator("#test-answer [value=likelihood]")).to_be_disabled()
    expect(page.locator("#test-answer")).to_have_attribute("title", "It does not echo prompts with log-probabilities.")
    page.keyboard.press("Escape")
    assert complaints == []


def test_a_busy_endpoint_is_asked_again_and_a_silent_one_is_stopped(installation: Running, faults: Server, page: Page, complaints: list[str]) -> None:
    for fault in ("twice", "stall", "endless"):
        about = {"name": fault, "url": f"{faults.address}/{fault}/v1", "models": ["m"], "time_out": 60}
        made = page.request.post(f"{address(installation)}/api/v1/endpoints", data=about, headers={"Origin": address(installation)})
        assert made.ok, made.text()
    page.reload()
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # nobody can choose before the draft stands
    model, counts = page.locator("[data-part=model]"), page.locator("[data-part=counts]").first
    model.select_option(label="twice/m")
    page.keyboard.press("Control+Enter")
    expect(counts).to_contain_text("3 tries", timeout=60_000)
    expect(page.locator("[data-part=stream]").first).to_have_text("so so ")
    for fault, written in (("stall", ""), ("endless", "so so")):
        model.select_option(label=f"{fault}/m")
        page.locator("#run").click()
        stream, progress = page.locator("[data-part=stream]").first, page.locator("[data-part=progress]").first
        if written:
            expect(stream).to_contain_text(written)
            expect(progress).to_be_hidden()
        else:
            expect(progress).to_contain_text("Waiting for the endpoint")
            expect(stream).to_have_text("")
        page.wait_for_function("() => document.querySelector('[data-answer]').answer.request !== ''")  # so that it can be stopped
        page.locator("#stop").click()
        expect(counts).to_contain_text("stopped by you", timeout=5_000)
        expect(page.locator("#run")).to_be_focused()
    assert complaints == []


def test_a_column_that_is_stopped_drops_the_cells_that_still_wait(page: Page, complaints: list[str]) -> None:
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    page.get_by_label("Lines to add").fill("\n".join(f"line {number}" for number in range(AT_ONCE + 2)))
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#add-column").click()
    first, second = (page.get_by_role("region", name=f"Column {letter}", exact=True) for letter in "AB")
    first.locator("[data-part=model]").select_option(label="stall/m")
    page.keyboard.press("Control+Shift+Enter")
    page.wait_for_function(f"() => [...document.querySelectorAll('[data-answer]')].filter((one) => one.answer.request).length === {2 * AT_ONCE}")
    first.get_by_role("button", name="Stop column A").click()
    expect(first.locator("[data-part=counts]").filter(has_text="stopped by you")).to_have_count(AT_ONCE + 2)
    expect(second.get_by_role("button", name="Stop column B")).to_be_visible()
    page.locator("#stop").click()
    expect(page.locator("#stop")).to_be_hidden()
    with page.expect_response(lambda response: "/lab/answers" in response.url):
        page.reload()
    expect(first.locator("[data-part=counts]").filter(has_text="stopped by you")).to_have_count(AT_ONCE)
    expect(page.get_by_text("not in the notebook any more")).to_have_count(0)
    assert complaints == []


def test_an_answer_held_to_a_schema_is_json_that_keeps_to_it(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("Is it urgent?")
    page.get_by_label("Input", exact=True).fill("My parcel has not arrived.")
    page.locator("[data-part=model]").select_option(label="SmolLM2-135M-Instruct")
    schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"], "additionalProperties": False}
    page.locator("[data-part=parameters] summary").click()
    page.locator("[data-parameter=json_schema]").fill(json.dumps(schema))
    page.locator("#run").click()
    expect(page.locator("[data-part=counts]").first).to_contain_text("tokens read", timeout=90_000)
    assert set(json.loads(page.locator("[data-part=stream]").first.inner_text())) == {"urgent"}


def test_an_evaluation_through_it_ends_with_its_cost(installation: Running, page: Page) -> None:
    """The light worker that `fettle up` started does it."""
    made = page.evaluate(
        """async () => {
          const post = (path, body) => fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).then((answer) => answer.json());
          const datasets = await fetch("/api/v1/datasets").then((answer) => answer.json());
          const prompt = await post("/api/v1/prompts", { name: "short", instruction: "Answer with one word.", parameters: { max_tokens: 4 } });
          return post("/api/v1/evaluations", { model: "myself/starter", dataset: datasets.items[0].id, split: "train", answer: "generate", limit: 6, prompt_version: prompt.id });
        }"""
    )
    page.goto(f"{address(installation)}/jobs/{made['job']}")
    expect(page.locator(".figure").filter(has_text="Cost")).to_contain_text("$", timeout=90_000)
    expect(page.locator(".figure").filter(has_text="Latency")).to_contain_text("one request at a time")
    no_violations(page)
    found = page.evaluate(f"() => fetch('/api/v1/evaluations/{made['id']}').then((answer) => answer.json())")
    scores = found["scores"]
    assert found["state"] == "succeeded" and scores["n"] == 6
    assert scores["cost"] == pytest.approx((100 * scores["input_tokens"] + 200 * scores["output_tokens"]) / 1e6)
