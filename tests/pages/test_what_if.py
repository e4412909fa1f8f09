"""The sliders under a verdict, as a form that sends all of them."""

from urllib.parse import urlencode

from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.targets import Targets
from tests.dom import Dom, get
from tests.pages.test_experiments import task
from tests.pages.test_ladder_pages import add
from tests.rows import climb

__all__ = ["task"]


def test_sliders_are_a_fragment_with_their_state_in_the_address(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"})
    place = get(browser, f"/experiments/{key}").one("#what-if").get("hx-get") or ""
    waiting = Dom(browser.get(place, headers={"HX-Request-Type": "partial"}).text).one("#what-if")
    assert waiting.get("hidden") is not None and waiting.get("hx-trigger") == "every 10s", "nothing can change a verdict that is not there yet"
    climb(20, 29)
    page = Dom(browser.get(place, headers={"HX-Request-Type": "partial"}).text)
    assert [box.get("name") for box in page.all("#what-if input[type=range]")] == ["requests_a_month", "label_price", "margin"]
    part = browser.get(f"/experiments/{key}/what-if?margin=20", headers={"HX-Request-Type": "partial"})
    found = Dom(part.text)
    assert "<html" not in part.text and found.one("#if-margin").get("value") == "20" and found.texts("output")[2] == "10 points"
    assert browser.get(f"/experiments/{key}/what-if?margin=99").status_code == 422


def test_a_slider_that_nobody_moved_is_sent_and_changes_nothing(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, margin=0.0325, targets=Targets(machine_hour=36.0))
    climb(20, 29)

    def sent(page: Dom, **moved: str) -> Dom:
        fields = [(str(box.get("name")), str(box.get("value"))) for box in page.all("#what-if input")]
        query = urlencode([(name, moved.get(name, value)) for name, value in fields])
        return Dom(browser.get(f"/experiments/{key}/what-if?{query}", headers={"HX-Request-Type": "partial"}).text)

    first = Dom(browser.get(f"/experiments/{key}/what-if").text)
    assert first.texts("output") == ["not set", "not set", "3.25 points"] and sent(first).texts("output") == first.texts("output")
    assert first.texts("#what-if .help")[:2] == [
        "Changes nothing until the price of a label is set.",
        "Changes nothing until the number of requests a month is set.",
    ]
    moved = sent(first, requests_a_month="3")
    assert moved.texts("output") == ["1,000", "not set", "3.25 points"] and sent(moved).texts("output") == moved.texts("output")
    assert sent(moved, label_price="0").texts("output") == ["1,000", "$0.00", "3.25 points"]
