"""From a file to version 1 in a browser without a screen: what was found, read otherwise, columns, shares, freeze, cancel."""

import io
import json
from typing import Any

import openpyxl
import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who
from app.domain.dataset import Dataset, Example
from app.domain.upload import Upload
from app.pages import problem_words
from app.pages import upload_view as view
from app.readers.options import LEAVABLE
from app.services import datasets, imports, upload_files, uploads
from tests.dom import Dom, get
from tests.pages.uploading import change, form, key_of, upload
from tests.rows import add_dataset
from tests.services.uploading import packed, table


def test_an_upload_shows_what_was_found_before_anything_is_made_of_it(browser: TestClient) -> None:
    place = upload(browser, table(120), name="Tickets", live=True)
    page = get(browser, place)
    assert page.text("h1") == "Tickets" and "tickets.csv" in page.text(".lede")
    assert len(page.all(".upload-preview tbody tr")) == 20 and page.texts(".upload-preview .badge") == ["input", "output"]
    found = ["CSV (found)", "UTF-8 (found)", "comma (found)", "column names (found)", 'double " (found)', "LF (found)"]
    assert page.texts(".upload-how select option[selected]") == found
    assert "120" in page.text(".upload-what .facts") and page.texts(".labels dt")[0].startswith("label")
    assert "A test split of 24 rows" in page.text("#upload") and page.one(".upload-freeze .primary").get("aria-disabled") is None
    with transaction() as session:
        assert session.query(Dataset).count() == 0


def test_freezing_makes_version_1(browser: TestClient) -> None:
    place = upload(browser, table(120))
    page = change(browser, place, name="Mail", test="30", validation="0", seed="7")
    assert page.one("#test").get("value") == "30" and "A test split of 36 rows" in page.text("#upload")
    frozen = browser.post(f"{place}/freeze", data=form(page))
    assert frozen.status_code == 303 and frozen.headers["location"] == place
    assert "Waiting for its turn" in get(browser, place).text("#progress")
    imports.run(key_of(place))
    assert browser.get(f"{place}/progress").headers["hx-redirect"] == "/datasets/1"
    assert browser.get(place).headers["location"] == "/datasets/1"
    dataset = get(browser, "/datasets/1")
    assert dataset.text("h1") == "Mail" and dataset.texts(".figure dt") == ["train", "test"] and "tickets.csv" in dataset.texts(".facts")[0]
    assert list(upload_files.folder().iterdir()) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("filename", "content", "said"),
    [
        ("tickets.csv", table(60).replace(",", "\t"), "Named .csv, read as tab-separated text."),
        ("tickets.tsv", table(60), "Named .tsv, read as comma-separated text."),
        ("tickets.jsonl", json.dumps([{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(40)]), "Named .jsonl, read as JSON."),
        ("tickets.parquet", table(60), "Named .parquet, read as comma-separated text."),
        ("tickets.xlsx", table(60), "Named .xlsx, read as comma-separated text."),
    ],
    ids=["IC20 tabs in .csv", "IC20 commas in .tsv", "IJ2 a list in .jsonl", "IP1 commas in .parquet", "IX11 commas in .xlsx"],
)
def test_a_name_that_says_something_else_is_told_once_before_and_after_the_file_is_read(browser: TestClient, filename: str, content: str, said: str) -> None:
    place = browser.post("/datasets/uploads", files={"file": (filename, content.encode())}).headers["location"]
    assert get(browser, place).texts(".upload-how .help").count(said) == 1, "its beginning tells"
    imports.run(key_of(place))
    page = get(browser, place)
    assert page.texts(".upload-how .help").count(said) == 1 and "Read to the end" in page.text("#progress") and not page.all(".problems")


