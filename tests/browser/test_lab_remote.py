"""Endpoints in the Lab's columns in a real browser: label bars of one that gives likelihoods, limits typed in its form, faults side by side, held answers. In this order."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import address, arrived, column, installed, no_violations, part, set_parameter, settled, sign_up
from tests.installation import Running, free_port
from tests.remote.servers import Server, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

PROVOKED = re.compile("status of 422.* at /endpoints")
"""A form comes back with what was wrong in it."""

HERE = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def faults() -> Iterator[Server]:
    """An endpoint that does everything wrong."""
    with running("tests.remote.fault_server", ready="/log") as server:
        yield server


@pytest.fixture(scope="module")
def nobody() -> Server:
    """A place where no server is."""
    return Server(free_port())


@pytest.fixture(scope="module")
def installation(starter_models: Path, model_server: Server, faults: Server, nobody: Server) -> Iterator[Running]:
    """`fettle up` with the starter model, allowed to ask a server over a tiny model, the one that does everything wrong, and one that is not there."""
    with installed(starter_models, model_server.place, faults.place, nobody.place) as found:
        yield found


def add(page: Page, installation: Running, **typed: str) -> None:
    """Fill the form of a new endpoint, by the names of its fields."""
    page.goto(f"{address(installation)}/endpoints/new")
    for label, text in typed.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(text)
    page.get_by_role("button", name="Add", exact=True).press("Enter")


def use(page: Page, model: str) -> None:
    """Take a model that the endpoint does not list, then try it in the Lab."""
    page.get_by_label("Another model").fill(model)
    page.get_by_role("button", name="Save models").click()
    expect(page.get_by_label(model, exact=True)).to_be_checked()
    page.get_by_role("link", name="Try in Lab").click()
    arrived(page, re.compile("/lab"))
    expect(page.locator("#lab:not([inert])")).to_be_attached()


def limit(page: Page, endpoint: str, label: str, text: str) -> None:
    """Type one of its limits into its settings."""
    page.get_by_role("link", name="Models", exact=True).first.click()
    page.get_by_role("link", name="Endpoints").first.click()
    page.get_by_role("link", name=endpoint, exact=True).click()
    page.locator("summary").filter(has_text="Settings").press("Enter")
    page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Save", exact=True).click()


def test_an_endpoint_that_echoes_weighs_labels_beside_a_model_of_here(installation: Running, model_server: Server, page: Page) -> None:
    sign_up(page, installation.said())
    add(page, installation, Name="full", Address=f"{model_server.address}/v1", Key="sesame")
    expect(page.get_by_role("heading", name="full")).to_be_visible()
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("labels can be compared by likelihood")).to_be_visible(timeout=60_000)
    page.get_by_label("tiny", exact=True).check()
    page.get_by_label("Dollars a million tokens in, tiny").fill("1000")
    page.get_by_label("Dollars a million tokens out, tiny").fill("1000")
    page.get_by_role("button", name="Save models").click()
    page.get_by_role("link", name="Try in Lab").click()
    arrived(page, re.compile("/lab"))
    page.get_by_label("Instruction").fill("Is the message good or bad?")
    page.locator("#dataset").select_option(label="Thumbs up or down v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    page.get_by_label("Input", exact=True).fill("Great help, thank you!")
    set_parameter(page.locator("[data-column]"), max_tokens="2")
    page.locator("#add-column").click()
    part(column(page, "B"), "model").select_option(label=HERE)
    expect(page.locator("#bars")).to_be_enabled()
    page.locator("#bars").check()
    before = model_server.ask("/served").get("v1/completions", 0)
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    bars = {letter: part(column(page, letter), "bars") for letter in "AB"}
    shown = {}
    for letter, one in bars.items():
        expect(one.locator("dt")).to_have_count(2, timeout=120_000)
        assert set(one.locator("dt").all_text_contents()) == {"good", "bad"}
        for which in (".num:not(.faint)", ".num.faint"):
            texts = one.locator(which).all_text_contents()
            assert sum(float(text.split("\u00a0")[0].lstrip("<")) for text in texts) == pytest.approx(100, abs=1.5)
        shown[letter] = one.inner_text()
    assert shown["A"] != shown["B"], "another model, other shares"
    expect(bars["A"]).to_contain_text(re.compile(r"Weighing them took [\d,]+ tokens read, \d+ written, \$0\.\d+\."))
    expect(bars["B"]).not_to_contain_text("Weighing them took")
    # One answer; then each of two labels after the input, and after three prompts without one.
    assert model_server.ask("/served")["v1/completions"] - before == 1 + 2 * (1 + 3)
    no_violations(page)
    page.locator("#bars").uncheck()
    expect(bars["A"]).to_be_hidden()


def test_a_limit_that_cannot_be_meant_is_told_at_its_field(installation: Running, faults: Server, page: Page) -> None:
    """The browser keeps the form from being sent; where one does not look, the server says what is wrong."""
    about = {"Name": "silent", "Address": f"{faults.address}/stall/v1"}
    add(page, installation, **about, Requests_at_once="0")
    number, time_out = page.get_by_label("Requests at once", exact=True), page.get_by_label("Time-out", exact=True)
    expect(number).to_be_focused()
    assert number.evaluate("field => field.validationMessage") and page.url.endswith("/endpoints/new")
    page.locator("#main form").evaluate("form => { form.noValidate = true; }")
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(page.locator(".field", has=number)).to_contain_text("0 is out of range. Give a number from 1 to 256.")
    expect(number).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Name", exact=True)).to_have_value("silent")
    no_violations(page)
    number.fill("2")
    time_out.fill("0.5")
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(time_out).to_be_focused()
    assert time_out.evaluate("field => field.validationMessage")
    page.locator("#main form").evaluate("form => { form.noValidate = true; }")
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(page.locator(".field", has=time_out)).to_contain_text("0.5 is out of range. Give a number from 1 to 3,600.")
    expect(number).not_to_have_attribute("aria-invalid", "true")
    time_out.fill("1.5")
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="silent")).to_be_visible()
    expect(page.locator(".lede")).to_contain_text("2 requests at once, 1.5 s each.")


def silent(page: Page, seconds: str) -> float:
    """Run, and how long it takes until the column says that nothing came in time."""
    began = time.monotonic()
    page.keyboard.press("Control+Enter")
    expect(part(page, "failure-message")).to_have_text(f"silent did not finish within {seconds} s.")
    return time.monotonic() - began


def test_a_typed_time_out_ends_an_answer_that_does_not_come(page: Page) -> None:
    use(page, "m")
    expect(page.locator("[data-part=model]").first).to_contain_text("silent/m")
    while page.locator("[data-column]").count() > 1:
        page.locator("[data-column]").last.get_by_role("button", name="More for this column").click()
        page.locator(".column-menu:popover-open").get_by_role("button", name="Remove").click()
    page.get_by_label("Input", exact=True).fill("Is anybody there?")
    assert silent(page, "1.5") >= 1.5
    expect(part(page, "failure-advice")).to_have_text("Ask for fewer tokens, or raise the endpoint's time-out.")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    no_violations(page)
    limit(page, "silent", "Time-out", "4")
    expect(page.locator(".lede")).to_contain_text("2 requests at once, 4 s each.")
    page.get_by_role("link", name="Try in Lab").click()
    arrived(page, re.compile("/lab"))
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.get_by_label("Input", exact=True)).to_have_value("Is anybody there?")
    page.get_by_label("Input", exact=True).focus()
    assert silent(page, "4") >= 4


def four(page: Page) -> None:
    """Four inputs answered, whatever stood there before."""
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(page, "stream").filter(has_text="so so")).to_have_count(4)
    expect(part(page, "failure").locator("visible=true")).to_have_count(0)


def test_a_typed_number_of_requests_at_once_holds(installation: Running, faults: Server, page: Page) -> None:
    add(page, installation, Name="lined", Address=f"{faults.address}/lined/v1", Requests_at_once="1")
    expect(page.locator(".lede")).to_contain_text("1 request at once, 60 s each.")
    use(page, "m")
    page.get_by_role("radio", name="A table of inputs").check(force=True)
    page.get_by_label("Lines to add").fill("one\ntwo\nthree\nfour")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-answer]")).to_have_count(4)
    four(page)
    assert faults.ask("/log")["most"] == 1 and len(faults.requests("lined")) == 4
    no_violations(page)
    limit(page, "lined", "Requests at once", "3")
    expect(page.locator(".lede")).to_contain_text("3 requests at once")
    page.get_by_role("link", name="Try in Lab").click()
    arrived(page, re.compile("/lab"))
    expect(page.locator("[data-answer]")).to_have_count(4)
    page.get_by_label("Instruction").focus()
    four(page)
    assert 1 < faults.ask("/log")["most"] <= 3 and len(faults.requests("lined")) == 8


FAULTS = {
    "drop": ("broken_off", "drop closed the connection before it answered.", 4),
    "short": ("broken_off", "short broke its answer off.", 1),
    "long": ("garbage", "long answered with something that is not the OpenAI protocol.", 1),
    "garbage": ("garbage", "garbage answered with something that is not the OpenAI protocol.", 1),
}
"""The code and the sentence of each, and how often it is asked before that is said: only where nothing of an answer had come it is asked again."""


def test_faults_of_endpoints_stay_in_their_columns(installation: Running, faults: Server, page: Page) -> None:
    for fault in FAULTS:
        about = {"name": fault, "url": f"{faults.address}/{fault}/v1", "models": ["m"], "time_out": 30}
        made = page.request.post(f"{address(installation)}/api/v1/endpoints", data=about, headers={"Origin": address(installation)})
        assert made.ok, made.text()
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("Say hello.")
    page.get_by_label("Input", exact=True).fill("Hello")
    page.locator("[data-part=model]").select_option(label=HERE)
    set_parameter(page.locator("[data-column]"), max_tokens="4")
    places = dict(zip("BCDE", FAULTS, strict=True))
    for letter, fault in places.items():
        page.locator("#add-column").click()
        part(column(page, letter), "model").select_option(label=f"{fault}/m")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    for letter, fault in places.items():
        code, sentence, asked = FAULTS[fault]
        here = column(page, letter)
        expect(here.get_by_role("alert")).to_be_visible()
        expect(part(here, "failure-message")).to_have_text(sentence)
        expect(part(here, "failure-advice")).not_to_be_empty()
        expect(part(here, "failure-code")).to_have_text(code)
        expect(here.get_by_role("button", name="Retry")).to_be_visible()
        expect(part(here, "stream")).to_have_text("")
        assert len(faults.requests(f"{fault}/")) == asked
    unharmed = column(page, "A")
    expect(part(unharmed, "failure")).to_be_hidden()
    expect(part(unharmed, "counts")).to_contain_text("tokens read")
    answer = part(unharmed, "stream").inner_text(), part(unharmed, "counts").inner_text()
    assert answer[0]
    no_violations(page)
    column(page, "D").get_by_role("button", name="Retry").press("Enter")
    settled(page)
    expect(part(column(page, "D"), "failure-message")).to_have_text(FAULTS["long"][1])
    assert [len(faults.requests(f"{fault}/")) for fault in ("long", "garbage")] == [2, 1], "only that column asks again"
    assert (part(unharmed, "stream").inner_text(), part(unharmed, "counts").inner_text()) == answer


def test_a_connection_that_is_refused_says_why_and_is_tested_again(installation: Running, model_server: Server, nobody: Server, page: Page) -> None:
    add(page, installation, Name="gone", Address=f"{nobody.address}/v1")
    trouble = page.locator("#tested").get_by_role("alert")
    page.get_by_role("button", name="Test connection").click()
    expect(trouble.locator(".message")).to_have_text("gone cannot be reached.", timeout=60_000)
    expect(trouble).to_contain_text("Check that the server runs and that its address and port are right. Tested ")
    expect(trouble.locator("code")).to_have_text("unreachable")
    no_violations(page)
    add(page, installation, Name="locked", Address=f"{model_server.address}/v1", Key="open-says-me")
    page.get_by_role("button", name="Test connection").click()
    expect(trouble.locator(".message")).to_have_text("locked answered 401: it does not accept the key.", timeout=60_000)
    expect(trouble).to_contain_text("Enter the key again, or ask whoever runs the endpoint.")
    expect(trouble.locator("code")).to_have_text("key_refused")
    no_violations(page)
    page.get_by_role("link", name="Endpoints").first.click()
    expect(page.get_by_role("row").filter(has_text="locked")).to_contain_text("failed")
    page.get_by_role("link", name="locked", exact=True).click()
    page.locator("summary").filter(has_text="Settings").press("Enter")
    page.get_by_label("Key", exact=True).fill("sesame")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Key", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("It answers: 1 model listed")).to_be_visible(timeout=60_000)
    expect(trouble).to_have_count(0)


def asked(page: Page, **typed: str) -> str:
    """What the only column answers with these parameters besides those that are typed in already."""
    set_parameter(page.locator("[data-column]"), **typed)
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(page, "counts").first).to_contain_text("tokens read")
    return part(page, "stream").first.text_content() or ""


VERDICT = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}


def test_an_answer_from_there_is_held_to_a_list_or_a_schema_and_tells_its_tokens(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("What is it about?")
    page.get_by_label("Input", exact=True).fill("the plot is very good")
    page.locator("[data-part=model]").select_option(label="full/tiny")
    assert asked(page, choices="refund\nbilling", max_tokens="60") in ("refund", "billing")
    assert set(json.loads(asked(page, choices="", json_schema=json.dumps(VERDICT)))) == {"ok"}
    text = asked(page, json_schema="", logprobs="3", max_tokens="8")
    stream, tokens = part(page, "stream").first, part(page, "stream").first.locator(".token")
    assert tokens.count() >= 2 and "".join(tokens.all_text_contents()) == text
    stream.focus()
    page.keyboard.press("ArrowRight")
    expect(tokens.first).to_be_focused()
    expect(tokens.first).to_have_attribute("aria-label", re.compile(r"%$"))
    likely = page.locator("#heat-tip li")
    expect(likely).to_have_count(3)
    expect(likely.first).to_have_attribute("data-taken", "")  # it is greedy
    shares = [float(one.split()[-2].lstrip("<")) for one in likely.all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 101
    no_violations(page)
    page.keyboard.press("Escape")


def test_a_pattern_is_refused_before_anything_is_sent(model_server: Server, page: Page) -> None:
    before = model_server.ask("/served")
    set_parameter(page.locator("[data-column]"), logprobs="", regex="[0-9]{3}")
    page.keyboard.press("Control+Enter")
    expect(part(page, "failure-message")).to_have_text("An answer of full cannot be held to a regular expression: the OpenAI protocol has no field for one.")
    expect(part(page, "failure-advice")).to_have_text("Use choices or a JSON schema (a string with a pattern), or a model that runs here.")
    expect(part(page, "failure-code")).to_have_text("regex_not_remote")
    assert model_server.ask("/served") == before
    no_violations(page)
    set_parameter(page.locator("[data-column]"), regex="")
    page.get_by_role("button", name="Retry").press("Enter")
    settled(page)
    expect(part(page, "counts").first).to_contain_text("tokens read")
    expect(part(page, "failure")).to_be_hidden()
