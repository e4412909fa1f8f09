"""The pages of reliability checks: the form with what it would ask, what was found, the rows and one row with every answer."""

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.services import reliability
from tests.dom import Dom, get
from tests.services.test_predictions import FIRST
from tests.services.test_reliability import OTHER, base, checked

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_a_check_is_started_from_an_evaluation_and_its_forms_are_read_before(browser: TestClient, person: Who) -> None:
    key = base(person)
    page = get(browser, f"/evaluations/{key}")
    form = get(browser, next(link.get("href") for link in page.all("a.button") if "reliability" in str(link.text_content())))
    assert "equal by construction" in form.text("#reliability-form") and not form.all("#repeats"), "what would say nothing is not offered"
    assert len(form.all(".forms-drawn details")) == 9 and "8 runs, 80 rows" in form.text("#reliability-form [aria-live]")
    answer = browser.post("/reliability", data={"evaluation": str(key), "forms": "3", "seed": "5"})
    assert answer.status_code == 303 and answer.headers["location"] == "/reliability/1"
    check = reliability.find(person, 1).check
    assert (check.forms, check.repeats, check.seed) == (3, 0, 5)
    waiting = get(browser, "/reliability/1")
    assert "No figures yet" in waiting.text(".sentence") and waiting.all("[data-poll][hx-get='/reliability/1']")
    assert get(browser, f"/jobs/{check.job_id}").all("a[href='/reliability/1']")


def test_where_repeats_may_differ_they_are_offered(browser: TestClient, person: Who) -> None:
    form = get(browser, f"/reliability/new?evaluation={base(person, temperature=0.7)}")
    assert form.one("#repeats").get("value") == "4" and "12 runs" in form.text("#reliability-form [aria-live]")


@pytest.mark.parametrize(("wrong", "field"), [({"forms": "none"}, "forms"), ({"forms": "99"}, "forms"), ({"seed": "x"}, "seed"), ({"forms": "0"}, "forms")])
def test_what_is_refused_is_said_in_the_form(browser: TestClient, person: Who, wrong: dict[str, str], field: str) -> None:
    answer = browser.post("/reliability", data={"evaluation": str(base(person)), **wrong})
    page = Dom(answer.text)
    assert answer.status_code == 422 and page.text(f"#{field}-error") and page.one(f"#{field}").get("value") == wrong[field]


def test_a_finished_check_says_what_stays_and_shows_the_rows_that_do_not(browser: TestClient, person: Who) -> None:
    key = base(person, temperature=0.7)
    view = checked(person, key, [FIRST, OTHER, FIRST, OTHER], repeats=1, forms=3)
    page = get(browser, f"/reliability/{view.check.id}")
    said = page.texts(".sentence")
    assert said[0].startswith("In 4 forms of the same prompt 90 % [0.60, 0.98] of 10 rows get the same answer; accuracy goes from 0.500 to 0.600")
    assert said[1] == "Asked 2 times all 10 rows get the same answer."
    assert "in this range, that of the prompt and 3 drawn forms, in at least 50 % of cases" in page.text("main"), "what a further form may do"
    assert len(page.all(".runs tbody tr")) == 5
    assert page.texts(".runs tbody th .sub") == ["lowest", "highest", "lowest", "highest"], "two forms share each end; the repeat is no form"
    differ = get(browser, f"/reliability/{view.check.id}?only=forms")
    assert len(differ.all(".predictions tbody tr")) == 1 and differ.texts(".answers-counted li") == ["3 billing", "2 delivery"]
    row = get(browser, differ.all(".predictions tbody a")[0].get("href") or "")
    assert "2 different answers in 5 runs" in row.text(".sentence") and len(row.all(".predictions tbody tr")) == 5
    assert f"/reliability/{view.check.id}" in str(get(browser, f"/evaluations/{key}").one("#reliability-title + .scroll tbody a").get("href"))
    assert get(browser, f"/evaluations/{key}").text("#reliability-title + .scroll tbody th") == "in 3 other forms, once"
    run = view.runs[2].evaluation
    assert f"reliability check {view.check.id}" in get(browser, f"/evaluations/{run.id}").text(".lede")
    assert get(browser, "/evaluations").texts("tbody th") != [] and len(get(browser, "/evaluations").all("tbody tr")) == 1


def test_sealed_rows_stay_behind_their_seal(browser: TestClient, person: Who) -> None:
    view = checked(person, base(person, "test"), [OTHER], forms=1)
    page = get(browser, f"/reliability/{view.check.id}")
    assert "Sealed" in page.text("#rows .empty") and "message" not in page.text("main") and page.all(".runs")
    assert get(browser, f"/reliability/{view.check.id}/rows/31", 403).root is not None


def test_one_is_said_as_one(browser: TestClient, person: Who) -> None:
    key = base(person, "test")
    assert "1 run, 10 rows" in get(browser, f"/reliability/new?evaluation={key}&forms=1").text("#reliability-form [aria-live]")
    view = checked(person, key, [OTHER], forms=1)
    page = get(browser, f"/reliability/{view.check.id}").text("main")
    assert "The run was one look at the test rows" in page and "A further form" not in page, "one form tells nothing of a further one"
    assert get(browser, f"/evaluations/{key}").text("#reliability-title + .scroll tbody th") == "in 1 other form"
