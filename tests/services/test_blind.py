"""Blind comparisons: nothing says whose answers are shown until it is closed, several people choose, and then the names and figures are there."""

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import judgement as rules
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.judgement import Judgement
from app.errors import Conflict, Invalid, Sealed
from app.services import accounts, blind, discarding, evaluations, judgements, prompts, ruling
from tests.dom import get
from tests.pages.conftest import browser, visitor
from tests.rows import add_dataset, add_model
from tests.services.test_predictions import evaluated
from tests.services.test_ruling import another

__all__ = ["browser", "visitor"]

BETTER = [f"kind {at}" for at in range(10)]
WORSE = [f"cold {at}" for at in range(9)] + ["kind 9"]
"""The last row has the same answer twice."""


def two(person: Who, split: str = "validation") -> tuple[int, int]:
    """Two evaluations with names that must not be seen."""
    dataset = add_dataset(person, "letters").reference
    return evaluated(person, dataset, BETTER, split, model=add_model(person, "Zebra-7B", "zebra")), evaluated(
        person, dataset, WORSE, split, model=add_model(person, "Okapi-1B", "okapi")
    )


def begun(person: Who, split: str = "validation") -> int:
    first, second = two(person, split)
    return blind.create(person, evaluation=first, other=second).judgement.id


def choose(person: Who, key: int, wanted: str, rows: int) -> None:
    """Choose whatever begins with this word; the page only knows places."""
    for row in ruling.queue(person, key, rows).rows:
        places = [text.startswith(wanted) for text in row.answers]
        ruling.rule(person, key, row.example, "A" if places[0] else "B" if places[1] else "tie")


def test_places_are_thrown_kept_and_resolved(person: Who) -> None:
    key = begun(person)
    rows = ruling.queue(person, key, 10).rows
    assert len(rows) == 9, "the same answer twice is not asked"
    assert [row.answers for row in ruling.queue(person, key, 10).rows] == [row.answers for row in rows], "however often it is looked at"
    choose(person, key, "kind", 9)
    with reading() as session:
        given = rules.marks(session, session.get_one(Judgement, key))
    assert {one.value for one in given} == {"a"} and {one.order for one in given} == {"ab", "ba"}, "kind answers are A, wherever they stood"
    for one in given:
        shown = next(row.answers for row in rows if row.example == one.example_id)
        assert shown[0].startswith("kind") == (one.order == "ab"), "the place is kept with what was chosen"


def test_closing_counts_what_several_people_chose_and_ends_it(person: Who) -> None:
    key, other = begun(person), another("Grace")
    choose(person, key, "kind", 9)
    choose(other, key, "kind", 6)
    choose(other, key, "cold", 3)
    for look in (lambda: judgements.rows(person, key), lambda: judgements.whole(person, key, 1)):
        with pytest.raises(Conflict, match="blind until"):
            look()
    scores = blind.close(other, key).judgement.scores
    assert scores is not None and (scores["n"], scores["wins"], scores["ties"], scores["losses"], scores["same"]) == (9, 6, 3, 0, 1)
    assert (scores["rulings"], scores["people"], scores["alpha"]["rows"]) == (18, 2, 9) and scores["win_rate"]["value"] == pytest.approx(7.5 / 9)
    assert scores["alpha"]["value"] < 0.2, "where one of two always says the same, agreement is chance"
    found = judgements.rows(person, key)
    assert found.counts == {"all": 9, "a": 6, "b": 0, "tie": 3, "differs": 3} and len(found.rows[0].marks) == 2
    assert judgements.of_evaluation(person, 1)[0].judgement.id == key
    for late in (lambda: ruling.queue(person, key, 1), lambda: ruling.rule(person, key, 1, "A"), lambda: blind.close(person, key)):
        with pytest.raises(Conflict, match=r"closed|no open"):
            late()


def test_what_cannot_be_compared_is_refused(person: Who) -> None:
    first, second = two(person)
    with pytest.raises(Invalid, match="Two evaluations"):
        blind.create(person, evaluation=first, other=first)
    twin = evaluated(person, "1@1", BETTER, model=add_model(person))
    with pytest.raises(Invalid, match="different answers"):
        blind.create(person, evaluation=first, other=twin)
    key = blind.create(person, evaluation=first, other=second).judgement.id
    with pytest.raises(Invalid, match="nothing that can be said"):
        ruling.rule(person, key, ruling.queue(person, key, 1).rows[0].example, "a")
    discarding.judgement(person, key)
    discarding.evaluation(person, second)


def test_what_is_compared_blind_is_not_deleted_and_not_said_to_be_in_which_comparison(person: Who) -> None:
    first, second = two(person)
    model = evaluations.named(person, evaluations.find(person, second).evaluation).model.id
    keys = [blind.create(person, evaluation=first, other=second).judgement.id for _ in range(2)]
    for remove, key in ((discarding.evaluation, first), (discarding.evaluation, second), (discarding.model, model)):
        with pytest.raises(Conflict, match=r"used by an open blind comparison\.") as refused:
            remove(person, key)
        assert refused.value.detail["users"] == [{"noun": "judgement", "id": None, "name": "an open blind comparison"}]
    blind.close(person, keys[0])
    with pytest.raises(Conflict, match=rf"judgement {keys[0]} \(blind\), an open blind comparison\."):
        discarding.evaluation(person, second)


