"""The health of a dataset on its page: cards by harm, the rows behind them, a remedy that makes the next version."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who
from app.domain.chore import Chore
from app.services import appending, datasets, health, imports
from tests.dom import Dom, get
from tests.rows import add_dataset
from tests.unhealthy import add, sick, text


def test_the_page_waits_for_the_cards_and_then_has_them(browser: TestClient, person: Who) -> None:
    sick(person)
    first = get(browser, "/datasets/1")
    assert first.one("#health [hx-get]").get("hx-get") == "/datasets/1@1/health" and not first.all(".finding")
    part = Dom(browser.get("/datasets/1@1/health").text)
    hurting = ["Leakage between splits", "Near-duplicates across splits", "Labels that test never shows", "Labels that look alike"]
    titles = [*hurting, "Duplicates", "Near-duplicates", "Markers of missing values"]
    assert part.texts(".finding h3") == titles
    again = get(browser, "/datasets/1")
    assert again.texts(".finding h3") == titles and not again.all("#health [hx-get]")
    assert "16 other checks found nothing" in again.text(".fine summary") and "no text with two labels" in again.text(".fine p")
    assert again.texts(".finding:first-child .finding-rows li") == [f"{text(8)} a, train"]
    assert again.text(".finding:first-child .finding-act p") == "train 46 → 45" and again.text(".finding:first-child button") == "Drop 1 row…"
    assert again.text(".finding:nth-child(4) button") == "Merge labels of 5 rows…" and "labels 4 → 3" in again.text(".finding:nth-child(4) .finding-act p")


def test_the_cards_of_a_long_version_say_how_far_they_are_and_what_went_wrong(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "AT_ONCE", 10)
    sick(person)
    browser.get("/datasets/1@1/health")
    chore: dict[Any, Any] = {"state": "running", "total": 100, "done": 37, "lease_until": 1 << 60}
    with transaction() as session:
        session.query(Chore).update(chore)
    part = Dom(browser.get("/datasets/1@1/health").text)
    assert "37 %" in part.text("[hx-get]") and part.one("progress").get("value") == "37.0"
    assert browser.get("/api/v1/datasets/1/health").json() == {"items": None, "next": None, "share": 0.37, "error": None}
    error = {"code": "cut_off", "message": "It was cut off 5 times.", "advice": "Ask for it again."}
    with transaction() as session:
        session.query(Chore).update({"state": "failed", "error": error})
    part = Dom(browser.get("/datasets/1@1/health").text)
    assert "It was cut off 5 times." in part.text("p") and not part.all("[hx-get]") and part.text("button") == "Look again"
    assert browser.get("/api/v1/datasets/1/health").json()["error"] == error
    assert browser.post(part.one("form").get("action") or "").status_code == 303
    assert "0 %" in Dom(browser.get("/datasets/1@1/health").text).text("[hx-get]")


def test_a_remedy_leads_to_the_next_version(browser: TestClient, person: Who) -> None:
    sick(person)
    answer = browser.post("/datasets/1@1/health/leakage")
    assert answer.status_code == 303 and answer.headers["location"] == "/datasets/1#health"
    page = get(browser, "/datasets/1")
    assert "Version 2" in page.text(".lede") and "Dropped 1 row: Leakage between splits." in page.text(".facts:not(#background)")
    old = get(browser, "/datasets/1@1")
    assert "there is a newer one" in old.text(".lede") and not old.all(".finding button")
    refused = browser.post("/datasets/1@1/health/duplicates")
    assert refused.status_code == 409 and "Version 2 is newer" in Dom(refused.text).text("main")


def test_a_remedy_of_a_long_version_leads_to_its_progress_and_then_to_the_next_version(
    browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 50)
    sick(person)
    answer = browser.post("/datasets/1@1/health/leakage")
    assert answer.status_code == 303 and answer.headers["location"] == "/datasets/uploads/1"
    page = get(browser, "/datasets/uploads/1")
    assert page.text("h1") == "Drop 1 row" and "Waiting for its turn" in page.text("#progress") and "Every row of version 1 is copied" in page.text(".lede")
    assert "Drop 1 row" in get(browser, "/datasets/new").text("main") and "Version 1" in get(browser, "/datasets/1").text(".lede")
    imports.run(1)
    assert browser.get("/datasets/uploads/1/progress?state=importing").headers["hx-redirect"] == "/datasets/1/versions"
    assert "Dropped 1 row" in get(browser, "/datasets/1/versions").text("main")
    browser.post("/datasets/1@2/health/near_leakage")
    browser.post("/datasets/1@2/health/near_leakage")
    imports.run(2)
    imports.run(3)
    failed = get(browser, "/datasets/uploads/3")
    assert "Version 3 is newer than version 2." in failed.text("main") and failed.one("main .primary").get("href") == "/datasets/1"


def test_the_rows_behind_a_card_page_and_keep_the_seal(browser: TestClient, person: Who) -> None:
    add(person, [(text(number // 2), "ab"[number // 2 % 2], "train") for number in range(80)] + [(text(0), "a", "test")])
    page = get(browser, "/datasets/1/health/duplicates")
    assert page.text("h1") == "Duplicates" and len(page.all(".examples tbody tr")) == 50
    assert "1 row is sealed and not shown" in page.text("main") and page.texts(".pager > span")[0] == "1 to 50 of 80 rows"
    assert len(get(browser, "/datasets/1/health/duplicates?offset=50").all(".examples tbody tr")) == 30
    assert page.texts("td:nth-child(2)")[:3] == [text(0), text(0), text(1)] and page.texts("td .sub")[:3] == ["train"] * 3
    datasets.reveal(person, "1", "to compare them")
    assert get(browser, "/datasets/1/health/duplicates").texts(".pager > span")[0] == "1 to 50 of 81 rows"
    assert get(browser, "/datasets/1/health/imbalance", 404).text("h1") == "Not found"


def test_a_healthy_dataset_says_so_in_one_line(browser: TestClient, person: Who) -> None:
    add(person, [(text(number), "ab"[number % 2], ("train", "train", "validation", "test")[number // 2 % 4]) for number in range(60)])
    browser.get("/datasets/1@1/health")
    page = get(browser, "/datasets/1")
    assert page.text(".fine summary") == "Nothing found by 23 checks" and not page.all(".finding")


def test_the_warning_of_personal_data_is_optional(browser: TestClient, person: Who) -> None:
    rows = [(text(number), "ab"[number % 2], ("train", "train", "validation", "test")[number // 2 % 4]) for number in range(60)]
    add(person, [*rows, ("write to jo@example.org", "a", "train")])
    browser.get("/datasets/1@1/health")
    page = get(browser, "/datasets/1")
    assert page.texts(".finding h3") == ["Personal data or secrets"]
    place = page.one(".finding form[action$='/warn']").get("action") or ""
    assert browser.post(place).status_code == 303
    page = get(browser, "/datasets/1")
    assert not page.all(".finding") and "Personal data or secrets: not warned of in this dataset." in page.text("#health")
    assert "no e-mail addresses" not in page.text(".fine p"), "nobody says that there are none"
    assert browser.post(place, data={"on": "yes"}).status_code == 303
    assert get(browser, "/datasets/1").texts(".finding h3") == ["Personal data or secrets"]
    assert browser.post("/datasets/1/health/leakage/warn").status_code == 422


def test_the_label_table_names_the_majority_baseline(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    assert "always answering the first is right 50.0 %" in get(browser, "/datasets/1").text("main")
