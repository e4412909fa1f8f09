"""The Data room: lists that cost the same whatever their length, uploads that say what is wrong, a test split that stays sealed."""

from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who
from app.domain.dataset import Dataset, Example
from app.settings import settings
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset

ROWS = "".join(f"message number {number} about {'a bill' if number % 2 else 'a parcel'},{'billing' if number % 2 else 'delivery'}\n" for number in range(120))


def upload(browser: TestClient, text: str, name: str = "tickets.csv", live: bool = False, **fields: str) -> tuple[int, Dom, dict[str, str]]:
    """Send a file as the form does; `live` as static/js/upload.js does."""
    headers = {"HX-Request": "true"} if live else {}
    response = browser.post("/datasets", files={"file": (name, text.encode(), "text/csv")}, data=fields, headers=headers)
    return response.status_code, Dom(response.text or "<p></p>"), dict(response.headers)


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


def test_an_upload_becomes_a_sealed_version_with_its_splits(browser: TestClient, person: Who) -> None:
    status, _, headers = upload(browser, "text,kind\n" + ROWS, inputs="text", outputs="kind", name="tickets.csv", seed="7")
    assert status == 303
    page = get(browser, headers["location"])
    assert page.text("h1") == "tickets"
    assert page.texts(".figure dt") == ["train", "validation", "test"]
    assert sum(int(words.split()[0]) for words in page.texts(".figure dd:nth-of-type(1)")) == 120
    assert "tickets.csv" in page.text(".facts") and "CSV, utf-8" in page.text(".facts")
    assert page.texts(".bars dt") == ["billing", "delivery"] and page.texts(".bars .num") == ["60 50.0 %", "60 50.0 %"]
    assert list(settings().folder.joinpath("uploads").iterdir()) == []


def test_the_browsers_upload_is_sent_on_to_the_dataset(browser: TestClient) -> None:
    status, _, headers = upload(browser, "input,output\n" + ROWS, live=True)
    assert status == 204 and headers["hx-redirect"] == "/datasets/1"


def test_a_broken_file_shows_its_problems_and_keeps_what_was_typed(browser: TestClient) -> None:
    broken = "input,output\n" + "".join(f'text {number},"a","one too many"\n' for number in range(30))
    status, page, _ = upload(browser, broken, name="broken.csv", inputs="input", seed="3")
    assert status == 422
    assert page.text(".section-head .faint") == "first 20 of 30"
    rows = page.texts(".problems tbody td:first-child")
    assert len(rows) == 20 and rows[0] == "2" and "one too many" in page.texts(".problems code")[0]
    assert page.one("#inputs").get("value") == "input" and page.one("#seed").get("value") == "3"
    status, part, _ = upload(browser, broken, live=True)
    assert status == 422 and len(part.all(".problems tbody tr")) == 20 and not part.all("form")
    with transaction() as session:
        assert session.query(Dataset).count() == 0 and session.query(Example).count() == 0


def test_a_refused_seed_stands_at_its_field(browser: TestClient) -> None:
    status, page, _ = upload(browser, "input,output\n" + ROWS, name="x.csv", seed="many")
    assert status == 422
    assert page.one("#seed").get("aria-invalid") == "true" and "not a number" in page.text("#seed-error")


def test_no_file_is_said(browser: TestClient) -> None:
    response = browser.post("/datasets", data={"name": "nothing"})
    assert response.status_code == 422 and "No file was sent." in Dom(response.text).text(".notice")


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
    assert "labels look wrong" in page.text(".facts")
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
