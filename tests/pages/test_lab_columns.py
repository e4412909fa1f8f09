"""The Lab's columns: the page's own requests. What the browser does with them is in tests/browser/test_columns.py."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import queue
from app.db import transaction
from app.domain.access import Who
from app.domain.fitting import POLICIES
from app.domain.generation import ENGINE_CHANNEL
from app.domain.prompt import PromptVersion
from app.services import endpoints, jobs, marks, prompts
from tests.dom import Dom, get
from tests.rows import add_dataset, add_model, add_rows, answer_evaluation, claim, make_fit

WORDS: dict[str, Any] = {
    "defaults": {},
    "mode": "structured",
    "instruction": "Answer billing or delivery.",
    "input_prefix": "Input:",
    "output_prefix": "Output:",
    "shots": [],
}


@pytest.fixture
def routing(person: Who) -> PromptVersion:
    return prompts.create(person, "Routing", WORDS)


def wanted(model: int, **more: Any) -> dict[str, Any]:
    return {"columns": [{"model": model, "prompt": WORDS, "parameters": {}}], "dataset": "1@1", **more}


def test_a_column_offers_every_saved_version_and_no_id_stands_twice(browser: TestClient, person: Who, routing: PromptVersion) -> None:
    prompts.add_version(person, routing.prompt_id, {**WORDS, "instruction": "Shorter."})
    prompts.create(person, "Other", WORDS)
    page = get(browser, "/lab")
    assert page.texts("[data-part=prompt] option") == ["The editor's prompt", "Other v1", "Routing v2", "Routing v1"]
    ids = [element.get("id") for element in page.all("[id]")]
    assert len(ids) == len(set(ids)) and all(element.get("id").startswith("c1-") for element in page.all("[data-column] [id]"))


def test_rows_are_drawn_by_seed_and_never_from_test(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    rows = browser.get("/lab/rows?dataset=1@1&split=validation&count=4&seed=3").json()["rows"]
    assert len(rows) == 4 and all(
        row["values"]["input"] == f"validation message {row['row'] - 1} about {'my bill' if row['gold']['text'] == 'billing' else 'my parcel'}" for row in rows
    )
    assert all(row["gold"] == {"text": row["gold"]["text"], "dataset": "1@1", "split": "validation", "place": row["row"] - 1} for row in rows)
    assert browser.get("/lab/rows?dataset=1@1&split=validation&count=4&seed=3").json()["rows"] == rows
    assert browser.get("/lab/rows?dataset=1@1&split=validation&count=4&seed=4").json()["rows"] != rows
    assert [row["row"] for row in browser.get("/lab/rows?dataset=1@1&split=validation&count=50").json()["rows"]] == list(range(1, 11))
    assert browser.get("/lab/rows?dataset=1@1&split=test&count=2").status_code == 403
    assert browser.get("/lab/rows?dataset=1@1&split=train&count=101").status_code == 422


LABELS = {"a": "Refund", "b": "refund", "c": "delivery"}
JUDGED: dict[str, tuple[dict[str, str], str, dict[str, bool]]] = {
    "labels, strictly first": (LABELS, "a", {"Refund": True, "refund": False, "Refund\nfor the bill": True, "other": False, "REFUND": False}),
    "labels, whatever the case where one is meant": (LABELS, "c", {"DELIVERY": True, "deliver": False, "": False}),
    "text of several lines": (
        {"a": "Paris\nFrance", "b": "Rome", "c": "Rome, or\nMilan"},
        "a",
        {"Paris\nFrance": True, " Paris \n France\n": True, "Paris": False},
    ),
    "text of one line": ({"a": "Paris\nFrance", "b": "Rome", "c": "a\nb"}, "b", {"Rome": True, "Rome\nand more": False, "rome": False}),
    "JSON by field": (
        {"a": '{"city": "Rome", "n": 1}', "b": '{"city": "Oslo", "n": 2}', "c": '{"city": "Oslo", "n": 3}'},
        "a",
        {'{\n  "n": 1.0,\n  "city": "Rome"\n}': True, '{"city": "Rome", "n": 2}': False, "Rome": False},
    ),
    "numbers": ({"a": "1200", "b": "7", "c": "8"}, "a", {"1,200": True, "1200.0\nor so": True, "12": False}),
}


@pytest.mark.parametrize("case", JUDGED.values(), ids=JUDGED)
def test_answers_are_judged_as_an_evaluation_judges_them(browser: TestClient, person: Who, case: tuple[dict[str, str], str, dict[str, bool]]) -> None:
    golds, asked, texts = case
    splits = ("train", "validation") if golds is LABELS else ("validation",)  # what is not said twice is no label
    add_rows(person, "task", [(text, gold, split) for split in splits for text, gold in golds.items()])
    place = list(golds).index(asked)
    gold = browser.get(f"/lab/row?dataset=1@1&split=validation&offset={place}").json()["gold"]
    assert gold["text"] == golds[asked]
    rows = [{**gold, "texts": [text]} for text in texts]
    assert browser.post("/lab/judge", json={"rows": rows}).json()["judged"] == [[right] for right in texts.values()]


def test_what_cannot_be_judged_is_not(browser: TestClient, person: Who) -> None:
    add_rows(person, "task", [("a message", "billing", "train"), ("another", None, "train"), ("sealed", "billing", "test")])
    asked = [
        {"dataset": "1@1", "split": split, "place": place, "texts": ["billing"]} for split, place in (("train", 0), ("train", 1), ("train", 9), ("test", 0))
    ]
    rows = [*asked, {**asked[0], "dataset": "9@1"}]
    assert browser.post("/lab/judge", json={"rows": rows}).json()["judged"] == [[True], None, None, None, None]
    showing = prompts.create(person, "Showing", {**WORDS, "shots": [{"input": "a message", "output": "billing"}]})
    other = prompts.create(person, "Other", {**WORDS, "shots": [{"input": "a message", "output": "delivery"}]})
    rows = [{**asked[0], "prompt_version": version.reference} for version in (showing, other)]
    assert browser.post("/lab/judge", json={"rows": rows}).json()["judged"] == ["shown", [True]]


def test_the_page_hears_at_once_whether_an_engine_listens(browser: TestClient, broker: str) -> None:
    queue._redis.cache_clear()
    assert browser.get("/lab/engine").json() == {"engine": False}
    line = queue._redis().pubsub()  # type: ignore[no-untyped-call]
    line.subscribe(ENGINE_CHANNEL)
    line.get_message(timeout=5)
    assert browser.get("/lab/engine").json() == {"engine": True}
    line.close()
    assert browser.get("/lab/engine").json() == {"engine": False}


def test_a_plan_says_what_a_test_takes_and_a_start_makes_a_version_and_a_chip(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    model = add_model(person)
    plan = Dom(browser.post("/lab/test/plan", json=wanted(model, limit=4)).text)
    assert plan.one("[data-plan]").get("data-ok") and plan.texts("tbody td.num") == ["4", "not known not measured yet: this run will tell", "none"]
    assert "“Lab draft for tickets”" in plan.text("tbody") and "1 evaluation, 4 answers" in plan.text("strong")
    assert "nearest" not in plan.text("[data-plan]") and "nearest to this one input" in browser.post("/lab/test/plan", json=wanted(model, nearest=True)).text
    done = browser.post("/lab/test", json=wanted(model, limit=4)).json()
    assert done["opened"] == {"id": 1, "name": "Lab draft for tickets", "version": 1, "reference": "1@1"}
    chips = Dom(browser.get(f"/lab/tests?job={done['jobs'][0]}").text)
    assert (
        chips.href("a") == f"/jobs/{done['jobs'][0]}"
        and chips.text("a") == "queued Starter · Lab draft for tickets v1"
        and chips.one("a").get("data-over") is None
    )


def test_a_chip_with_a_score_counts_the_rows_that_were_made_to_fit(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    (job,) = browser.post("/lab/test", json=wanted(add_model(person))).json()["jobs"]
    with transaction() as session:
        claimed = claim(session)
    answer_evaluation(claimed, 20)
    chip = Dom(browser.get(f"/lab/tests?job={job}").text)
    assert "0." in chip.text("a b") and "made to fit" not in chip.text("a")
    make_fit(2)
    assert Dom(browser.get(f"/lab/tests?job={job}").text).text("a .faint").endswith("], 2 made to fit")


def test_a_test_of_an_older_versions_draft_is_told_the_newer_one(browser: TestClient, person: Who, routing: PromptVersion) -> None:
    add_dataset(person)
    body = wanted(add_model(person)) | {"under": routing.prompt_id, "based_on": routing.number}
    body["columns"][0]["prompt"] = {**WORDS, "instruction": "Mine."}
    newer = prompts.add_version(person, routing.prompt_id, {"instruction": "Theirs."})
    told = browser.post("/lab/test", json=body)
    assert told.status_code == 409 and told.json()["error"]["newest"]["version"] == newer.number and told.json()["error"]["newest"]["instruction"] == "Theirs."
    assert browser.post("/lab/test", json={**body, "based_on": newer.number}).json()["opened"]["version"] == newer.number + 1
    variant = {**body, "columns": [*body["columns"], {"model": 1, "prompt_version": routing.reference, "parameters": {"temperature": 0.5}}]}
    plan = Dom(browser.post("/lab/test/plan", json=variant).text)
    assert "Routing as it is changed here, kept under “Lab variants for tickets”" in plan.text("tbody")


def test_how_rows_fit_stands_in_the_dialog_and_what_is_done_about_it_is_chosen_there(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny"], windows={"tiny": {"tokens": 90}})
    assert [option.get("value") for option in get(browser, "/lab").all("#test-dialog #test-fit option")] == list(POLICIES)
    body = wanted(there.models[0].id)
    body["columns"].append({"model": add_model(person), "prompt": WORDS, "parameters": {}})
    plan = Dom(browser.post("/lab/test/plan", json=body).text)
    assert plan.texts("[data-fit]") == ["Looking whether the rows fit…"] * 2
    assert plan.one("[data-refuses]").get("hidden") is not None and "“refuse to run”" in plan.text("[data-refuses]")
    remote, local = browser.post("/lab/test/fit", json=body).json()["fits"]
    assert remote["too_long"] == 10 and "10 of 10 rows do not fit (shots + input + answer) in the 90 tokens of there/tiny" in remote["sentence"]
    assert local["too_long"] is None and "not known yet: The engine process is not running" in local["sentence"]
    few, _ = browser.post("/lab/test/fit", json={**body, "limit": 2}).json()["fits"]
    assert few["too_long"] == 2 and few["sentence"].startswith("2 of 2 rows do not fit"), "of those that the test takes"
    started = browser.post("/lab/test", json={**body, "fit": "cut_tail"}).json()["jobs"]
    assert [jobs.find(person, job).job.settings["fit"] for job in started] == ["cut_tail", "cut_tail"]
    assert browser.post("/lab/test", json={**body, "fit": "squeeze"}).status_code == 422


def test_what_cannot_be_tested_says_why(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    bad = wanted(add_model(person))
    bad["columns"][0]["prompt"] = {**WORDS, "instruction": "Be {tone}."}
    plan = Dom(browser.post("/lab/test/plan", json=bad).text)
    assert not plan.one("[data-plan]").get("data-ok") and "{tone}" in plan.text(".error")
    refused = browser.post("/lab/test", json=bad)
    assert refused.status_code == 422 and "{tone}" in refused.json()["error"]["message"], "the page's script says it in a toast"
    assert browser.post("/lab/test/plan", json={**bad, "split": "test"}).status_code == 422


def test_marked_answers_are_listed_with_what_was_asked(browser: TestClient, person: Who, routing: PromptVersion) -> None:
    assert "No answer is marked yet" in get(browser, "/lab/marks").text(".empty")
    model = add_model(person)
    about: dict[str, Any] = {
        "model": model,
        "prompt": None,
        "parameters": None,
        "prompt_version": routing.reference,
        "variables": {"input": "Where is <b>it</b>?"},
    }
    for number in range(51):
        marks.put(person, **about, text=f"answer {number}", thumb="up" if number % 2 else "down", note="<i>why</i>")
    page = get(browser, "/lab/marks")
    assert len(page.all("tbody tr")) == 50 and page.texts("tbody th .clip")[0] == "answer 50" and not page.all("tbody b, tbody i")
    assert "Routing v1, by Ada" in page.text("tbody tr:first-child .full") and "bad" in page.text("tbody tr:first-child .end")
    assert get(browser, page.href("a[rel=next]")).texts("tbody th .clip") == ["answer 0"]
