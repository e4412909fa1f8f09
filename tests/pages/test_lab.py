"""The Lab's page and its own requests. What the browser does with them is in tests/browser."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who, installation
from app.domain.dataset import Dataset
from app.domain.generation import Parameters
from app.domain.prompt import PromptVersion
from app.domain.rendering import Shot, Template, sections
from app.pages.lab import ORDER, listed
from app.services import pasted, prompts
from tests.dom import Dom, get
from tests.rows import add_dataset, add_model

ROUTING: dict[str, Any] = {
    "instruction": "Name the department.",
    "input_prefix": "Message:",
    "output_prefix": "Department:",
    "shots": [{"input": "Where is my box?", "output": "delivery"}],
    "parameters": {"temperature": 0.5, "stop": ["\n", "END"]},
}


@pytest.fixture
def routing(person: Who) -> PromptVersion:
    return prompts.create(person, "Routing", ROUTING)


def given(page: Dom) -> dict[str, Any]:
    """What the page hands to its script."""
    values: dict[str, Any] = json.loads(page.one("#lab-given").text_content())
    return values


def preview(browser: TestClient, prompt: dict[str, Any], **variables: str) -> Dom:
    response = browser.post("/lab/preview", json={"prompt": prompt, "variables": variables})
    assert response.status_code == 200, response.text
    return Dom(response.text)


def test_an_empty_lab_offers_three_starters_and_says_why_it_cannot_run(browser: TestClient) -> None:
    page = get(browser, "/lab")
    assert page.texts("#starters > ul li > :first-child") == ["An empty prompt", "My dataset", "Paste JSON"]
    assert page.text("[data-part=model] option") == "No model yet" and page.one("#run").get("aria-describedby") == "why"
    assert page.one("#input_prefix").get("value") == "Input:" and not page.all("#shots li")
    assert given(page) == {
        "prompt": None,
        "explicit": False,
        "variables": None,
        "model": None,
        "dataset": None,
        "engine": False,
        "defaults": {},
        "ticket": None,
        "weighed": False,
    }
    assert "fettle engine" in page.text("#away")


def test_the_samples_are_offered_with_the_dataset_they_were_written_for(browser: TestClient) -> None:
    with transaction() as session:
        house = installation(session)
    version = add_dataset(house, "desk")
    with transaction() as session:
        session.get_one(Dataset, version.dataset_id).source = "sample"
    prompts.create(house, "Desk routing", ROUTING)
    links = get(browser, "/lab").all("#starters > ul a")
    assert [(link.text, link.get("href")) for link in links] == [("Desk routing", "/lab?prompt=1@1&dataset=1@1"), ("My dataset", "/datasets/new")]


def test_a_saved_prompt_opens_with_its_shots_and_parameters(browser: TestClient, routing: PromptVersion) -> None:
    prompts.add_version(Who(None, routing.workspace_id, "", "member"), routing.prompt_id, {**ROUTING, "instruction": "Name it."})
    page = get(browser, "/lab?prompt=1@1")
    assert page.text("#prompt-name") == "Routing v1" and page.text("#instruction") == "Name the department."
    assert [area.text.lstrip("\n") for area in page.all("#shots textarea")] == ["Where is my box?", "delivery"]
    assert page.one("#c1-temperature").get("value") == "0.5" and page.one("#c1-stop").text == "\n\\n\nEND"
    assert given(page)["prompt"] == {"id": 1, "name": "Routing", "version": 1, "reference": "1@1"} and given(page)["explicit"]
    assert [link.get("href") for link in page.all("#saved-menu a[href*='prompt=']")] == ["/lab?prompt=1@2", "/lab?prompt=1@1", "/lab?prompt=1@2"]
    assert page.one("#saved-menu [aria-current]").get("href") == "/lab?prompt=1@1"
    assert page.one("#saved-menu [data-link]").get("data-link").endswith("/lab?prompt=1@1")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"mode": "freeform", "text": "Say {input} {tone}", "defaults": {"tone": "now"}}, "#text"),
        ({"mode": "chat", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say {input}"}]}, "#turns"),
        (ROUTING, "#instruction"),
    ],
    ids=["freeform", "chat", "structured"],
)
def test_a_prompt_of_any_mode_opens_in_it(browser: TestClient, person: Who, fields: dict[str, Any], shown: str) -> None:
    prompts.create(person, "Any", fields)
    page = get(browser, "/lab?prompt=1")
    mode = fields.get("mode", "structured")
    assert page.one("input[name=mode][checked]").get("value") == mode
    assert [part.get("data-mode") for part in page.all("#lab [data-mode]") if part.get("hidden") is None] == [mode] and page.all(f"[data-mode={mode}] {shown}")
    assert [link.get("href") for link in page.all("#saved-menu a[href*='prompt=']")] == ["/lab?prompt=1@1"]
    assert [one.text.strip("\n") for one in page.all("#turns textarea")] == [turn["content"] for turn in fields.get("messages", [])]
    assert page.one("#text").text.strip("\n") == fields.get("text", "")
    assert given(page)["defaults"] == fields.get("defaults", {})
    get(browser, "/lab?prompt=9", 404)


def test_every_parameter_is_there_with_the_meaning_and_range_the_api_checks(browser: TestClient) -> None:
    page = get(browser, "/lab")
    assert set(ORDER) == set(Parameters.model_fields)
    for name, field in Parameters.model_fields.items():
        assert str(field.description) in page.text(f"#c1-{name}-help"), name
    heat, tokens = page.one("#c1-temperature"), page.one("#c1-max_tokens")
    assert (heat.get("min"), heat.get("max"), heat.get("placeholder")) == ("0.0", "5.0", "0")
    assert page.text("#c1-max_tokens-help").endswith("1 to 4,096; 64 unless set.") and tokens.get("step") == "1"
    assert page.text("#c1-seed-help").endswith("0 or more.") and page.one("#c1-seed").get("max") is None


LISTS = [["\n"], ["a\nb", "c\td"], [" "], [], ["[]"], ["\\[]"], ["[]", "x"], ["C:\\new", "\\d+", "a\\"], ["\r\n"]]
"""Stop sequences that have to come back as they were; tests/browser/test_columns.py reads what `listed` writes."""


@pytest.mark.parametrize("texts", LISTS, ids=repr)
def test_stop_sequences_stand_in_the_drawer_as_they_were_saved(browser: TestClient, person: Who, texts: list[str]) -> None:
    prompts.create(person, "Stopping", {**ROUTING, "parameters": {"stop": texts}})
    area = get(browser, "/lab?prompt=1@1").one("#c1-stop").text_content().removeprefix("\n")
    assert area == listed(texts) and len(area.split("\n")) == max(1, len(texts)) and area.strip("\n")


def test_rows_come_from_validation_and_train_and_never_from_test(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    page = get(browser, "/lab?dataset=1")
    option = page.all("#dataset option")[1]
    assert json.loads(option.get("data-splits")) == [["validation", 10], ["train", 20]] and given(page)["dataset"] == "1@1"
    row = browser.get("/api/v1/datasets/1@1/examples?split=validation&offset=3&limit=1").json()["items"][0]
    assert (row["input"], row["output"]) == ("validation message 3 about my parcel", "delivery")
    assert browser.get("/api/v1/datasets/1@1/examples?split=test&offset=0&limit=1").status_code == 403


def test_a_first_prompt_for_a_dataset_names_its_labels_and_shows_some_rows(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    assert get(browser, "/lab").all("#starters > ul a")[-1].get("href") == "/lab?start=1@1"
    page = get(browser, "/lab?start=1@1")
    assert page.text("#instruction") == "Answer with one of: {labels}." and len(page.all("#shots li")) == 4
    assert given(page)["dataset"] == "1@1" and given(page)["explicit"]


def test_shots_are_drawn_from_train_balanced_and_by_seed(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    draw = browser.get("/lab/shots?dataset=1@1&count=4&seed=3").json()["shots"]
    rows = browser.get("/api/v1/datasets/1@1/examples?split=train&limit=100").json()["items"]
    assert all(rows[shot["row"] - 1]["input"] == shot["input"] for shot in draw)
    assert sorted(shot["output"] for shot in draw) == ["billing", "billing", "delivery", "delivery"]
    assert all(shot["input"].startswith("train message") for shot in draw)
    assert browser.get("/lab/shots?dataset=1@1&count=4&seed=3").json()["shots"] == draw != browser.get("/lab/shots?dataset=1@1&count=4&seed=4").json()["shots"]
    refused = browser.get("/lab/shots?dataset=1@1&count=100", headers={"HX-Request": "true"})
    assert refused.status_code == 422 and "the train split has 20" in Dom(refused.text).text("[role=alert] .message")
    told = browser.post("/lab/shots", json={"dataset": "1@1", "count": 100, "selection": "balanced"})
    assert told.status_code == 200 and "the train split has 20" in Dom(told.text).text("[role=alert] .message")


def test_the_preview_shows_what_the_model_reads_with_invisible_characters_marked(browser: TestClient) -> None:
    part = preview(browser, ROUTING, input="two  spaces\tand a tab")
    text = part.one("#seen-text").text_content()
    assert text == "Name the department.\n\nMessage: Where is my box?\nDepartment: delivery\n\nMessage: two  spaces\tand a tab\nDepartment:"
    assert [one.get("data-name") for one in part.all(".begins")] == ["instruction", "shot 1", "input"]
    assert [one.get("data-ws") for one in part.all(".cell")[-1].cssselect("i")] == ["·", "·", "⇥"]
    assert part.texts(".help code") == ["↵Message:"]
    assert set(json.loads(part.one("[data-preview]").get("data-sections"))) == {"instruction", "shot 1", "input"}


def test_an_unknown_variable_is_no_failed_request_and_names_those_that_exist(browser: TestClient) -> None:
    part = preview(browser, {**ROUTING, "instruction": "Use {tone} and {{braces}}."}, input="x", product="lamp")
    told = part.one("[data-preview]")
    assert "{tone}" in told.get("data-problem") and told.get("data-advice") == "Available here: {input}, {product}."
    assert "braces" not in told.get("data-problem") and not part.all("#seen-text")


def test_html_in_a_cell_stays_text(browser: TestClient) -> None:
    part = preview(browser, ROUTING, input="<img src=x onerror=alert(1)>")
    assert not part.all("img") and "<img src=x" in part.one("#seen-text").text_content()


def test_generation_without_an_engine_says_how_to_start_it(browser: TestClient, person: Who) -> None:
    response = browser.post("/api/v1/generate", json={"model": add_model(person), "prompt": ROUTING, "variables": {"input": "x"}, "stream": True})
    error = response.json()["error"]
    assert response.status_code == 503 and error["code"] == "engine_away" and "`fettle engine`" in error["advice"]


def test_saving_makes_a_version_and_the_menu_lists_it(browser: TestClient, routing: PromptVersion) -> None:
    saved = browser.post(f"/api/v1/prompts/{routing.prompt_id}/versions", json={**ROUTING, "instruction": "Shorter."})
    assert saved.json() == {"id": 1, "version": 2}
    menu = Dom(browser.get("/lab/prompts?prompt=1@2").text)
    assert menu.texts("a[href*='prompt='] > span:first-child") == ["version 2", "version 1", "Routing v2"]


def test_sections_name_every_part_whatever_is_empty() -> None:
    shots = (Shot("", ""), Shot("a\nb", "c"))
    for template in (Template("structured", "Do {input}", "", "", shots), Template(instruction="  ", shots=shots), Template("freeform", text="Say {input}!")):
        named = sections(template, {"input": "x"})
        assert named[-1] == ("text" if template.mode == "freeform" else "input")
        assert "instruction" not in named or template.instruction.strip()


def test_the_nearest_shots_are_like_the_input_and_say_when_none_is(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    found = browser.post("/lab/shots", json={"dataset": "1@1", "count": 3, "selection": "nearest", "input": "message 7 about my bill"}).json()
    assert found["shots"][-1]["input"] == "train message 7 about my parcel" or "7" in found["shots"][-1]["input"].split()
    assert found["note"] == "" and all(shot["input"].startswith("train message") for shot in found["shots"])
    odd = browser.post("/lab/shots", json={"dataset": "1@1", "count": 2, "selection": "nearest", "input": "😀"}).json()
    assert len(odd["shots"]) == 2 and "No train row has a word in common" in odd["note"]
    diverse = browser.get("/lab/shots?dataset=1@1&count=4&seed=3&selection=diverse").json()["shots"]
    assert len({shot["input"] for shot in diverse}) == 4 and all(shot["input"].startswith("train message") for shot in diverse)


def test_shots_are_picked_from_the_train_split_by_words(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    rows = browser.get("/lab/shots/search?dataset=1@1&q=PARCEL 1").json()["rows"]
    assert rows and all("parcel" in row["input"] and row["output"] == "delivery" and row["row"] <= 20 for row in rows)
    assert len(browser.get("/lab/shots/search?dataset=1@1").json()["rows"]) == 20, "without words the first rows"
    assert browser.get("/lab/shots/search?dataset=1@1&q=validation").json() == {"rows": []}, "no other split is read"


@pytest.mark.parametrize("fields", [ROUTING, {"mode": "freeform", "text": "{input}"}, {"mode": "chat", "messages": [{"role": "user", "content": "Hi {{x}}"}]}])
def test_a_prompt_is_turned_into_another_mode_and_back(browser: TestClient, fields: dict[str, Any]) -> None:
    mode = fields.get("mode", "structured")
    for other in ("structured", "freeform", "chat"):
        there = browser.post("/lab/convert", json={"prompt": fields, "mode": other, "base": None}).json()
        back = browser.post("/lab/convert", json={"prompt": there["fields"], "mode": mode, "base": fields}).json()
        assert there["fields"]["mode"] == other and back["fields"]["mode"] == mode
        assert (there["input"] == "Hi {x}") == (mode == "chat" and other == "structured")
    refused = browser.post("/lab/convert", json={"prompt": fields, "mode": "verse"})
    assert refused.status_code == 422


def test_a_misspelt_variable_proposes_the_one_that_was_meant(browser: TestClient) -> None:
    part = preview(browser, {"mode": "chat", "messages": [{"role": "user", "content": "{inptu} {toone} {zzz}"}], "defaults": {"tone": ""}}, input="x")
    told = part.one("[data-preview]")
    assert json.loads(told.get("data-unknown")) == [{"name": "inptu", "meant": "input"}, {"name": "toone", "meant": "tone"}, {"name": "zzz", "meant": None}]
    assert told.get("data-advice").startswith("Did you mean {input} and {tone}? Available here: {input}, {tone}.")
    lacking = preview(browser, {"mode": "freeform", "text": "{tone}", "defaults": {"tone": ""}}).one("[data-preview]")
    assert json.loads(lacking.get("data-unknown")) == [] and "no default" in lacking.get("data-problem")
    filled = preview(browser, {"mode": "freeform", "text": "{tone}", "defaults": {"tone": "warm"}})
    assert filled.one("#seen-text").text_content() == "warm" and json.loads(filled.one("[data-preview]").get("data-read")) == ["tone"]


def test_a_chat_is_shown_turn_by_turn_and_its_tokens_only_by_an_engine(browser: TestClient, person: Who) -> None:
    chat = {"mode": "chat", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say {input}"}]}
    part = preview(browser, chat, input="it")
    assert [one.get("data-name") for one in part.all(".begins")] == ["turn 1", "turn 2"] and part.one("#seen-text").text_content() == "Be brief.Say it"
    bare = browser.post("/lab/preview", json={"prompt": chat, "variables": {"input": "it"}, "text": False})
    assert not Dom(bare.text).all("#seen-text") and json.loads(Dom(bare.text).one("[data-preview]").get("data-sections")) == ["turn 1", "turn 2", "turn 2"]
    seen = Dom(browser.post("/lab/seen", json={"prompt": chat, "variables": {"input": "it"}, "model": add_model(person)}).text)
    assert "engine process is not running" in seen.one("[data-seen]").get("data-problem") and not seen.all("#seen-text")


@pytest.mark.parametrize(
    ("text", "fields", "given_input"),
    [
        (
            {
                "prompt": {
                    "data": {"instruction": "Sort.", "input_prefix": "In:", "output_prefix": "Out:", "examples": [["a", "b"]]},
                    "input": [["c", ""]],
                    "model_parameters": {"decoding_method": "greedy", "max_new_tokens": 9, "stop_sequences": ["\n"], "time_limit": 5},
                }
            },
            {
                "instruction": "Sort.",
                "input_prefix": "In:",
                "output_prefix": "Out:",
                "shots": [{"input": "a", "output": "b"}],
                "parameters": {"max_tokens": 9, "stop": ["\n"]},
            },
            "c",
        ),
        (
            {
                "model": "m",
                "temperature": 0.2,
                "stop": "END",
                "messages": [
                    {"role": "system", "content": "Be {brief}."},
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "content": "a1"},
                    {"role": "user", "content": [{"type": "text", "text": "q2"}]},
                ],
            },
            {
                "mode": "chat",
                "messages": [
                    {"role": "system", "content": "Be {{brief}}."},
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "content": "a1"},
                    {"role": "user", "content": "q2"},
                ],
                "parameters": {"temperature": 0.2, "stop": ["END"]},
            },
            "",
        ),
    ],
    ids=["watsonx", "openai"],
)
def test_a_prompt_from_elsewhere_is_read(text: dict[str, Any], fields: dict[str, Any], given_input: str) -> None:
    found = pasted.read(json.dumps(text))
    assert {name: found["fields"][name] for name in fields} == fields and found["input"] == given_input


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"messages": [{"role": "tool", "content": "x"}]}', "unknown_role"),
        ("{", "not_json"),
        ("[]", "unknown_shape"),
        ('{"prompt": "plain"}', "unknown_shape"),
        ('{"messages": [], "temperature": 99}', "bad_parameter"),
    ],
)
def test_what_is_no_prompt_is_refused_with_advice(browser: TestClient, text: str, code: str) -> None:
    response = browser.post("/lab/paste", json={"text": text}, headers={"HX-Request": "true"})
    assert response.status_code == 200 and Dom(response.text).text("[role=alert] code.code-name") == code, (
        "a page's script reads it, and Chromium counts no failed request"
    )