def test_another_delimiter_reads_the_file_otherwise_and_back(browser: TestClient) -> None:
    place = upload(browser, table(60).replace(",", ";"))
    page = change(browser, place, delimiter="|")
    assert page.texts(".upload-preview th")[1:] == ["text;label"] and page.one(".upload-freeze .primary").get("aria-disabled") == "true"
    assert "No column is named input" in page.text(".problems")
    page = change(browser, place, delimiter="")
    assert page.texts(".upload-preview th") == ["Line", "text input", "label output"] and not page.all(".problems")
    page = change(browser, place, header="no")
    assert page.texts(".upload-preview th")[1:] == ["column 1 input", "column 2 output"] and page.texts(".upload-preview tbody td")[1:3] == ["text", "label"]
    assert "61" in page.text(".upload-what .facts") and page.text("#header option[selected]") == "a row"
    page = change(browser, place, header="", line_ends="CR")
    assert page.text("#line_ends option[selected]") == "CR" and "The file has a header but no rows." in page.text(".problems")
    page = change(browser, place, line_ends="")
    assert page.texts(".upload-preview th") == ["Line", "text input", "label output"] and not page.all(".problems")
    assert "60" in page.text(".upload-what .facts") and page.text("#line_ends option[selected]") == "LF (found)"


def test_columns_can_be_chosen_several_for_the_input(browser: TestClient) -> None:
    place = upload(browser, "a,b,c\n" + "".join(f"why {n},because {n},{n % 2}\n" for n in range(40)))
    page = get(browser, place)
    assert "No column is named input" in page.text(".problems")
    page = change(browser, place, input=["a", "b"], output="c", group="a")
    assert page.texts(".upload-preview .badge") == ["input", "input", "output"] and not page.all(".problems")
    assert "One line each, as a:" in page.text("#upload") and page.one("#group option[selected]").get("value") == "a"
    assert "near-duplicates too, and rows with the same a too, unless" in page.text("#upload")
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    with transaction() as session:
        row = session.query(Example).filter_by(position=0).one()
        assert row.input == "a: why 0\nb: because 0" and row.output == "0"


def test_problems_are_shown_with_the_character_marked_and_all_can_be_had(browser: TestClient) -> None:
    text = 'text,label\n"a ""b"" c"x,y\nnul \0 here,z\n' + "".join(f'text {number},"a","=1+1"\n' for number in range(30))
    place = upload(browser, text, "broken.csv")
    page = get(browser, place)
    assert page.texts(".section-head .faint")[0].startswith("first 20 of 32") and len(page.all(".problems tbody tr")) == 20
    assert page.texts(".problems mark")[0] == '"' and page.texts(".problems mark")[1] == "\\x00"
    assert page.texts(".problems tbody td:first-child")[:3] == ["2", "3", "4"]
    everything = browser.get(f"{place}/problems.csv")
    assert everything.headers["content-disposition"].endswith('.csv"') and len(everything.text.strip().splitlines()) == 33
    assert everything.text.startswith("code,line,column,excerpt,advice")


def test_rows_with_a_problem_can_be_left_out(browser: TestClient) -> None:
    place = upload(browser, table(40) + "one,too,many\n" * 3)
    page = change(browser, place, leave_out=["wrong_number_of_values"])
    assert not page.all(".problems") and "3 rows with a problem were left out" in page.text(".upload-how")
    assert page.one("#leave-wrong_number_of_values").get("checked") is not None
    assert page.one(".upload-freeze .primary").get("aria-disabled") is None


def test_rows_with_a_problem_are_counted_beside_the_choice_to_leave_them_out(browser: TestClient) -> None:
    """Those whose first one stands behind the twenty that are shown, too."""
    place = upload(browser, table(40) + "one,too,many\n" * 21 + ",a\n" * 17 + "nul \0,a\n")
    page = get(browser, place)
    said = page.texts(".upload-how .check label")
    assert "17 rows have no text. Leave them out. empty_input" in said and "1 row holds a NUL character. Leave them out. nul_character" in said
    assert "21 rows have too many or too few values. Leave them out. wrong_number_of_values" in said
    page = change(browser, place, leave_out=["empty_input"])
    assert "17 rows have no text. They are left out. empty_input" in page.texts(".upload-how .check label")
    assert set(problem_words.WORDS) == set(LEAVABLE)


def pressed(browser: TestClient, place: str, said: str) -> Dom:
    """The page after a press of a button that a problem offers."""
    (button,) = (one for one in get(browser, place).all("#asked button") if one.text == said)
    return change(browser, place, **json.loads(str(button.get("hx-vals"))))


