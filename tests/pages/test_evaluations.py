"""The pages of evaluations: the form, the figures, the rows and one row with its prompt."""

import json

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Job
from app.domain.lineage import Drop
from app.services import endpoints, evaluations, models, predictions, versions
from tests.dom import Dom, get
from tests.rows import add_dataset, add_model, add_rows
from tests.services.test_predictions import FIRST, evaluated, lose

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_an_evaluation_is_started_from_the_form(browser: TestClient, person: Who) -> None:
    assert "No model" in get(browser, "/evaluations/new").text(".empty h2")
    model, version = add_model(person), add_dataset(person)
    form = get(browser, "/evaluations/new?answer=generate&extractor=regex")
    assert form.one("#pattern") is not None and not form.all("#scoring")
    typed = {"model": str(model), "dataset": version.reference, "split": "validation", "answer": "generate", "extractor": "regex", "pattern": r"is (\w+)"}
    checks = "length: at most 5 words\ntone = lacks: sorry"
    answer = browser.post("/evaluations", data={**typed, "checks": checks, "limit": "7", "metric": "macro_f1"})
    assert answer.status_code == 303 and answer.headers["location"] == "/evaluations/1"
    found = evaluations.find(person, 1).evaluation
    assert found.row_limit == 7 and found.scheme["pattern"] == r"is (\w+)" and [one["kind"] for one in found.scheme["checks"]] == ["length", "lacks"]
    assert "No figures yet" in get(browser, "/evaluations/1").text(".sentence")
    assert "tickets v1" in get(browser, "/evaluations").text("tbody tr")


def test_a_clone_of_an_evaluation_is_the_form_with_the_same_values(browser: TestClient, person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    typed = {"model": str(model), "dataset": version.reference, "split": "validation", "answer": "generate", "extractor": "regex", "pattern": r"is (\w+)"}
    typed |= {"checks": "length: at most 5 words\ntone = lacks: sorry", "limit": "7", "metric": "macro_f1", "fit": "cut_tail"}
    browser.post("/evaluations", data=typed)
    job = evaluations.find(person, 1).job.id
    assert get(browser, f"/jobs/{job}").href("#job-actions a") == f"/evaluations/new?like={job}"
    assert f'href="/evaluations/new?like={job}"' in browser.get("/jobs").text
    form = get(browser, f"/evaluations/new?like={job}")
    assert form.text("h1") == f"New evaluation, a clone of job {job}"
    given = {
        field.get("name"): field.get("value")
        for field in form.all("form input[name]")
        if field.get("type") not in ("radio", "checkbox") or "checked" in field.attrib
    }
    given |= {area.get("name"): area.text.strip() for area in form.all("form textarea[name]")}
    given |= {select.get("name"): select.cssselect("option[selected]")[0].get("value") for select in form.all("form select[name]")}
    assert {name: given[name] for name in typed} == typed
    assert browser.post("/evaluations", data={**given, "limit": "3"}).headers["location"] == "/evaluations/2"
    first, second = (evaluations.find(person, key) for key in (1, 2))
    assert second.evaluation.scheme == first.evaluation.scheme and second.job.settings == {**first.job.settings, "limit": 3}
    assert second.job.cloned_from == job and f"job {job}" in get(browser, f"/jobs/{second.job.id}").text("#job-settings")


def test_a_clone_offers_what_the_form_alone_would_not(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is not among the newest, and an evaluation of the reserve. What belongs to a label curve is not cloned: its labels are its experiment's."""
    old, version = add_model(person), add_dataset(person)
    browser.post("/evaluations", data={"model": str(old), "dataset": version.reference, "split": "validation", "answer": "generate"})
    job = evaluations.find(person, 1).job.id
    with transaction() as session:
        session.get_one(Job, job).settings = session.get_one(Job, job).settings | {"split": "reserve"}
        row = session.get_one(DatasetVersion, version.id)
        row.splits = row.splits | {"reserve": 5}
    new = add_model(person)
    monkeypatch.setattr("app.pages.evaluations.models.recent", lambda _: ([models.find(person, new).model], None))
    form = get(browser, f"/evaluations/new?like={job}")
    chosen = {select.get("name"): [one.get("value") for one in select.cssselect("option[selected]")] for select in form.all("form select[name]")}
    assert chosen["model"] == [str(old)] and chosen["split"] == ["reserve"]
    with transaction() as session:
        session.get_one(Job, job).settings = session.get_one(Job, job).settings | {"label_budget": 64}
    assert not get(browser, f"/jobs/{job}").all(f'a[href="/evaluations/new?like={job}"]')
    assert browser.post(f"/api/v1/jobs/{job}/clone", json={}).status_code == 422


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"checks": "beauty: much"}, "checks"),
        ({"fields": "total: nearly"}, "fields"),
        ({"limit": "none"}, "limit"),
        ({"extractor": "regex", "pattern": "("}, ""),
    ],
)
def test_what_is_refused_is_said_in_the_form_and_nothing_typed_is_lost(browser: TestClient, person: Who, wrong: dict[str, str], field: str) -> None:
    typed = {"model": str(add_model(person)), "dataset": add_dataset(person).reference, "split": "validation", "answer": "generate"} | wrong
    answer = browser.post("/evaluations", data=typed)
    assert answer.status_code == 422 and all(value in answer.text for value in wrong.values() if value != "(")
    page = Dom(answer.text)
    assert page.text(f"#{field}-error") if field else page.one("#pattern").get("value") == "("


