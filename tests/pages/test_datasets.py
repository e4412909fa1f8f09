"""The Data room: lists that cost the same whatever their length, a test split that stays sealed."""

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import chore as chores
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.dataset import Example
from app.services import annotating
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset


def test_an_empty_list_says_what_a_dataset_is_and_offers_one(browser: TestClient) -> None:
    page = get(browser, "/datasets")
    assert page.text(".empty h2") == "No datasets yet" and page.href(".empty .button.primary") == "/datasets/new"


def test_a_list_of_twice_the_datasets_takes_the_same_number_of_queries(browser: TestClient, person: Who) -> None:
    counts = []
    for _ in range(2):
        add_dataset(person, "tickets", 4, 2, 4)
        add_dataset(person, "mail", 4, 2, 4)
        with queries() as sent:
            page = get(browser, "/datasets")
        counts.append(len(sent))
    assert len(page.all("tbody tr")) == 4 and counts[0] == counts[1]


def test_examples_come_by_split_and_page_with_invisible_characters_marked(browser: TestClient, person: Who) -> None:
    version = add_dataset(person, "tickets", train=120)
    with transaction() as session:
        session.query(Example).filter_by(version_id=version.id, position=0).update({"input": "a\tb  c\u00a0d "})
    page = get(browser, "/datasets/1")
    assert len(page.all(".examples tbody tr")) == 50
    assert [mark.get("data-ws") for mark in page.all(".examples tbody tr:first-child .ws")] == ["⇥", "·", "·", "⍽", "·"]
    assert page.texts(".pager > span")[0] == "1 to 50 of 120 train rows"
    last = get(browser, "/datasets/1?split=train&offset=100")
    assert len(last.all(".examples tbody tr")) == 20 and not last.all(".pager a[rel=next]")
    assert len(get(browser, "/datasets/1@1?split=validation").all(".examples tbody tr")) == 10
    assert get(browser, "/datasets/1@2", 404).text("h1") == "Not found"


def test_the_test_split_is_sealed_until_somebody_says_why(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    page = get(browser, "/datasets/1?split=test")
    assert "30 rows of the test split are not shown" in page.text(".empty p") and not page.all(".examples")
    assert "sealed, never scored, never viewed" in page.text(".figures")
    assert page.one("#reveal form").get("action") == "/datasets/1@1/reveal"
    refused = browser.post("/datasets/1@1/reveal", data={"reason": "  "})
    assert refused.status_code == 422 and "Say why" in Dom(refused.text).text(".notice")
    assert browser.post("/datasets/1@1/reveal", data={"reason": "labels look wrong"}).status_code == 303
    page = get(browser, "/datasets/1?split=test")
    assert len(page.all(".examples tbody tr")) == 30 and "opened, never scored, viewed once" in page.text(".figures")
    assert "labels look wrong" in page.text(".facts:not(#background)")
    assert "viewed 2 times" in get(browser, "/datasets/1?split=test").text(".figures")


def test_a_dataset_says_what_its_test_split_can_tell_and_what_comes_next(browser: TestClient, person: Who) -> None:
    add_dataset(person, test=300)
    page = get(browser, "/datasets/1")
    assert "A test split of 300 rows can detect differences of about ±7.2 points." in page.text("main")
    assert [link.get("href") for link in page.all(".page-head .actions a")] == ["/lab?dataset=1@1", "/jobs/new?dataset=1@1", "/experiments/new?dataset=1@1"]


def test_nobody_reads_a_dataset_without_an_account(visitor: TestClient, person: Who) -> None:
    add_dataset(person)
    for path in ("/datasets", "/datasets/1", "/datasets/new"):
        assert visitor.get(path).headers["location"] == "/sign-in"


def test_a_search_whose_index_failed_says_why_and_one_press_builds_it_again(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotating, "READ_THROUGH", 10)
    version = add_dataset(person)
    wrong = {"code": "disk_full", "message": "The disk is full.", "advice": "Make room, then run it again."}

    def fail() -> None:
        with transaction() as session:
            chores.again(session, version.id, "search", version.rows, {})
            session.query(Chore).update({"state": "failed", "error": wrong})

    fail()
    page = get(browser, "/datasets/1?q=parcel&split=train")
    assert "Indexing failed" in page.text(".search p") and "The disk is full. Make room, then run it again." in page.text(".search p")
    assert page.text("#background dd").startswith("Failed. The disk is full.")
    button = page.one(".search button[formaction]")
    assert button.get("formmethod") == "post"
    back = browser.post(button.get("formaction") or "", data={"split": "train", "q": "parcel"}).headers["location"]
    assert "Indexing, 0 %" in get(browser, back).text(".search p")

    fail()
    page = get(browser, "/datasets/1/grid?q=parcel")
    assert "Indexing failed" in page.text(".empty p")
    fields = {field.get("name") or "": field.get("value") for field in page.all(".empty input")}
    back = browser.post(page.one(".empty form").get("action") or "", data=fields).headers["location"]
    assert "/grid?" in back and "Indexing, 0 %" in get(browser, back).text(".empty p")
    fail()
    assert browser.post(get(browser, "/datasets/1").one("#background form").get("action") or "").headers["location"] == "/datasets/1@1#background"
