"""An experiment's report: one file that stands alone, in four forms."""

import csv
import io
import json
from typing import Any

import pytest
from lxml import html
from starlette.testclient import TestClient

from app.domain.access import Who
from app.domain.targets import Targets
from app.services import experiments
from tests.dom import Dom, get
from tests.pages.test_experiments import task
from tests.rows import climb, climb_by, make_fit

__all__ = ["task"]


@pytest.fixture
def key(person: Who, task: tuple[int, str]) -> int:
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "few_shot", "shots": 4, "seeds": [3]},
        {"technique": "lora", "parameters": {"max_steps": 7}},
    ]
    found = experiments.create(person, name="Tickets <b>", dataset=task[1], model=task[0], rungs=rungs, margin=0.02, targets=Targets(machine_hour=1.0))
    climb(10, 15, 29)
    return found


def test_the_html_needs_nothing_beside_it(browser: TestClient, key: int) -> None:
    answer = browser.get(f"/experiments/{key}/report.html")
    assert answer.headers["content-disposition"] == f'attachment; filename="tickets-b-{key}.html"'
    page = html.document_fromstring(answer.text)
    assert not page.cssselect("script, link, a, img, form, [src], [href]") and "@import" not in answer.text
    text = page.text_content()
    for words in (
        "Tickets <b>",
        "Every cheaper rung is shown to be worse",
        "majority",
        "LoRA",
        "0.967",
        "better +63.3",
        "scored 3 times",
        '"max_steps": 7',
        "Tango",
    ):
        assert words in text
    assert len(page.cssselect("svg.whisker")) == 4