def test_a_finished_evaluation_shows_figures_confusions_calibration_and_rows(browser: TestClient, person: Who) -> None:
    dataset = add_dataset(person).reference
    model = add_model(person)
    scheme = {"metric": "macro_f1", "checks": [{"kind": "length", "most": 1, "name": "short"}]}
    first = evaluated(person, dataset, FIRST, scheme=scheme, model=model)
    second = evaluated(person, dataset, ["billing", "delivery"] * 5, model=model)
    page = get(browser, f"/evaluations/{first}")
    assert page.texts(".figures dt")[:2] == ["Macro F1", "Accuracy"]
    assert page.texts(".matrix thead th") == ["billing", "delivery", "(off the list)"] and len(page.all(".matrix tbody td")) == 6
    assert len(page.all(".diagram svg")) == 2 and page.all(".diagram .dot") and page.one(".diagram .curve").get("points")
    assert "short" in page.text("#checks-title + .scroll tbody tr")
    assert page.texts(".predictions tbody tr") and len(page.all(".predictions tbody tr")) == 10
    wrong = get(browser, f"/evaluations/{first}?only=wrong&other={second}&other_only=right")
    assert len(wrong.all(".predictions tbody tr")) == 5 and f"In {second}" in wrong.text(".predictions thead")
    row = get(browser, page.all(".predictions tbody a")[0].get("href") or "")
    assert "Input:" in row.text(".prompt-read") and "Written" in row.text("main")
    rows = get(browser, "/evaluations").texts("tbody tr")
    assert len(rows) == 2 and "1.000" in rows[0] and "macro F1" in rows[1], rows


def test_rows_whose_label_was_not_offered_are_a_column_also_where_there_are_none(browser: TestClient, person: Who) -> None:
    dataset = add_dataset(person).reference
    key = evaluated(person, dataset, FIRST, missed=("delivery",), offered=20)
    page = get(browser, f"/evaluations/{key}")
    assert "5 label not offered" in page.texts("p.small.muted")[0] and "label not offered 5" in page.text("#rows")
    assert len(get(browser, f"/evaluations/{key}?only=not_offered").all(".predictions tbody tr")) == 5
    all_there = evaluated(person, dataset, FIRST, offered=20)
    assert "none label not offered" in get(browser, f"/evaluations/{all_there}").texts("p.small.muted")[0]
    few = evaluated(person, dataset, FIRST)
    assert "label not offered" not in get(browser, f"/evaluations/{few}").texts("p.small.muted")[0], "where all labels are offered, none can be missing"


def test_answering_only_when_sure_is_said_in_a_sentence(browser: TestClient, person: Who) -> None:
    answers = ["billing", "delivery"] * 4 + ["delivery", "billing"]
    page = get(browser, f"/evaluations/{evaluated(person, add_dataset(person).reference, answers)}")
    assert page.texts("ul.small li")[0].startswith("Answers 80 % of the rows at 90 % precision: 8 of 8 right [0.68, 1.00].")
    wrong = get(browser, f"/evaluations/{evaluated(person, add_dataset(person).reference, ['delivery', 'billing'] * 5)}")
    assert any("Reaches 99 % precision on no row, however sure it is." in one for one in wrong.texts("ul.small li"))