def test_another_encoding_is_one_press(browser: TestClient) -> None:
    text = table(40) + "the caf\u00e9 was shut,label 1\n" + "na\u00efve and \u4e2d,label 2\n"
    place = upload(browser, text.encode().replace("\u00e9".encode(), b"\xe9"))
    assert "invalid_bytes" in get(browser, place).text(".problems")
    page = pressed(browser, place, "Read as Windows-1252")
    assert page.one("#encoding option[selected]").get("value") == "cp1252" and not page.all("#asked, .problems")


def test_the_row_of_the_header_is_one_press(browser: TestClient) -> None:
    book = openpyxl.Workbook()
    for row in [["Tickets of May"], [None], ["text", "label", "by"], *([f"text {number}", "ab"[number % 2], "Ada"] for number in range(30))]:
        book.active.append(row)
    held = io.BytesIO()
    book.save(held)
    place = upload(browser, held.getvalue(), "may.xlsx")
    assert "not_a_header" in get(browser, place).text(".problems")
    page = pressed(browser, place, "Header in row 3")
    assert page.texts(".upload-preview .badge") == ["input", "output"] and page.one("#first_line").get("value") == "3" and not page.all(".problems")


def test_what_can_be_told_of_a_files_health_stands_there_before_it_is_frozen(browser: TestClient) -> None:
    assert not get(browser, upload(browser, table(40))).all("#foreseen")
    first, second = table(40).splitlines()[1:3]
    twice = f"{first}\n{first.rpartition(',')[0]},{second.rpartition(',')[2]}\nnobody else is like this,rare\n"
    page = get(browser, upload(browser, table(40) + twice))
    assert page.texts("#foreseen strong") == ["Conflicting duplicates.", "Tiny classes.", "Duplicates."]
    assert "'rare' has 1 row" in page.texts("#foreseen li")[1] and "2 duplicate rows" in page.texts("#foreseen li")[2]
    assert page.one(".upload-freeze .primary").get("aria-disabled") is None, "it is said, and stops nobody"


def test_the_limits_stand_beside_the_field(browser: TestClient) -> None:
    assert get(browser, "/datasets/new").text("#limits") == "At most 1,000,000 rows, 200 columns, and 1,000,000 characters in a cell."


def test_somebody_without_a_file_begins_with_a_small_one(browser: TestClient) -> None:
    link = get(browser, "/datasets/new").one("#template")
    answer = browser.get(str(link.get("href")))
    assert answer.status_code == 200 and link.get("download") is not None and answer.text.splitlines()[0] == "text,label" and len(answer.text.splitlines()) == 3
    page = get(browser, upload(browser, answer.content, "template.csv"))
    assert page.texts(".upload-preview th") == ["Line", "text input", "label output"] and not page.all(".problems")


def test_a_long_table_of_labels_can_be_searched(browser: TestClient) -> None:
    assert not get(browser, upload(browser, table(120, labels=12))).all("[data-find]")
    page = get(browser, upload(browser, table(120, labels=13)))
    assert page.one("#upload [data-find]").get("name") is None, "it is no part of what the form says"
    assert len(page.all(".labels dt")) == 13 and page.text(".more > summary") == "3 more"


ALIKE = "text,label\n" + "".join(f"letter {number} to us,{('refund', 'refund', 'refund ', 'Refund', 'praise')[number % 5]}\n" for number in range(100))