def test_sealed_rows_are_not_compared_before_they_are_open(person: Who) -> None:
    first, second = two(person, "test")
    with pytest.raises(Sealed):
        blind.create(person, evaluation=first, other=second)
    with transaction() as session:
        version = session.get_one(DatasetVersion, session.get_one(Evaluation, first).dataset_version_id)
        datasets.reveal(session, person, version, "to compare")
    assert ruling.queue(person, blind.create(person, evaluation=first, other=second).judgement.id, 3).rows


SECRET = re.compile(r"zebra|okapi|evaluation.{0,3}\d|default|prompt", re.IGNORECASE)
"""What would say whose answers they are: models, prompts, evaluations."""


def leaks(text: str) -> list[str]:
    return SECRET.findall(text)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_says_whose_answers_they_are_until_it_is_closed(browser: TestClient, person: Who) -> None:
    key = begun(person)
    prompt = prompts.usual(person).reference
    evaluations.create(
        person, model="zebra-7b", prompt_version=prompt, dataset="1@1", split="train", answer="generate"
    )  # such work names its model on every other page
    with reading() as session:
        jobs = session.query(Job).count()
    page = browser.get(f"/judgements/{key}")
    assert page.status_code == 200 and "Which answer is better?" in page.text and not leaks(page.text.replace("hx-prompt", "")), leaks(page.text)
    assert leaks(browser.get("/jobs").text), "the search finds what it looks for"
    browser.headers["Authorization"] = f"Bearer {accounts.create_token(person, 'tests')}"
    queue = browser.get(f"/api/v1/judgements/{key}/queue").json()
    said: list[Any] = [queue, browser.get(f"/api/v1/judgements/{key}").json(), browser.get("/api/v1/judgements").json()]
    said.append(browser.post(f"/api/v1/judgements/{key}/rulings", json={"example": queue["items"][0]["example"], "value": "A"}).json())
    said += [browser.get(f"/api/v1/judgements/{key}/rows").json(), browser.get(f"/judgements/{key}/rows/1").text, browser.get(f"/judgements/{key}/mark").text]
    again = browser.get(f"/judgements/new?like={key}")
    assert again.status_code == 409 and "blind until it is closed" in again.text and "judgement-form" not in again.text, "the form would name both"
    assert not leaks(json.dumps(said)), leaks(json.dumps(said))
    assert said[1]["state"] == "open" and said[4]["error"]["code"] == "still_blind" and "scores" not in said[1]
    with reading() as session:
        assert session.query(Job).count() == jobs, "no job, so no stream of events that could tell"
        events = [browser.get(f"/jobs/{job.id}/events").text if job.over else "" for job in session.query(Job)]
    assert not any(f"judgement {key}" in text or f"judgements/{key}" in text for text in events)
    for evaluation in (1, 2):
        shown = browser.get(f"/evaluations/{evaluation}").text + browser.get(f"/api/v1/evaluations/{evaluation}").text
        assert f"judgements/{key}" not in shown, "an evaluation does not say that it is compared"
    closed = browser.post(f"/api/v1/judgements/{key}/close").json()
    assert (closed["state"], closed["evaluation"], closed["other"], closed["scores"]["n"]) == ("closed", 1, 2, 1)
    after = get(browser, f"/judgements/{key}")
    assert (
        "Zebra-7B" in after.text(".lede")
        and "Okapi-1B" in after.text(".lede")
        and "people, blind" in get(browser, "/evaluations/1").text("#judgements-title + .scroll")
    )


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_comparison_is_begun_from_the_form_and_closed_by_its_button(browser: TestClient, person: Who) -> None:
    first, second = two(person)
    form = get(browser, f"/judgements/new?evaluation={first}&other={second}&kind=blind")
    assert not form.all("#model") and "shown once somebody closes" in form.text("#judgement-form [aria-live]")
    typed = {"evaluation": str(first), "other": str(second), "kind": "blind", "text": "The kinder one?"}
    assert browser.post("/judgements", data=typed).headers["location"] == "/judgements/1"
    page = get(browser, "/judgements/1")
    assert "The kinder one?" in page.text(".lede") and [one["key"] for one in json.loads(str(page.one("#given").text))["choices"]] == ["a", "b", "t"]
    choose(person, 1, "kind", 9)
    assert browser.post("/judgements/1/close").headers["location"] == "/judgements/1"
    page = get(browser, "/judgements/1")
    assert "A wins more often" in page.text(".sentence") and page.texts(".figures dt") == [
        "Win rate of A",
        "The longer answer wins",
        "The first one wins",
        "Agreement",
    ]
    row = get(browser, page.all(".predictions tbody a")[0].get("href") or "")
    assert "Ada" in row.text("main")
    sealed = two(person, "test")
    refused = browser.post("/judgements", data={**typed, "evaluation": str(sealed[0]), "other": str(sealed[1])})
    assert refused.status_code == 403 and "sealed" in refused.text
