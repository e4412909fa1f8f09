"""The pages of judgements: the form beside two evaluations, what was found, the rows and one row in both orders."""

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.services import discarding, judgements
from app.services import evaluations as service
from tests.dom import Dom, get
from tests.services.test_judgements import WORDS, graded, judged, two
from tests.services.test_predictions import FIRST, evaluated
from tests.services.test_ruling import by_example, grade_all

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_a_judgement_is_started_where_two_evaluations_stand_beside_each_other(browser: TestClient, person: Who) -> None:
    first, second, judge = two(person)
    beside = get(browser, f"/evaluations/{first}?other={second}")
    form = get(browser, next(link.get("href") for link in beside.all("a.button") if "Judge" in str(link.text_content())))
    assert form.one("#other option[selected]").get("value") == str(second) and "readings" in form.text("#judgement-form [aria-live]")
    typed = {"evaluation": str(first), "other": str(second), "model": str(judge), "limit": "6", "text": "The kinder one."}
    answer = browser.post("/judgements", data=typed)
    assert answer.status_code == 303 and answer.headers["location"] == "/judgements/1"
    found = judgements.find(person, 1).judgement
    assert found.row_limit == 6 and found.asked().text == "The kinder one." and not found.asked().reference, "the box was not ticked"
    page = get(browser, "/judgements/1")
    assert "No figures yet" in page.text(".sentence") and page.all("[data-poll][hx-get='/judgements/1']")
    job = get(browser, f"/jobs/{found.job_id}")
    assert "Judge" in job.text("#job-settings") and job.all(f"a[href='/judgements/{found.id}']")


@pytest.mark.parametrize(("wrong", "field"), [({"limit": "none"}, "limit"), ({"model": "nobody"}, "model"), ({"text": "x" * 10_001}, "text")])
def test_what_is_refused_is_said_in_the_form_and_nothing_typed_is_lost(browser: TestClient, person: Who, wrong: dict[str, str], field: str) -> None:
    first, second, judge = two(person)
    answer = browser.post("/judgements", data={"evaluation": str(first), "other": str(second), "model": str(judge), "text": "Mine.", **wrong})
    assert answer.status_code in (404, 422)
    page = Dom(answer.text)
    assert page.text(f"#{field}-error") and page.text("#text") == wrong.get("text", "Mine.")


def test_without_another_evaluation_the_form_grades_by_rubric_or_says_what_is_needed(browser: TestClient, person: Who) -> None:
    first, second, judge = two(person)
    discarding.evaluation(person, second)
    form = get(browser, f"/judgements/new?evaluation={first}")
    assert form.one("[name=kind][checked]").get("value") == "rubric" and form.one("#low").get("value") == "1"
    assert "second, finished evaluation" in get(browser, f"/judgements/new?evaluation={first}&kind=pairwise").text(".empty")
    typed = {"evaluation": str(first), "kind": "rubric", "model": str(judge), "low": "1", "high": "4", "reference": "on"}
    refused = browser.post("/judgements", data={**typed, "text": ""})
    assert refused.status_code == 422 and "empty" in Dom(refused.text).text("#text-error")
    assert browser.post("/judgements", data={**typed, "text": "Kind words."}).headers["location"] == "/judgements/1"
    brief = judgements.find(person, 1).judgement.asked()
    assert brief.scale is not None and brief.scale.grades == ("1", "2", "3", "4") and brief.reference
    again = get(browser, "/judgements/new?like=1")
    assert again.text("#text") == "Kind words." and again.one("#high").get("value") == "4"


def test_grades_stand_beside_those_of_people(browser: TestClient, person: Who) -> None:
    first, _, judge = two(person)
    key = graded(person, first, judge).judgement.id
    page = get(browser, f"/judgements/{key}")
    assert "Mean grade 3.44" in page.text(".sentence") and "before you trust it" in page.text("#trust-title + p")
    assert page.texts(".grades dt") == ["1", "2", "3", "4", "5"] and page.texts(".grades dd.num") == ["1", "1", "2", "3", "2"]
    assert {len(list(row)) for row in page.all(".predictions tr")} == {4}, "an answer, and no second one"
    mark = get(browser, f"/judgements/{key}/mark")
    assert "Kind words." in mark.text(".rubric") and '"value": "5"' in str(mark.one("#given").text) and mark.one("#meter").get("max") == "10"
    grade_all(person, key, {example: value for example, value in by_example(person, key).items() if value})
    page = get(browser, f"/judgements/{key}")
    assert (
        "from 9 rows" in page.text("#trust-title + p")
        and "9 of 9 rows" in page.text("section .figures")
        and page.texts("section .figures dt") == ["Same grade", "Weighted kappa"]
    )
    assert get(browser, f"/judgements/{key}/mark").one("#meter").get("value") == "0", "everybody has their own place"
    row = get(browser, page.all(".predictions tbody a")[0].get("href") or "")
    assert "Graded" in row.text(".sentence") and "Ada" in row.text("main")
    assert "by rubric" in get(browser, f"/evaluations/{first}").text("#judgements-title + .scroll tbody")


def test_a_finished_judgement_says_who_wins_and_shows_its_rows(browser: TestClient, person: Who) -> None:
    first, second, judge = two(person)
    key = judged(person, first, second, judge, WORDS).judgement.id
    page = get(browser, f"/judgements/{key}")
    assert "Cannot tell" in page.text(".sentence") and "8 rows" in page.text(".sentence")
    assert page.texts(".figures dt") == ["Win rate of A", "Flips", "The longer answer wins", "Not read"]
    assert page.one(".wins").get("aria-label") == "4 won by A, 3 ties, 1 won by B" and len(page.all(".predictions tbody tr")) == 10
    flips = get(browser, f"/judgements/{key}?only=flip")
    assert len(flips.all(".predictions tbody tr")) == 2 and "flip" in flips.text(".predictions")
    row = get(browser, flips.all(".predictions tbody a")[0].get("href") or "")
    assert "turns with the order" in row.text(".sentence") and row.texts("main section:last-of-type h2") == ["A stood first", "B stood first"]
    for evaluation, rate in ((first, "0.688"), (second, "0.312")):
        assert rate in get(browser, f"/evaluations/{evaluation}").text("#judgements-title + .scroll tbody"), "each evaluation sees its own side"
    assert get(browser, f"/judgements/{key + 1}", 404).root is not None


def test_sealed_rows_stay_behind_their_seal(browser: TestClient, person: Who) -> None:
    first, second, judge = two(person, "test")
    key = judged(person, first, second, judge, WORDS).judgement.id
    page = get(browser, f"/judgements/{key}")
    assert "Sealed" in page.text("#rows .empty") and "message" not in page.text("main") and page.all(".wins")
    assert get(browser, f"/judgements/{key}/rows/31", 403).root is not None


def test_the_same_answers_are_not_called_a_question_of_more_rows(browser: TestClient, person: Who) -> None:
    first, _, judge = two(person)
    again = evaluated(person, service.named(person, service.find(person, first).evaluation).version.reference, FIRST, model=judge)
    key = judged(person, first, again, judge, [("tie", "tie")] * 10).judgement.id
    page = get(browser, f"/judgements/{key}")
    assert page.text(".sentence") == "All 10 answers are the same: there is nothing to choose between."
    assert "10 rows have the same answer twice" in page.text("main")
    assert browser.get(f"/api/v1/judgements/{key}").json()["scores"]["verdict"] == "same"