def test_labels_that_look_alike_are_merged_before_it_is_frozen_and_apart_again(browser: TestClient, person: Who) -> None:
    place = upload(browser, ALIKE)
    page = get(browser, place)
    said = ["Merge “refund ” 20 into “refund” (an invisible character or white space)", "Merge “Refund” 20 into “refund” (case)"]
    assert page.texts("#merges label") == said
    ticks = [str(tick.get("value")) for tick in page.all("#merges input")]
    assert not page.all("#merges input[checked]") and len(page.all(".labels dt")) == 4 and page.texts("#foreseen strong") == ["Labels that look alike."]
    page = change(browser, place, merge=ticks[:1])
    assert page.texts("#merges label") == ["Merge “refund ” 20 into “refund”", said[1]], "one of them is a decision of its own"
    assert [tick.get("id") for tick in page.all("#merges input[checked]")] == [page.all("#merges input")[0].get("id")]
    page = change(browser, place, merge=ticks)
    assert (
        page.texts("#merges label") == ["Merge “Refund” 20 into “refund”", "Merge “refund ” 20 into “refund”"] and len(page.all("#merges input[checked]")) == 2
    )
    assert page.texts(".labels dd.num") == ["80 80.0 %", "20 20.0 %"] and not page.all("#foreseen")
    assert "The label of 40 rows is read as another one" in page.text(".upload-how")
    assert len(change(browser, place, merge=[]).all(".labels dt")) == 4, "apart again"
    page = change(browser, place, merge=ticks)
    assert browser.post(f"{place}/freeze", data=form(page)).status_code == 303
    imports.run(key_of(place))
    version = datasets.find(person, "1").version
    assert [(label.key, label.count) for label in version.book.labels] == [("praise", 20), ("refund", 80)]
    assert version.origin["options"]["labels"] == {"refund ": "refund", "Refund": "refund"}, "a later file of the dataset is read so, too"
    assert version.origin["notes"][-1]["code"] == "labels_merged"


def test_merges_and_display_texts_stay_while_there_is_no_table_of_labels(browser: TestClient) -> None:
    place = upload(browser, ALIKE)
    tick = str(get(browser, place).all("#merges input")[0].get("value"))
    change(browser, place, merge=[tick], displays='{"praise": "thanks"}')
    assert not change(browser, place, output=view.NONE).all("#merges, .labels")
    page = change(browser, place, output="label")
    assert page.texts("#merges label")[0] == "Merge “refund ” 20 into “refund”" and page.one("[name=displays]").get("value") == '{"praise": "thanks"}'


def test_free_texts_are_neither_merged_nor_named(browser: TestClient) -> None:
    rows = "".join(f"question {number},answer {number // 2}{' ' * (number % 2)}\n" for number in range(40))
    page = get(browser, upload(browser, "text,label\n" + rows))
    assert len(page.all(".labels dt")) == 40 and not page.all("#merges, [data-display], [name=displays]")


def test_what_a_merged_label_looks_like_in_turn_is_merged_to_the_end(browser: TestClient) -> None:
    place = upload(browser, "text,label\n" + "".join(f"letter {number} to us,{'A' if number % 3 else 'b'}\n" for number in range(60)))
    page = change(browser, place, merge=['{"c": "b"}', '{"b": "A"}'])
    assert page.texts(".labels dd.num") == ["60 100.0 %"] and page.texts("#merges label") == ["Merge “b” 20 into “A”", "Merge “c” 0 into “A”"]


CODES = "text,label\n" + "".join(f"letter {number} to us,T-{number % 2 + 1}\n" for number in range(60))


def test_display_texts_go_from_the_table_of_labels_into_the_label_book(browser: TestClient, person: Who) -> None:
    place = upload(browser, CODES)
    page = get(browser, place)
    assert [field.get("data-display") for field in page.all(".labels input")] == ['"T-1"', '"T-2"'] and page.one("[name=displays]").get("value") == "{}"
    assert not [field for field in page.all(".labels input") if field.get("name")], "a form of 1,000 labels has more fields than a form may have"
    page = change(browser, place, displays='{"T-1": "refund", "T-2": "refund"}')
    assert "“refund” would mean “T-1” and “T-2”." in page.text("#displays-refused") and page.one(".upload-freeze .primary").get("aria-disabled") == "true"
    assert [field.get("value") for field in page.all(".labels input")] == ["refund", "refund"], "what was typed is not lost"
    assert [field.get("data-display") for field in page.all(".labels input[aria-invalid]")] == ['"T-1"', '"T-2"']
    page = change(browser, place, displays='{"T-1": "T-2"}')
    assert page.one(".labels input[aria-invalid]").get("data-display") == '"T-1"', "the one that was typed, not the one it would be taken for"
    refused = browser.post(f"{place}/freeze", data=form(page))
    assert refused.status_code == 422 and "would mean" in Dom(refused.text).text("#upload .notice")
    page = change(browser, place, displays='{"T-1": "refund", "gone": "nobody"}', output="label", test="30")
    assert not page.all("#displays-refused")
    browser.post(f"{place}/freeze", data=form(page))
    imports.run(key_of(place))
    assert [(label.key, label.display, label.count) for label in datasets.find(person, "1").version.book.labels] == [("T-1", "refund", 30), ("T-2", "T-2", 30)]


