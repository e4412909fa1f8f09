"""The pages of a dataset's labels, before their scripts run: what they are given, what they show, and what stays sealed."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import reading, transaction
from app.domain import chore as chores_
from app.domain import text_search
from app.domain.access import Who
from app.services import annotating, chores, endpoints, label_books
from tests.dom import Dom, get, words
from tests.queries import queries
from tests.rows import add_dataset, add_rows
from tests.services.test_annotating import add_waiting, row
from tests.services.test_label_books import add_coded


def given(page: Dom) -> Any:
    return json.loads(page.one("#given").text or "")


def test_the_book_brings_its_labels_and_proposals(browser: TestClient, person: Who) -> None:
    add_coded(person)
    page = get(browser, "/datasets/1/labels")
    told = given(page)
    assert [label["key"] for label in told["labels"]] == ["T-1", "T-2", "T-3"] and told["newest"]
    assert told["proposals"][0] == {"key": "T-1", "display": "billing", "source": "column kind"}
    assert "3 labels are codes without a display text" in page.text("#codes")
    label_books.rewrite(person, 1, [{"key": "T-1", "display": "billing"}])
    old = get(browser, "/datasets/1@1/labels")
    assert not given(old)["newest"] and not old.all("#save") and "Version 1 is frozen" in old.text(".lede")
    assert "2 labels are codes without a display text: a model that reads “T-2”" in get(browser, "/datasets/1/labels").text("#codes")
    assert "Label book: wrote about 1 label" in get(browser, "/datasets/1").text(".facts:not(#background)")


def test_free_text_has_no_book_but_a_grid(browser: TestClient, person: Who) -> None:
    add_dataset(person, train=3, validation=0, test=0)
    assert get(browser, "/datasets/1/labels").text(".empty h2") == "No labels"
    page = get(browser, "/datasets/1/grid")
    assert page.texts("thead th")[-1] == "Output" and given(page)["labels"] == []


def test_the_grid_shows_what_was_given_and_never_a_sealed_row(browser: TestClient, person: Who) -> None:
    version = add_waiting(person)
    label_books.rewrite(person, 1, [{"key": "billing", "display": "money matters"}])
    page = get(browser, "/datasets/1/grid")
    assert page.texts(".tabs a") == ["train 20", "validation 8", "unlabelled 12"] and "test rows are sealed" in page.text(".keys-line")
    first = page.all("#grid tr")[0]
    assert (first.get("tabindex"), first.get("data-output")) == ("0", '"billing"') and page.texts(".label-now")[:2] == ["money matters", "delivery"]
    assert "test 0" not in page.text("#grid") and len(get(browser, "/datasets/1/grid?split=test").all("#grid tr")) == 20
    assert get(browser, "/datasets/1/grid?split=unlabelled").texts(".label-now")[0] == "unlabelled"
    assert get(browser, "/datasets/1/grid?q=parcel&label=delivery").texts(".pager > span")[0] == "1 to 10 of 10 train rows"
    assert get(browser, "/datasets/1/grid?q=nowhere").text(".empty h2") == "No rows here"
    del version


def test_what_somebody_gave_is_there_after_a_reload_and_for_nobody_else(browser: TestClient, person: Who) -> None:
    version = add_waiting(person)
    answer = browser.post("/api/v1/datasets/1/annotations", json={"example": row(version, 0).id, "output": "delivery"})
    assert answer.status_code == 200
    page = get(browser, "/datasets/1/grid")
    assert page.all("#grid tr")[0].get("data-changed") is not None and page.texts(".was")[0] == "was billing" and given(page)["progress"]["changed"] == 1
    assert annotating.grid(person, 1).progress.changed == 0


def test_a_page_of_the_grid_takes_the_same_queries_however_many_rows(browser: TestClient, person: Who) -> None:
    counts = []
    for train in (5, 50):
        version = add_dataset(person, train=train)
        with queries() as sent:
            assert len(get(browser, f"/datasets/{version.dataset_id}/grid").all("#grid tr")) == train
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_pages_of_the_grid_follow_each_other_and_keep_the_filter(browser: TestClient, person: Who) -> None:
    add_dataset(person, train=130)
    page = get(browser, "/datasets/1/grid?label=billing&split=train")
    assert page.texts(".pager > span")[0] == "1 to 50 of 65 train rows"
    link = page.href("a[rel=next]")
    assert link.startswith("/datasets/1/grid?") and "label=billing" in link
    last = get(browser, link)
    assert len(last.all("#grid tr")) == 15 and "offset=0" in last.href("a[rel=prev]")


def test_a_search_that_finds_more_rows_than_are_looked_up_says_so(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    version = add_dataset(person, train=130)
    monkeypatch.setattr(text_search, "MOST_FOUND", 100)

    def said(asked: str, selector: str = ".pager > span") -> str:
        return get(browser, f"/datasets/1/grid?q={asked}").texts(selector)[0]

    with transaction() as session:
        chores_.again(session, version.id, "search", version.rows, {})
    assert said("message") == "1 to 50 of 130 train rows", "all are read through while there is no index"
    with reading() as session:
        key = chores_.waiting(session, ["search"])
    assert key is not None
    chores.run(key)
    assert said("message") == "1 to 50 of more than 100 train rows"
    assert said("message&offset=50") == "51 to 100 of more than 100 train rows"
    assert said("message&label=billing") == "1 to 50 of at least 50 train rows"
    assert said("message&changed=1", ".empty p") == "None of the first 100 train rows with these words is like that. Ask for a rarer word."
    assert said("parcel") == "1 to 50 of 65 train rows"
    monkeypatch.setattr(text_search, "MOST_FOUND", 130)
    assert said("message") == "1 to 50 of 130 train rows", "as many as there are is not more"


def test_the_queue_offers_models_and_prompts_and_says_when_nothing_waits(browser: TestClient, person: Who) -> None:
    add_waiting(person, 4)
    page = get(browser, "/datasets/1/queue")
    assert "4 rows of version 1 have no label yet" in page.text(".lede") and page.texts("#model option") == ["nobody"]
    assert [label["display"] for label in given(page)["labels"]] == ["billing", "delivery"]
    assert "Label 4 rows" in get(browser, "/datasets/1").text("main")
    endpoints.create(person, name="there", url="https://models.example.com/v1", key="sesame", models=["large"])
    refused = get(browser, "/datasets/1/queue").one("#model option[disabled]")
    assert words(refused) == "there/large (no likelihoods: there has not been tested: whether it gives likelihoods is not known.)"
    add_dataset(person)
    assert get(browser, "/datasets/2/queue").text(".empty h2") == "Nothing waits"


def test_nobody_edits_without_an_account(visitor: TestClient, person: Who) -> None:
    add_coded(person)
    for path in ("labels", "grid", "queue"):
        assert visitor.get(f"/datasets/1/{path}").headers["location"] == "/sign-in"


def test_a_thousand_labels_are_counted_as_people_write_numbers(browser: TestClient, person: Who) -> None:
    add_rows(person, "codes", [(f"message {number} for {number // 2}", f"T-{number // 2}", "train") for number in range(2_000)])
    page = get(browser, "/datasets/1")
    assert "1,000 labels" in page.text("main") and page.text(".more > summary") == "988 more"
