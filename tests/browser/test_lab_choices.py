"""What a person chooses in the Lab and what comes of it: calibrated bars, answers held to a pattern, the seed of drawn shots, variables, parameters. In this order."""

import json
import re
from collections import Counter

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.steps import address, column, no_violations, part, set_parameter, settled, sign_up
from tests.house.rules import ROOT
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

DESK = [json.loads(line) for line in (ROOT / "samples" / "desk.jsonl").read_text().splitlines()]
LABELS = sorted({row["output"] for row in DESK if row["output"]})


def shares(bars: Locator, which: str) -> dict[str, float]:
    """What stands beside each label, in percent; "<0.1 %" counts as half of that."""
    names, texts = bars.locator("dt").all_text_contents(), bars.locator(which).all_text_contents()
    assert len(names) == len(texts) and all(re.fullmatch(r"(<0\.1|\d\.\d|\d{2,3})\u00a0%", text) for text in texts), texts
    return {name: 0.05 if text.startswith("<") else float(text.split("\u00a0")[0]) for name, text in zip(names, texts, strict=True)}


def test_calibrated_shares_stand_beside_the_raw_ones(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab")
    page.get_by_label("Instruction").fill("Which department is it for?")
    page.locator("#dataset").select_option(label="Support desk v1")
    expect(page.get_by_label("Input", exact=True)).not_to_have_value("")
    page.get_by_label("Input", exact=True).fill("Please take my name off the newsletter.")
    page.locator("#bars").check()
    alone = page.locator("[data-column]")
    set_parameter(alone, max_tokens="2")
    with page.expect_response("**/api/v1/likelihoods", timeout=180_000) as weighed:
        page.keyboard.press("Control+Enter")
    bars = part(alone, "bars")
    expect(bars.locator(":scope > dl dt")).to_have_count(5, timeout=60_000)
    bars.locator("summary").press("Enter")
    expect(bars.get_by_text("in grey, calibrated: without what the model favours anyway.")).to_be_visible()
    raw, even = shares(bars, ".num:not(.faint)"), shares(bars, ".num.faint")
    assert sorted(raw) == sorted(even) == LABELS
    for one in (raw, even):
        assert sum(one.values()) == pytest.approx(100, abs=3), "they are rounded where they stand"
    assert list(raw.values()) == sorted(raw.values(), reverse=True), "the order is that of the raw ones"
    assert max(abs(raw[label] - even[label]) for label in LABELS) > 1
    for one in weighed.value.json()["labels"]:
        assert even[one["label"]] == pytest.approx(100 * one["calibrated_share"], abs=0.51) and raw[one["label"]] == pytest.approx(100 * one["share"], abs=0.51)
    no_violations(page)
    page.locator("#bars").uncheck()


def test_an_answer_held_to_a_pattern_is_one_that_it_matches(page: Page) -> None:
    page.locator("#add-column").click()
    set_parameter(column(page, "A"), regex="[0-9]{3}-[A-Z]{2}", max_tokens="16", n="2", temperature="1.3", seed="4")
    set_parameter(column(page, "B"), max_tokens="16")
    expect(part(column(page, "A"), "changed")).to_contain_text("[0-9]{3}-[A-Z]{2}")
    page.get_by_label("Input", exact=True).focus()
    page.keyboard.press("Control+Shift+Enter")
    settled(page)
    held = part(column(page, "A"), "stream")
    expect(held).to_have_count(2)
    for text in held.all_inner_texts():
        assert re.fullmatch(r"[0-9]{3}-[A-Z]{2}", text)
    expect(part(column(page, "A"), "failure")).to_be_hidden()
    assert not re.search(r"^[0-9]{3}-[A-Z]{2}$", part(column(page, "B"), "stream").inner_text()), "nothing holds the column beside it"
    no_violations(page)


def drawn(page: Page, note: str) -> list[tuple[str, str]]:
    """The shots, inputs and outputs, once the note says how they were drawn."""
    expect(page.locator("#shots-note")).to_have_text(note)
    expect(page.locator("#why")).to_have_text("")
    found: list[list[str]] = page.eval_on_selector_all(
        "#shots > li", "all => all.map((one) => [...one.querySelectorAll('textarea')].map((area) => area.value))"
    )
    return [(given, wanted) for given, wanted in found]


def test_a_seed_draws_the_same_shots_and_another_one_others(page: Page) -> None:
    count = 2 * len(LABELS)
    page.locator("input[name=shots][value=n]").check(force=True)
    page.locator("#count").fill(str(count))
    page.locator("#count").press("Enter")
    seen = {0: drawn(page, f"{count} drawn, balanced, seed 0")}
    seed = page.locator("#draw-seed")
    for number in (7, 123456):
        seed.fill(str(number))
        seed.press("Tab")
        seen[number] = drawn(page, f"{count} drawn, balanced, seed {number}")
    assert len({tuple(shots) for shots in seen.values()}) == 3
    page.locator("#draw").press("Enter")
    expect(seed).to_have_value("123457")
    again = drawn(page, f"{count} drawn, balanced, seed 123457")
    assert again not in seen.values(), "drawn again, with the next seed"
    for number, shots in seen.items():
        seed.fill(str(number))
        seed.press("Tab")
        assert drawn(page, f"{count} drawn, balanced, seed {number}") == shots
    train, sealed = ({row["input"] for row in DESK if row["split"] == split} for split in ("train", "test"))
    for shots in (*seen.values(), again):
        assert Counter(output for _, output in shots) == dict.fromkeys(LABELS, 2), "every label as often as every other"
        inputs = {text for text, _ in shots}
        assert len(inputs) == count and inputs <= train and not inputs & (sealed - train)
    no_violations(page)
    page.locator("input[name=shots][value='0']").check(force=True)


ROWS = """input,region,output,split
Where is the fair?,south,open,validation
And the other?,north,closed,validation
Which came first?,south,open,train
Which came last?,north,closed,train
What is sealed?,north,open,test
"""


def told(page: Page, field: Locator, name: str) -> None:
    """A misspelt variable in a field is refused there, with the names that exist; a click puts the right one in."""
    expect(page.locator("#template-problem")).to_have_text(
        f"The prompt uses {{{name}}}, which the data does not have. Did you mean {{region}}? Available here: {{input}}, {{labels}}, {{region}}."
    )
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#why")).to_have_text("Mend the prompt first.")
    expect(page.locator("#run")).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Use {region}").press("Enter")
    expect(page.locator("#template-error")).to_be_hidden()
    expect(page.locator("#why")).to_have_text("")
    expect(field).to_have_value(re.compile(r"\{region\}"))


def test_prefixes_take_another_column_of_the_dataset(installation: Running, page: Page) -> None:
    file: FilePayload = {"name": "fairs.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}
    made = page.request.post(f"{address(installation)}/api/v1/datasets", multipart={"file": file, "name": "Fairs"}, headers={"Origin": address(installation)})
    assert made.ok, made.text()
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("Say whether it is open.")
    page.locator("#dataset").select_option(label="Fairs v1")
    expect(page.get_by_label("{region}", exact=True)).to_have_value("south")
    page.locator("#seen summary").press("Enter")
    seen = page.locator("#seen-text")
    for label, text in (("Input prefix", "From the {regoin}:"), ("Output prefix", "Open in the {Region}?")):
        field = page.get_by_label(label)
        field.fill(text)
        told(page, field, text.split("{")[1].split("}")[0])
        no_violations(page)
    expect(seen).to_contain_text("From the south: Where is the fair?")
    expect(seen).to_contain_text("Open in the south?")
    page.locator("#row-next").click()
    expect(seen).to_contain_text("From the north: And the other?")
    expect(seen).to_contain_text("Open in the north?")
    page.get_by_label("{region}", exact=True).fill("far west")
    expect(seen).to_contain_text("From the far west: And the other?")
    assert "{region}" not in seen.inner_text()


def test_a_freeform_text_and_a_turn_of_a_chat_take_it_too(page: Page) -> None:
    page.get_by_role("radio", name="Freeform").check(force=True)
    text, seen = page.locator("#text"), page.locator("#seen-text")
    expect(text).to_have_value(re.compile(r"From the \{region\}: \{input\}"))
    text.fill("In the {regions}, is it open? {input}")
    told(page, text, "regions")
    expect(seen).to_have_text(re.compile(r"^In the far west, is it open\? And the other\?"))
    page.get_by_role("radio", name="Chat").check(force=True)
    turns = page.locator("#turns [data-turn=content]")
    expect(turns).not_to_have_count(0)
    turns.last.fill("For the {regio}: {input}")
    told(page, turns.last, "regio")
    expect(seen).to_contain_text("For the far west: And the other?")
    no_violations(page)
    page.locator("#row-previous").click()
    expect(seen).to_contain_text("For the south: Where is the fair?")


def test_what_the_model_is_sent_is_what_was_shown(installation: Running, page: Page) -> None:
    """The notebook has the request as it went out: the value that stood there, and not a name in braces."""
    set_parameter(page.locator("[data-column]"), max_tokens="2")
    page.keyboard.press("Control+Enter")
    settled(page)
    counts = part(page, "counts").first
    expect(counts).to_contain_text("tokens read")
    read = re.search(r"([\d,]+) tokens read", counts.inner_text())
    assert read is not None
    expect(page.locator("#tokens")).to_contain_text(f"= {read[1]} of")
    page.goto(f"{address(installation)}/lab/notebook")
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("Where is the fair?")
    page.locator("tbody tr a").first.click()
    expect(page.locator("#turns [data-turn=content]").last).to_have_value("For the {region}: {input}")
    expect(page.get_by_label("{region}", exact=True)).to_have_value("south")


def answered(page: Page, **typed: str) -> str:
    """What the only column answers with these parameters, and with no others but 40 tokens at most."""
    drawer = part(page.locator("[data-column]"), "parameters")
    drawer.locator("summary").click()
    drawer.get_by_role("button", name="Reset all").click()
    drawer.locator("summary").click()
    set_parameter(page.locator("[data-column]"), max_tokens="40", **typed)
    page.keyboard.press("Control+Enter")
    settled(page)
    expect(part(page, "counts").first).to_contain_text("tokens read")
    return (part(page, "stream").first.text_content() or "").strip()


def test_parameters_that_are_typed_change_what_is_written(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    page.get_by_label("Instruction").fill("Say what the message is about.")
    page.get_by_label("Input", exact=True).fill("My parcel has not arrived.")
    greedy = answered(page)
    assert len(greedy.split()) > 6
    assert answered(page, temperature="2", top_k="1") == greedy, "only the likeliest token can be drawn"
    sampled = answered(page, temperature="2", seed="7")
    assert sampled != greedy
    assert answered(page, temperature="2", seed="8") != sampled
    assert answered(page, temperature="2", seed="7") == sampled, "the same seed, the same answer"
    word = greedy.split()[4]
    assert answered(page, stop=word) == greedy[: greedy.index(word)].strip() != ""
    expect(part(page, "counts").first).to_contain_text("stopped by itself")
    for penalty in ("repetition_penalty", "frequency_penalty", "presence_penalty"):
        assert answered(page, **{penalty: "1.9"}) != greedy, penalty


def test_a_number_outside_its_range_is_told_beside_run(page: Page) -> None:
    drawer = part(page.locator("[data-column]"), "parameters")
    drawer.locator("summary").click()
    heat = drawer.get_by_label("Temperature", exact=True)
    heat.fill("9")
    expect(page.locator("#why")).to_have_text(re.compile(r"^Temperature: .*\b5\b"))
    expect(page.locator("#run")).to_have_attribute("aria-disabled", "true")
    no_violations(page)
    before = part(page, "counts").first.inner_text()
    page.keyboard.press("Control+Enter")
    expect(part(page, "counts").first).to_have_text(before)
    heat.fill("0.9")
    expect(page.locator("#why")).to_have_text("")
    expect(page.locator("#run")).not_to_have_attribute("aria-disabled", "true")