def test_fields_of_json_answers_say_how_they_were_compared_and_count_apart(browser: TestClient, person: Who) -> None:
    gold = '{"total": 10, "customer": {"name": "Ada"}, "items": [{"price": 1.5}]}'
    version = add_rows(person, "orders", [(f"order {at}", gold, "validation") for at in range(4)])
    answers = [
        '{"total": 10.004, "customer": {"name": "ADA"}, "items": [{"price": 1.501}]}',
        '{"total": 12, "customer": {"name": "Bob"}, "items": [{"price": 2}]}',
        '{"customer": {}, "note": "x"}',
        "no JSON",
    ]
    number = {"by": "number", "tolerance": 0.01}
    scheme = {"shape": "json", "fields": {"total": number, "customer": {"by": "text"}, "items.price": number}}
    page = get(browser, f"/evaluations/{evaluated(person, version.reference, answers, scheme=scheme)}")
    assert page.texts("#fields-title + .scroll thead th") == ["Field", "Compared", "Right", "Wrong", "Missing", "Invented"]
    assert page.texts("#fields-title + .scroll tbody th") == ["customer.name", "items", "note", "total"]
    cells = page.texts("#fields-title + .scroll tbody td")
    assert [cells[at : at + 5] for at in range(0, len(cells), 5)] == [
        ["text", "1", "1", "2", "0"],
        ["list (price: number \u00b10.01)", "1", "1", "2", "0"],
        ["exact", "0", "0", "0", "1"],
        ["number \u00b10.01", "1", "1", "2", "0"],
    ]


def test_a_place_in_a_list_has_no_comparator(browser: TestClient, person: Who) -> None:
    rows = [(f"{split} {at}", json.dumps({"lines": [{"total": at}]}), split) for split in ("train", "validation", "test") for at in range(9)]
    dataset = add_rows(person, "orders", rows).reference
    typed = {"model": str(add_model(person)), "dataset": dataset, "split": "validation", "answer": "generate", "shape": "json"}
    page = Dom(browser.post("/evaluations", data={**typed, "fields": "lines.0.total: number"}).text)
    assert "lines.0.total names a place in a list" in page.text("#fields-error") and "leave the place out" in page.text("#fields-error")


def test_rows_that_were_made_to_fit_are_counted_wherever_the_figures_stand(browser: TestClient, person: Who) -> None:
    dataset = add_dataset(person).reference
    key = evaluated(person, dataset, FIRST, fit={"policy": "cut_head", "rows": 10, "too_long": 3, "window": 128, "longest": 200})
    assert "3 of 10 rows did not fit 128 tokens: cut the start of the input." in get(browser, f"/evaluations/{key}").text("#evaluation")
    other = evaluated(person, dataset, FIRST, fit={"policy": "refuse", "rows": 10, "too_long": 0, "window": 128, "longest": 20})
    assert "did not fit" not in get(browser, f"/evaluations/{other}").text("#evaluation")
    rows = get(browser, "/evaluations").texts("tbody tr")
    assert "3 made to fit" in rows[1] and "made to fit" not in rows[0]


def test_the_page_of_a_row_says_what_was_left_out_to_make_it_fit(browser: TestClient, person: Who) -> None:
    key = evaluated(person, add_dataset(person).reference, FIRST)
    place = f"/evaluations/{key}/rows/{(row := predictions.find(person, key).rows[0]).example.id}"
    assert not get(browser, place).all("#lost") and "made to fit" not in get(browser, f"/evaluations/{key}").text("main")
    lose(key, row.example.id, {"variable": "input", "kept": 5, "of": 900, "policy": "cut_tail"})
    page = get(browser, place)
    assert "The end of {input} was cut: the model read 5 of its 900 characters." in page.text("#lost")
    assert page.text(".prompt-read").startswith(f"Input: {row.example.input[:5]}")
    page = get(browser, f"/evaluations/{key}?only=fitted")
    assert len(page.all(".predictions tbody tr")) == 1 and "made to fit" in page.text(".predictions tbody") and "made to fit 1" in page.text(".tabs")


