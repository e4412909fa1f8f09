"""Drafts on the server: one for each person and prompt, each save on top of the one before, and nobody's work lost."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.draft import KEPT
from app.errors import Conflict
from app.services import drafts
from tests.dom import Dom

DRAFT = "/lab/draft"


def put(browser: TestClient, revision: int, text: str, key: str = "new-1") -> Any:
    return browser.put(DRAFT, json={"key": key, "revision": revision, "state": {"fields": {"instruction": text}}})


def test_a_draft_is_kept_and_found_again(browser: TestClient) -> None:
    assert browser.get(DRAFT).status_code == 204
    assert put(browser, 0, "a").json() == {"revision": 1} and put(browser, 1, "b").json() == {"revision": 2}
    put(browser, 0, "other", "7")
    put(browser, 2, "c")
    found = browser.get(DRAFT).json()
    assert (found["key"], found["revision"], found["state"]["fields"]["instruction"]) == ("new-1", 3, "c") and found["saved_at"] > 0
    assert browser.get(f"{DRAFT}?key=7").json()["revision"] == 1
    assert browser.delete(f"{DRAFT}?key=new-1").status_code == browser.delete(f"{DRAFT}?key=new-1").status_code == 204
    assert browser.get(DRAFT).json()["key"] == "7"


def test_a_page_that_somebody_else_opened_keeps_no_draft(browser: TestClient) -> None:
    """One browser, two accounts: the tab of the one before is still open, and its requests go with the newcomer's cookie."""
    me = int(Dom(browser.get("/lab").text).one("html").get("data-account") or 0)
    body = {"key": "new-1", "revision": 0, "state": {"fields": {"instruction": "theirs"}}}
    refused = browser.put(DRAFT, json={**body, "account": me + 1})
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "somebody_else" and browser.get(DRAFT).status_code == 204
    assert browser.put(DRAFT, json={**body, "account": me}).json() == {"revision": 1}


def test_another_tab_is_answered_with_what_stands_there(browser: TestClient) -> None:
    put(browser, 0, "first")
    put(browser, 1, "theirs")
    refused = put(browser, 1, "mine")
    assert refused.status_code == 200 and refused.json()["revision"] == 2 and refused.json()["state"]["fields"]["instruction"] == "theirs"
    assert refused.json()["error"]["code"] == "newer_draft"
    assert put(browser, 2, "mine").json() == {"revision": 3}, "keeping mine is saving on top of theirs"


def test_what_stands_there_already_is_no_change(browser: TestClient) -> None:
    """A page that is loaded anew sends the draft that it found: another tab that knows the revision before is not told of a clash."""
    put(browser, 0, "first")
    assert put(browser, 1, "first").json() == {"revision": 1}
    assert put(browser, 1, "mine").json() == {"revision": 2} == put(browser, 1, "mine").json(), "sent twice, because the first answer was lost"
    assert put(browser, 1, "other").json()["error"]["code"] == "newer_draft"


def test_a_draft_that_was_deleted_elsewhere_is_kept_again(browser: TestClient) -> None:
    put(browser, 0, "a")
    browser.delete(f"{DRAFT}?key=new-1")
    assert put(browser, 1, "b").status_code == 200 and browser.get(DRAFT).json()["state"]["fields"]["instruction"] == "b"


def test_of_two_saves_at_once_one_is_told_of_the_other(person: Who) -> None:
    drafts.save(person, "k", 0, {"n": 0})

    def save(number: int) -> bool:
        try:
            drafts.save(person, "k", 1, {"n": number})
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(save, range(1, 5))) == 1
    found = drafts.find(person, "k")
    assert found and found.revision == 2


def test_drafts_are_ones_own_and_the_oldest_go(browser: TestClient, person: Who) -> None:
    drafts.save(person, "new-1", 0, {})
    assert browser.get(DRAFT).status_code == 204
    for number in range(KEPT + 2):
        put(browser, 0, "x", f"new-{number}")
    kept = [number for number in range(KEPT + 2) if browser.get(f"{DRAFT}?key=new-{number}").status_code == 200]
    assert kept == list(range(2, KEPT + 2)) and drafts.find(person, "new-1")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": "", "revision": 0, "state": {}},
        {"key": "x" * 65, "revision": 0, "state": {}},
        {"key": "a", "revision": -1, "state": {}},
        {"key": "a", "revision": 0, "state": []},
    ],
)
def test_what_is_no_draft_is_refused(browser: TestClient, body: dict[str, Any]) -> None:
    assert browser.put(DRAFT, json=body).status_code == 422


def test_both_sides_are_shown_with_their_difference(browser: TestClient) -> None:
    theirs, mine = ({"instruction": text, "shots": [{"input": "<b>", "output": "c", "drawn": True}]} for text in ("Sort it.", "Sort it well."))
    shown = Dom(browser.post("/lab/compare", json={"theirs": theirs, "mine": mine}).text)
    assert shown.texts("ins") == ["well"] and not shown.all("del") and not shown.all("b")
    assert browser.post("/lab/compare", json={"theirs": {"shots": [1]}, "mine": {}}).status_code == 422