def test_the_html_draws_the_label_curves(browser: TestClient, person: Who, task: tuple[int, str], key: int) -> None:
    assert "more labels buy" not in browser.get(f"/experiments/{key}/report.html").text
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "label_curve": [4, 8, 12]}]
    rising = experiments.create(person, name="rising", dataset=task[1], model=task[0], rungs=rungs)
    for queue in ("gpu", "light"):
        climb_by(lambda rung, cell: 15 + (cell.labels or 20) // 2, queue)
    page = html.document_fromstring(browser.get(f"/experiments/{rising}/report.html").text)
    tables = page.cssselect("table.curve")
    assert [row.text_content() for row in tables[-1].cssselect("tbody th")] == ["4", "8", "12", "20 you are here"]
    assert len(page.cssselect("figure")) == len(tables) + 1 == 3 and "more labels buy" in page.text_content()
    assert not page.cssselect("script, link, a, img, form, [src], [href]")


def test_the_table_as_csv_has_every_figure(browser: TestClient, key: int) -> None:
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    assert [row["rung"] for row in rows] == ["majority (always billing)", "TF-IDF + logistic regression", "zero-shot", "4-shot", "LoRA"]
    assert (rows[4]["accuracy"][:6], rows[4]["n"], rows[4]["verdict"], rows[4]["labels_used"], rows[4]["trainable_parameters"]) == (
        "0.9666",
        "30",
        "better",
        "20",
        "921600",
    )
    assert float(rows[2]["cost_per_1000"]) == pytest.approx(1000 * 0.02 / 3600) and rows[1]["state"] == "queued" and rows[1]["accuracy"] == ""


def test_the_table_as_csv_counts_the_rows_that_were_made_to_fit(browser: TestClient, key: int) -> None:
    make_fit(6)
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    assert [row["did_not_fit"] for row in rows] == ["", "", "6", "6", "6"]


def test_markdown_says_the_same(browser: TestClient, key: int) -> None:
    text = browser.get(f"/experiments/{key}/report.md").text
    assert text.startswith("# Tickets <b>\n\n**Use LoRA.") and "| LoRA | test | 0.967 |" in text and "```json" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| LoRA |")]
    assert "| < 0.001 |" in line and "| 921,600 | 95.0 |" in line, line


def test_what_cannot_be_told_apart_says_how_many_more_rows_would_tell(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot"}, {"technique": "lora"}]
    key = experiments.create(person, name="close", dataset=task[1], model=task[0], rungs=rungs)
    climb(20, 22, 29)
    found = [row.comparison.verdict for row in experiments.find(person, key).rows if row.comparison]
    assert (
        [one.kind for one in found] == ["cannot_tell", "better"]
        and found[0].more_rows
        and f"about {found[0].more_rows:,} more test rows would" in found[0].sentence
    )
    said = "Cannot tell from 30 test rows (6.7 points [\u2212"
    page = get(browser, f"/experiments/{key}")
    assert f"8-shot against the baseline, points{said}" in page.text("#against-1") and page.one("#rung-1 .against").get("aria-describedby") == "against-1"
    assert "if the difference stays as it is.Of 30 rows it gained 2 and lost 0" in page.text("#against-1") and "Cannot tell" not in page.text("#against-2")
    assert Dom(browser.get(f"/experiments/{key}/report.html").text).text(".ladder + ul li").startswith(f"8-shot against the baseline: {said}")
    (line,) = [
        line for line in browser.get(f"/experiments/{key}/report.md").text.splitlines() if "more test rows would" in line and line.startswith("- 8-shot")
    ]
    assert line.startswith(f"- 8-shot against the baseline: {said}")
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    assert [row["more_rows"] for row in rows] == ["", "", "", str(found[0].more_rows), ""]


def test_where_an_hour_of_the_machine_has_no_price_the_table_says_where_to_set_it(browser: TestClient, person: Who, task: tuple[int, str], key: int) -> None:
    """`key` has a price."""
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora"}]
    without = experiments.create(person, name="free", dataset=task[1], model=task[0], rungs=rungs)
    before = get(browser, f"/experiments/{without}")
    climb(10, 29)
    page = get(browser, f"/experiments/{without}")
    for one in (before, page):
        assert one.text(".ladder thead th a") == "set a price" and one.texts(".ladder thead th")[5] == "$ / 1,000 set a price"
    place, _, field = page.href(".ladder thead th a").partition("#")
    assert place == f"/experiments/new?dataset={task[1]}&model={task[0]}" and get(browser, place).one(f"details #{field}").get("name") == "machine_hour"
    assert page.texts(".ladder tbody tr td:nth-of-type(5)") == ["–"] * 3
    assert "$ / 1,000 no price set" in Dom(browser.get(f"/experiments/{without}/report.html").text).texts("thead th")
    priced = get(browser, f"/experiments/{key}")
    assert priced.texts(".ladder thead th")[5] == "$ / 1,000" and priced.text("#rung-0 td:nth-of-type(5)") == "$0.0056"


def test_a_provisional_table_is_of_validation_rows_throughout(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora"}]
    key = experiments.create(person, name="early", dataset=task[1], model=task[0], rungs=rungs, open_test=False)
    climb_by(lambda rung, cell: 15 if rung.position == 0 else 30)
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    majority, linear, zero, lora = rows
    validated = experiments.find(person, key).rows[1].validation
    assert validated and (lora["rows"], lora["n"], lora["score"], lora["low"]) == ("validation", "10", "1.0", str(validated["interval"][0]))
    assert lora["verdict"] and lora["p_value"] and (zero["rows"], zero["score"], zero["validation"]) == ("validation", "0.5", "0.5")
    assert (majority["rows"], majority["n"], linear["rows"], linear["score"]) == ("validation", "10", "", "")
    (line,) = [line for line in browser.get(f"/experiments/{key}/report.md").text.splitlines() if line.startswith("| LoRA |")]
    assert line.startswith("| LoRA | validation | 1.000 |")
    browser.post(f"/experiments/{key}/test")
    climb_by(lambda rung, cell: 15 if rung.position == 0 else None)
    rows = list(csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text)))
    assert [(row["rows"], row["n"]) for row in rows] == [("test", "30"), ("", ""), ("test", "30"), ("validation", "10")] and not rows[3]["verdict"]


def test_the_json_makes_the_same_experiment(browser: TestClient, person: Who, key: int) -> None:
    body = json.loads(browser.get(f"/experiments/{key}/report.json").text)
    again = browser.post("/api/v1/experiments", json=body).json()["id"]
    first, second = experiments.find(person, key), experiments.find(person, again)
    assert (second.experiment.margin, second.experiment.targets) == (0.02, {"machine_hour": 1.0})
    for one, other in zip(first.rows, second.rows, strict=True):
        assert {**one.rung.settings, "wanted": None} == {**other.rung.settings, "wanted": None}
        assert one.prompt.template() == other.prompt.template()


def test_a_report_in_another_form_is_not_there(browser: TestClient, key: int) -> None:
    assert browser.get(f"/experiments/{key}/report.pdf").status_code == 422
