"""Versions of a dataset as a person sees them: what was done, what differs, export, reserve, deleting."""

import re

from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.lineage import Drop, Edit, Keep, Move, Relabel
from app.services import datasets, experiments, versions
from app.services.versions import New, derive
from tests.dom import Dom, get
from tests.rows import add_dataset, add_model


def history_of(person: Who) -> None:
    """Four versions: three train rows and a test row dropped, one moved, one edited, two appended."""
    rows = list(versions.values(add_dataset(person)))
    second = derive(person, "1", Drop({rows[0]["id"], rows[2]["id"], rows[4]["id"], rows[-1]["id"]}), "they were wrong").version
    moved = next(row for row in versions.values(second) if row["split"] == "validation")
    third = derive(person, "1", Move({moved["id"]}, "train")).version
    edited = next(row for row in versions.values(third) if row["split"] == "train")
    derive(person, "1", Edit({edited["id"]: "billing"}))
    derive(person, "1", Keep("append"), added=[[New("all new to train on", "billing", "train"), New("to test on, nothing like it", "delivery", "test")]])


def test_the_list_tells_the_story(browser: TestClient, person: Who) -> None:
    history_of(person)
    page = get(browser, "/datasets/1/versions")
    assert page.texts("tbody th") == ["5", "4", "3", "2", "1"]
    assert page.texts("tbody td.full") == [
        "Appended 2 rows", "Changed the output of 1 row", "Moved 1 row to train", "Dropped 4 rows they were wrong", "Imported upload",
    ]  # fmt: skip
    counts = page.texts("tbody tr:first-child td.num")
    assert counts[:2] == ["19 train", "9 validation"] and re.match("30 test ?29 \\+ 1 of ", counts[2])
    assert [link.get("href") for link in page.all("tbody td:last-child a")] == [f"/datasets/1@{number}/diff?since={number - 1}" for number in (5, 4, 3, 2)]


def test_a_difference_shows_rows_before_and_after_and_keeps_the_seal(browser: TestClient, person: Who) -> None:
    history_of(person)
    page = get(browser, "/datasets/1/diff?since=1")
    assert page.texts(".tabs a") == ["added 2", "removed 4", "changed 1", "moved 1"]
    assert page.texts("tbody td:nth-child(2)") == ["all new to train on"] and "1 row is sealed" in page.text("main")
    removed = get(browser, "/datasets/1/diff?since=1&kind=removed")
    assert len(removed.all("tbody tr")) == 3 and "train 3, test 1" in removed.text("main")
    assert get(browser, "/datasets/1/diff?since=1&kind=moved").text("tbody td:first-child") == "validation train"
    changed = get(browser, "/datasets/1/diff?since=1&kind=changed")
    assert (changed.text("tbody del"), changed.text("tbody ins")) == ("delivery", "billing")
    assert get(browser, "/datasets/1@2/diff?since=2", 422).text("h1")
    assert get(browser, "/datasets/1@2/diff?since=9", 404).text("h1") == "Not found"


def test_an_export_is_offered_and_says_what_is_missing(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    page = get(browser, "/datasets/1")
    assert "without the test rows, which are sealed" in page.text(".facts:not(#background)")
    for link in page.all("dd a[href*='export']"):
        answer = browser.get(str(link.get("href")))
        assert (
            answer.status_code == 200
            and answer.headers["x-fettle-left-out"] == "30 test rows (sealed)"
            and "attachment" in answer.headers["content-disposition"]
        )
    assert browser.get("/datasets/1/export?format=exe").status_code == 422


def test_a_reserve_is_set_aside_and_opened_with_a_reason(browser: TestClient, person: Who) -> None:
    add_dataset(person, test=60)
    assert get(browser, "/datasets/1/versions").text("section h2") == "Reserve"
    assert browser.post("/datasets/1@1/reserve").status_code == 303
    page = get(browser, "/datasets/1?split=reserve")
    assert "neither shown nor scored" in page.text(".empty p") and page.one("#open-reserve form").get("action") == "/datasets/1@2/reserve/open"
    assert browser.post("/datasets/1@2/reserve/open", data={"reason": " "}).status_code == 422
    assert browser.post("/datasets/1@2/reserve/open", data={"reason": "the end"}).status_code == 303
    opened = get(browser, "/datasets/1?split=reserve")
    assert opened.all(".examples tbody tr") and "the end" in opened.text(".facts:not(#background)")
    assert not get(browser, "/datasets/1/versions").all("section h2")
    assert "opened, never scored, viewed once" in opened.text(".figures")
    derive(person, "1", Relabel({"billing": "invoice"}))
    later = get(browser, "/datasets/1?split=reserve")
    assert "opened in version 2" in later.text(".figures") and "opened once: they are shown and scored there" in later.text(".empty p")
    assert not later.all("#open-reserve") and browser.post("/datasets/1@3/reserve/open", data={"reason": "again"}).status_code == 409


def test_a_dataset_in_use_is_not_deleted_and_another_one_is(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    experiment = experiments.create(person, name="ladder", dataset="1", model=add_model(person), rungs=[{"technique": "zero_shot"}])
    refused = browser.post("/datasets/1/delete")
    page = Dom(refused.text)
    assert refused.status_code == 409 and "used by experiment" in page.text(".notice") and page.all(".notice a")[0].get("href") == f"/experiments/{experiment}"
    add_dataset(person, "mail")
    assert browser.post("/datasets/2/delete").headers["location"] == "/datasets"
    assert get(browser, "/datasets").texts("tbody th") == ["tickets version 1"]
    assert get(browser, "/datasets/2", 404).text("h1") == "Not found"


def test_an_opened_split_of_an_older_version_does_not_open_the_newer_one(browser: TestClient, person: Who) -> None:
    history_of(person)
    datasets.reveal(person, "1@1", "labels look wrong")
    assert get(browser, "/datasets/1@1?split=test").all(".examples") and not get(browser, "/datasets/1?split=test").all(".examples")
    assert "29 of its rows were opened in version 1." in get(browser, "/datasets/1").text("main")