def test_a_display_text_that_is_not_json_is_refused_and_changes_nothing(browser: TestClient) -> None:
    place = upload(browser, CODES)
    refused = browser.post(place, data=form(get(browser, place), displays='["T-1"]'), headers={"HX-Request": "true"})
    assert "Reload the page." in refused.text and get(browser, place).one("[name=displays]").get("value") == "{}"


def test_an_archive_with_several_tables_asks_which(browser: TestClient) -> None:
    place = upload(browser, packed(train=table(50), test=table(20, seed=1)), "both.zip")
    page = get(browser, place)
    assert "several tables" in page.text(".problems") and page.texts("#member option")[1:] == ["each file is a split", "train.csv", "test.csv"]
    page = change(browser, place, member="test.csv")
    assert "20" in page.text(".upload-what .facts") and page.one("#member option[selected]").get("value") == "test.csv"
    assert page.one("#test").get("value") == "20", "shares that nobody was asked for yet are the usual ones"
    assert "50" in change(browser, place, member="train.csv").text(".upload-what .facts")


def test_each_file_of_an_archive_can_be_a_split(browser: TestClient) -> None:
    place = upload(browser, packed(mine=table(50), dev=table(20, seed=1), test=table(30, seed=2)), "splits.zip")
    page = get(browser, place)
    button = page.all("button[hx-vals]")[0]
    assert button.text == "Read each file as a split" and "dev.csv as validation, test.csv as test" in page.text("#upload")
    page = change(browser, place, **json.loads(str(button.get("hx-vals"))))
    assert page.texts(".upload-members label") == ["mine.csv", "dev.csv", "test.csv"]
    assert page.texts(".upload-members option[selected]") == ["left out", "validation", "test"], "a name that says nothing is not guessed at"
    assert "validation 20" in page.text(".upload-what .facts") and "test 30" in page.text(".upload-what .facts")
    page = change(browser, place, member_split=["train", "validation", "test"])
    assert page.texts(".upload-preview .member") == ["mine.csv train", "dev.csv validation", "test.csv test"] and not page.all("#split, #test, .problems")
    assert "As the files say." in page.text("#upload") and "A test split of 30 rows" in page.text("#upload")
    browser.post(f"{place}/freeze", data=form(page, name="Mail"))
    imports.run(key_of(place))
    dataset = get(browser, "/datasets/1")
    assert dataset.texts(".figure dt") == ["train", "validation", "test"] and "mine.csv as train" in dataset.texts(".source")[0]
    with transaction() as session:
        assert session.query(Example).filter_by(split="train").count() == 50


def test_files_whose_columns_differ_say_which_one_lacks_what(browser: TestClient) -> None:
    place = upload(browser, packed(train=table(50), test="id,text\n1,a\n2,b\n"), "differ.zip")
    page = change(browser, place, member=view.EACH)
    assert "test.csv: There is no column 'label', which train.csv has." in page.text(".problems") and page.texts(".upload-preview .badge")[-1:] == ["test"]
    assert "columns_differ,,label" in browser.get(f"{place}/problems.csv").text
    page = change(browser, place, member_split=["train", ""])
    assert not page.all(".problems") and "50" in page.text(".upload-what .facts")