def test_whether_rows_fit_stands_beside_the_policy_before_the_start(browser: TestClient, person: Who) -> None:
    there = endpoints.create(person, name="there", url="https://api.example.com/v1", models=["tiny"], windows={"tiny": {"tokens": 90}})
    version, remote = add_dataset(person), there.models[0].id
    form = get(browser, f"/evaluations/new?model={remote}&split=validation&answer=generate")
    place = form.one("[hx-get^='/evaluations/fit']").get("hx-get") or ""
    assert f"model={remote}" in place and "split=validation" in place and "Looking whether the rows fit" in form.text("[hx-get^='/evaluations/fit']")
    said = browser.get(place, headers={"HX-Request-Type": "partial"}).text
    assert "10 of 10 rows do not fit (shots + input + answer) in the 90 tokens of there/tiny; the longest takes" in said and "reckoned from the text" in said
    few = get(browser, f"/evaluations/new?model={remote}&split=validation&answer=generate&limit=3").one("[hx-get^='/evaluations/fit']").get("hx-get") or ""
    said = browser.get(few, headers={"HX-Request-Type": "partial"}).text
    assert "3 of 3 rows do not fit" in said, "those rows alone that would be scored"
    asked = {"model": remote, "dataset": version.reference, "split": "validation", "answer": "generate", "limit": 4}
    assert browser.post("/api/v1/fits", json=asked).json()["rows"] == 4
    endpoints.update(person, there.endpoint.id, {"windows": {"*": {"tokens": 4096}}})
    assert "Every row fits" in browser.get(place, headers={"HX-Request-Type": "partial"}).text
    endpoints.update(person, there.endpoint.id, {"windows": {}})
    said = browser.get(place, headers={"HX-Request-Type": "partial"}).text
    assert "not known yet: How many tokens there/tiny takes" in said and "on its endpoint&#39;s page" in said
    local = browser.get(f"/evaluations/fit?dataset={version.reference}&model={add_model(person)}", headers={"HX-Request-Type": "partial"}).text
    assert "Whether the rows fit is not known yet: The engine process is not running" in local
    typed = {"model": str(remote), "dataset": version.reference, "split": "validation", "answer": "generate", "fit": "cut_tail"}
    answer = browser.post("/evaluations", data=typed)
    assert answer.status_code == 422 and "nor make them fit" in Dom(answer.text).text("#fit-error")


def test_what_an_endpoint_refused_as_too_long_stands_beside_the_figures(browser: TestClient, person: Who) -> None:
    dataset = add_dataset(person).reference
    fit = {"policy": "cut_tail", "rows": 10, "too_long": 1, "window": 90, "longest": 99, "refused": 2, "counted": "Tokens are reckoned from the text."}
    said = get(browser, f"/evaluations/{evaluated(person, dataset, FIRST, fit=fit)}").text("#evaluation")
    assert "1 of 10 rows did not fit 90 tokens: cut the end of the input. Tokens are reckoned from the text. 2 rows were refused by the endpoint" in said
    said = get(browser, f"/evaluations/{evaluated(person, dataset, FIRST, fit={'policy': 'cut_tail', 'rows': 10})}").text("#evaluation")
    assert "was not known, so no row was made to fit" in said


def test_evaluations_of_two_versions_are_compared_on_the_rows_that_both_have(browser: TestClient, person: Who) -> None:
    dataset, model = add_dataset(person), add_model(person)
    first = evaluated(person, dataset.reference, ["billing"] * 10, model=model)
    alone = get(browser, f"/evaluations/{first}")
    assert not alone.all("#against"), "there is nothing to compare it with"
    with transaction() as session:
        rows = [row.id for row in datasets.rows(session, dataset, "validation")]
    newer = versions.derive(person, dataset.reference, Drop(frozenset(rows[:2]))).version
    second = evaluated(person, newer.reference, ["billing", "delivery"] * 4, model=model)
    page = get(browser, f"/evaluations/{second}")
    (option,) = page.all("#against option")
    assert option.text.startswith(f"{first}: Starter, ") and option.text.endswith("v1, on version 1")
    page = get(browser, f"/evaluations/{second}?against={first}")
    assert "Compared on the 8 rows that versions 1 and 2 have in common (of 10 and 8)." in page.text("#against")
    assert "Rows that came, went or changed between the versions count for neither." in page.text("#against")
    assert f"evaluation {first}" in page.text("#against .sentence") or "Cannot tell from 8 validation rows" in page.text("#against .sentence")
    other = evaluated(person, add_dataset(person, "mail").reference, FIRST, model=model)
    page = get(browser, f"/evaluations/{second}?against={other}")
    assert "different splits or datasets" in page.text("#against .error")


def test_sealed_rows_stay_behind_their_seal(browser: TestClient, person: Who) -> None:
    key = evaluated(person, add_dataset(person).reference, FIRST, split="test")
    page = get(browser, f"/evaluations/{key}")
    assert "Sealed" in page.text("#rows .empty") and "message" not in page.text("main") and page.all(".matrix")
    assert get(browser, f"/evaluations/{key}/rows/31", 403).root is not None
