"""Rows for a dataset that stands, in a browser without a screen: read as its first file was, looked at beside its newest version, appended."""

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who
from app.domain.lineage import Edit, Relabel
from app.domain.upload import Upload
from app.pages.upload_view import WHOLE
from app.readers.options import Options
from app.services import datasets, history, imports, removal, upload_files, uploads, versions
from app.services.versions import derive
from tests.dom import Dom, get
from tests.pages.uploading import change, form, key_of, upload
from tests.rows import add_dataset
from tests.services.uploading import sent, table

WEEK = "input,output\n" + "".join(f"the next week has message {number},billing\n" for number in range(20))
TO = "/datasets/1/append"
ALL = {split: value for value, split in WHOLE.items()}
LATIN = Options(encoding="latin-1", mapping={"input": "satz", "output": "urteil"})


def test_rows_are_looked_at_before_they_are_appended(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    start = get(browser, TO)
    assert start.text("h1") == "Append rows" and "version 2" in start.text(".lede") and start.one("form.roomy").get("action") == TO
    place = upload(browser, WEEK + "train message 0 about my bill,billing\n", "week.csv", live=True, to=TO)
    page = get(browser, place)
    assert page.text("h1") == "Append rows" and page.texts(".crumbs a") == ["Data", "tickets"]
    assert page.texts(".upload-preview .badge") == ["input", "output"] and len(page.all(".upload-preview tbody tr")) == 20
    facts = page.texts("#beside .facts dd")
    assert facts[:2] == ["20 new, 1 stands there already", "every one is known"] and not page.all("#new-labels, #group, #test, #name")
    assert page.text(".upload-freeze .primary") == "Append as version 2" and page.one(".upload-freeze .primary").get("aria-disabled") is None
    page = change(browser, place, reason="week 2")
    assert page.one("#reason").get("value") == "week 2" and datasets.find(person, "1").version.number == 1
    assert browser.post(f"{place}/freeze", data=form(page)).headers["location"] == place
    waits = get(browser, place)
    assert "seen once it is whole" in waits.text(".lede") and "Waiting for its turn" in waits.text("#progress")
    imports.run(key_of(place))
    assert browser.get(f"{place}/progress?state=importing").headers["HX-Redirect"] == browser.get(place).headers["location"] == "/datasets/1/versions"
    assert get(browser, "/datasets/1/versions").texts("tbody td.full")[0] == "Appended 20 rows of week.csv, 1 stood there already week 2"
    assert list(upload_files.folder().iterdir()) == []


def test_labels_that_the_dataset_does_not_know_are_shown_with_the_ones_they_look_like(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    rows = "input,output\n" + "one,Billing\n" * 2 + "two,refund\n" * 3 + "three,delivery\nfour,loan\n"
    told = get(browser, upload(browser, rows, to=TO)).text("#new-labels")
    assert told.startswith("3 labels are new: refund 3, Billing 2, loan 1.") and told.endswith("“Billing” looks like “billing”, which version 1 has.")


def test_a_label_that_looks_like_one_of_the_dataset_is_merged_into_it(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    rows = "input,output\n" + "".join(f"{word} letter is about my bill,Billing\n" for word in ("one", "two", "three")) + "four comes late,delivery \n"
    place = upload(browser, rows, to=TO)
    page = get(browser, place)
    assert sorted(page.texts("#merges label")) == ["Merge “Billing” 3 into “billing”", "Merge “delivery ” 1 into “delivery”"] and not page.all("[data-display]")
    page = change(browser, place, merge=[str(one.get("value")) for one in page.all("#merges input")])
    assert not page.all("#new-labels") and page.texts("#beside .facts dd")[:2] == ["4 new", "every one is known"]
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    before, after = (datasets.find(person, f"1@{number}").version for number in (1, 2))
    assert [label.key for label in after.book.labels] == [label.key for label in before.book.labels]
    counts = [{label.key: label.count for label in version.book.labels} for version in (before, after)]
    assert counts[1]["billing"] == counts[0]["billing"] + 3 and counts[1]["delivery"] == counts[0]["delivery"] + 1


def test_a_merge_of_the_first_file_holds_for_the_next_as_long_as_the_label_book_agrees(browser: TestClient, person: Who) -> None:
    first = "input,output\n" + "".join(f"letter {number} to us,{('refund', 'Refund', 'praise')[number % 3]}\n" for number in range(60))
    key = uploads.import_now(person, sent(first, options=Options(labels={"Refund": "refund"})))
    week = "input,output\nanother letter comes,Refund\nthe last letter comes,praise\n"
    place = upload(browser, week, to=f"/datasets/{key}/append")
    assert get(browser, place).texts("#merges label") == ["Merge “Refund” 1 into “refund”"]
    derive(person, key, Relabel({"refund": "Refund"}))
    place = upload(browser, week, to=f"/datasets/{key}/append")
    page = get(browser, place)
    assert not page.all("#merges, #new-labels") and page.texts("#beside .facts dd")[1] == "every one is known"


def test_labels_that_are_too_many_with_those_of_the_dataset_are_told_before_they_are_refused(browser: TestClient, person: Who) -> None:
    many = "".join(f"text {number} of the first file,label {number % 995}\n" for number in range(2_000))
    key = uploads.import_now(person, sent("input,output\n" + many))
    rows = "input,output\n" + "".join(f"text {number} of another,new {number % 10}\n" for number in range(20))
    place = upload(browser, rows, to=f"/datasets/{key}/append")
    page = get(browser, place)
    assert "more than 1,000 labels, and the rows will be refused" in page.text("#new-labels")
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    assert "995 labels; this would make them more than 1,000" in get(browser, place).text("#upload")
    assert datasets.find(person, str(key)).version.number == 1


def test_how_it_is_read_and_its_columns_are_those_of_the_first_file_and_can_be_changed(browser: TestClient, person: Who) -> None:
    first = "".join(f"Grüße {number};{'ja' if number % 2 else 'nein'}\n" for number in range(40))
    uploads.import_now(person, sent(("satz;urteil\n" + first).encode("latin-1"), options=LATIN))
    later = "urteil;satz;quelle\n" + "".join(f"{('ja', 'vielleicht')[number % 2]};Mühe {number};Brief\n" for number in range(30))
    place = upload(browser, later.encode("latin-1"), to=TO)
    page = get(browser, place)
    assert page.texts(".upload-how select option[selected]")[1] == "LATIN-1" and page.texts(".upload-preview th")[1:] == [
        "urteil output",
        "satz input",
        "quelle",
    ]
    assert "1 label is new: vielleicht 15" in page.text("#new-labels") and "Mühe 0" in page.text(".upload-preview")
    page = change(browser, place, encoding="cp1251")
    assert "Mühe" not in page.text(".upload-preview") and page.texts(".upload-preview th")[1:] == ["urteil output", "satz input", "quelle"]
    change(browser, place, encoding="")
    page = change(browser, place, output="quelle")
    assert page.text("#new-labels") == "1 label is new: Brief 30."
    browser.post(f"{place}/freeze", data=form(change(browser, place, output="urteil")))
    imports.run(key_of(place))
    rows = [row for row in versions.values(datasets.find(person, "1").version) if row["added_in"] == 2]
    assert len(rows) == 30 and rows[0]["input"] == "Mühe 0" and rows[0]["cells"] == {"quelle": "Brief"}


def test_a_column_that_prompts_may_name_and_the_file_lacks_is_told(browser: TestClient, person: Who) -> None:
    uploads.import_now(person, sent(table(40, kind=lambda _: "mail", shop=lambda _: "north")))
    page = get(browser, upload(browser, table(10, seed=2, shop=lambda _: "south"), to=TO))
    assert page.texts("#beside .facts dd")[-1].startswith("without kind, which version 1 has")


def test_a_broken_file_is_told_with_its_lines_and_can_be_appended_without_them(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    place = upload(browser, WEEK + "a,b,c\n", "bad.csv", to=TO)
    page = get(browser, place)
    assert page.texts(".problems tbody td")[0] == "22" and page.one(".upload-freeze .primary").get("aria-disabled") == "true"
    page = change(browser, place, leave_out=["wrong_number_of_values"])
    assert "1 rows with a problem were left out" in page.text(".upload-how") and page.one(".upload-freeze .primary").get("aria-disabled") is None
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    assert datasets.find(person, "1").version.rows == 80


def test_what_comes_to_nothing_goes_back_to_its_report_with_nothing_lost(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    place = upload(browser, "input,output\ntrain message 0 about my bill,billing\n", to=TO)
    page = change(browser, place, reason="typed with care")
    assert page.texts("#beside .facts dd")[0] == "0 new, 1 stands there already"
    assert page.one(".upload-freeze .primary").get("aria-disabled") == "true" and page.text("#why-not").startswith("Every row of the file stands")
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    page = get(browser, place)
    assert "already" in page.text(".notice") and page.one("#reason").get("value") == "typed with care" and datasets.find(person, "1").version.number == 1
    page = change(browser, place, repeats=["on"])
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    assert datasets.find(person, "1").version.rows == 61


def test_a_version_that_came_in_between_is_shown_before_anything_is_appended(browser: TestClient, person: Who) -> None:
    rows = list(versions.values(add_dataset(person)))
    place = upload(browser, WEEK, to=TO)
    stale = form(get(browser, place))
    derive(person, "1", Edit({next(row["id"] for row in rows if row["split"] == "train"): "refund"}))
    refused = browser.post(f"{place}/freeze", data=stale)
    page = Dom(refused.text)
    assert refused.status_code == 409 and "Version 2 is newer" in page.text(".notice") and page.text(".upload-freeze .primary") == "Append as version 3"
    assert browser.post(f"{place}/freeze", data=form(get(browser, place))).status_code == 303
    imports.run(key_of(place))
    assert datasets.find(person, "1").version.number == 3


def test_rows_for_a_dataset_that_is_gone_can_only_be_discarded(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    place = upload(browser, WEEK, to=TO)
    removal.remove(person, 1)
    page = get(browser, place)
    assert "was deleted" in page.text("#why-not") and page.texts(".upload-freeze button") == ["Discard"]
    assert browser.post(f"{place}/freeze", data=form(page)).status_code == 404
    assert browser.post(f"{place}/cancel").headers["location"] == "/datasets" and uploads.unfinished(person) == []


def test_it_stands_among_the_uploads_and_a_failed_one_leads_back(browser: TestClient, person: Who) -> None:
    add_dataset(person)
    place = upload(browser, WEEK, "week.csv", to=TO)
    assert get(browser, "/datasets").texts(".badge") == ["can be appended"]
    assert get(browser, "/datasets/1").texts("#uploads th[scope=row]") == ["week.csv more rows"], "the dataset's own page tells of it too"
    again = get(browser, "/datasets/1").one("#uploads").get("hx-get")
    assert "can be appended" in browser.get(f"{again}").text and browser.get("/datasets/uploads?onto=2").headers["hx-refresh"] == "true"
    with transaction() as session:
        session.query(Upload).update({"state": "failed", "error": imports.LOST})
    assert get(browser, place).href("a.button.primary") == TO


@pytest.mark.parametrize("data", [{}, {"reason": "x"}])
def test_no_file_is_said(browser: TestClient, person: Who, data: dict[str, str]) -> None:
    add_dataset(person)
    response = browser.post(TO, data=data)
    assert response.status_code == 422 and "No file was sent." in Dom(response.text).text(".notice") and Dom(response.text).text("h1") == "Append rows"
    assert browser.post("/datasets/9/append", files={"file": ("a.csv", WEEK)}).status_code == 404


def test_a_train_file_and_a_test_file_one_after_the_other_are_one_dataset_with_those_splits(browser: TestClient, person: Who) -> None:
    place = upload(browser, table(400), "train.csv")
    page = get(browser, place)
    assert page.text("#split-help").startswith("The name says train.")
    splits = [f"every row of this file is {split}" for split in ("train", "validation", "test", "reserve")]
    assert page.texts("#split option") == ["none: cut them here", *splits, "text", "label"] and not page.all("#split option[selected]:not(:first-child)")
    page = change(browser, place, split=ALL["train"])
    assert not page.all("#split-help"), "what the name says is not repeated once a split is chosen"
    assert "Every row of the file is train. The file has no validation rows" in page.text("#upload") and not page.all("#test, #validation")
    assert page.one("#split option[selected]").get("value") == ALL["train"] and page.text(".facts dd:nth-of-type(3)") == "train 400"
    assert browser.post(f"{place}/freeze", data=form(page)).status_code == 303
    imports.run(key_of(place))
    first = datasets.find(person, "1").version
    assert set(first.splits) == {"train", "validation"} and first.rows == 400
    before = {row["input"]: row["split"] for row in versions.values(first)}
    old = next(text for text, split in before.items() if split == "train")
    place = upload(browser, f"{table(60, seed=9)}{old},label 9\n", "test.csv", to=TO)
    assert "divided as the first rows were" in get(browser, place).text("#beside"), "what held for the train file is not said of another one"
    page = change(browser, place, split=ALL["test"])
    assert "every new row is test; a text that stands in version 1 keeps its split" in page.text("#beside")
    page = change(browser, place, delimiter=";")
    page = change(browser, place, delimiter="")
    assert page.one("#split option[selected]").get("value") == ALL["test"], "it outlives a look with another delimiter, which finds no columns"
    assert browser.post(f"{place}/freeze", data=form(page)).status_code == 303
    imports.run(key_of(place))
    second = datasets.find(person, "1").version
    assert second.splits == {**first.splits, "train": first.splits["train"] + 1, "test": 60}
    assert {text: split for text, split in ((row["input"], row["split"]) for row in versions.values(second)) if text in before} == before
    assert [(one.version, one.rows) for one in history.versions(person, 1)[1][0].slices] == [(2, 60)]


def test_the_split_of_a_file_and_a_column_that_says_it_exclude_each_other(browser: TestClient) -> None:
    place = upload(browser, table(40, split=lambda number: "test" if number < 10 else "train"))
    page = get(browser, place)
    assert page.one("#split option[selected]").get("value") == "split"
    page = change(browser, place, split=ALL["test"])
    assert page.text(".facts dd:nth-of-type(3)") == "test 40" and page.one("#split option[selected]").get("value") == ALL["test"]
    page = change(browser, place, split="split")
    assert page.text(".facts dd:nth-of-type(3)") == "test 10, train 30"