def test_how_far_it_is_and_cancel(browser: TestClient, person: Who) -> None:
    response = browser.post("/datasets/uploads", files={"file": ("x.csv", table(60).encode(), "text/csv")})
    place = response.headers["location"]
    page = get(browser, place)
    assert "Waiting for its turn" in page.text("#progress") and page.one("#progress button").get("formaction") == f"{place}/cancel"
    assert len(page.all(".upload-preview tbody tr")) == 20, "the beginning is shown at once"
    with transaction() as session:
        session.query(Upload).update({"state": "importing", "aim": "import", "rows": 30, "share": 0.5, "started_at": 1_000, "touched_at": 3_000})
    told = get(browser, place).text("#progress")
    assert "Importing" in told and "30 rows, 15 rows/s" in told and not get(browser, place).all(".upload-preview")
    assert get(browser, "/datasets").texts(".badge") == ["is imported"]
    with transaction() as session:
        session.query(Upload).update({"state": "ready", "aim": "report"})
    assert browser.post(f"{place}/cancel").headers["location"] == "/datasets"
    assert list(upload_files.folder().iterdir()) == [] and uploads.unfinished(person) == []
    assert browser.get(place).status_code == 404
    assert browser.get(f"{place}/progress").headers["hx-redirect"] == "/datasets"


def test_a_failed_import_says_why(browser: TestClient) -> None:
    place = upload(browser, table(60))
    with transaction() as session:
        session.query(Upload).update({"state": "failed", "error": imports.LOST})
    page = get(browser, place)
    assert "cut off" in page.text(".notice") and page.href("a.primary") == "/datasets/new"


@pytest.mark.parametrize(("field", "value"), [("seed", "many"), ("first_line", "0"), ("test", "95")])
def test_a_value_that_is_none_is_said_and_nothing_is_lost(browser: TestClient, field: str, value: str) -> None:
    place = upload(browser, table(60))
    values = form(get(browser, place), name="Kept")
    response = browser.post(place, data=values | {field: value}, headers={"HX-Request": "true"})
    assert response.status_code == 200 and "bad_value" in Dom(response.text).text(".notice")
    assert get(browser, place).text("h1") == "tickets"


def test_no_file_is_said(browser: TestClient) -> None:
    response = browser.post("/datasets/uploads", data={"name": "nothing"})
    assert response.status_code == 422 and "No file was sent." in Dom(response.text).text(".notice")


ROWS = table(5).encode()


@pytest.mark.parametrize("to", ["/datasets/uploads", "/datasets/1/append"])
@pytest.mark.parametrize("live", [False, True], ids=["sent by the form", "sent by its script"])
@pytest.mark.parametrize(
    ("status", "words", "sent"),
    [
        (422, "2 files were sent", {"files": [("file", ("a.csv", ROWS)), ("file", ("b.csv", ROWS))]}),
        (422, "No file was sent.", {"files": [("file", ("", b""))]}),
        (
            413,
            "this installation takes files of up to 200,000,000 bytes",
            {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x", "content-length": "9999999999"}},
        ),
    ],
    ids=["two files", "none", "too large"],
)
def test_what_is_not_taken_is_a_sentence_on_the_page(
    browser: TestClient, person: Who, to: str, live: bool, status: int, words: str, sent: dict[str, Any]
) -> None:
    add_dataset(person)
    headers = {"Accept": "text/html", **sent.get("headers", {}), **({"HX-Request": "true"} if live else {})}
    answer = browser.post(to, **{**sent, "headers": headers})
    assert answer.status_code == status and answer.headers["content-type"].startswith("text/html")
    said = Dom(answer.text)
    assert words in said.text(".notice" if live else "main") and not (live and said.all("h1"))
    assert list(upload_files.folder().iterdir()) == [] and uploads.unfinished(person) == []


def test_an_empty_file_is_a_sentence_on_its_page(browser: TestClient) -> None:
    page = get(browser, upload(browser, b"", "nothing.csv"))
    assert "The file is empty. Choose a file with a header" in page.text(".problems") and page.one(".upload-freeze .primary").get("aria-disabled") == "true"


def test_nobody_sees_an_upload_without_an_account(visitor: TestClient, browser: TestClient) -> None:
    place = upload(browser, table(60))
    visitor.cookies.clear()
    for path in (place, f"{place}/progress", f"{place}/problems.csv", "/datasets/uploads"):
        assert visitor.get(path).headers["location"] == "/sign-in"
