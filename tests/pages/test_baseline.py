"""The rung that the others are compared with: one that was chosen, or the first that has figures."""

from typing import Any

import pytest
from lxml import html
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain.access import Who
from app.errors import Invalid
from app.services import experiments, jobs, reports
from tests.dom import get
from tests.pages.test_experiments import task
from tests.rows import add_remote_model, claim, climb, climb_by

__all__ = ["task"]

RUNGS: list[dict[str, Any]] = [{"technique": "lora"}, {"technique": "zero_shot"}, {"technique": "few_shot", "shots": 4}]


def start(person: Who, task: tuple[int, str], baseline: int | None, **more: Any) -> int:
    return experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=RUNGS, baseline=baseline, **more)


def fail(message: str = "No.") -> None:
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": message, "advice": ""})


def test_differences_and_their_p_values_are_against_the_chosen_rung(person: Who, task: tuple[int, str]) -> None:
    usual, chosen = start(person, task, None), start(person, task, 2)
    climb(10, 15, 29, 10, 15, 29)
    zero, four, lora = experiments.find(person, usual).rows
    assert zero.comparison is None and four.comparison and lora.comparison and (four.comparison.baseline, lora.comparison.baseline) == (0, 0)
    view = experiments.find(person, chosen)
    zero, four, lora = view.rows
    assert view.baseline == 1 and view.chosen_baseline is four, "counted as they were asked for, it is the third; on the ladder the second"
    assert four.comparison is None and zero.comparison and lora.comparison and zero.comparison.baseline == lora.comparison.baseline == 1
    assert [round(30 * row.comparison.difference.difference) for row in (zero, lora) if row.comparison] == [-5, 14]
    # Rows that one has right are right under the next one too: 5 of 5 discordant ones lost, 14 of 14 gained. Exact McNemar, then Holm over the two.
    assert lora.comparison.difference.p_value == pytest.approx(2 * 2 * 0.5**14) and zero.comparison.difference.p_value == pytest.approx(2 * 0.5**5)


def test_the_choice_is_in_the_json_and_in_the_api(browser: TestClient, task: tuple[int, str], person: Who) -> None:
    body = {"dataset": task[1], "model": task[0], "rungs": RUNGS, "baseline": 0}
    made = browser.post("/api/v1/experiments", json=body).json()
    assert made["baseline"] == {"rung": None, "chosen": 2}
    request = browser.get(f"/experiments/{made['id']}/report.json").json()
    assert request["baseline"] == 2 and request["rungs"][2]["technique"] == "lora"
    again = browser.post("/api/v1/experiments", json=request).json()
    assert again["baseline"]["chosen"] == 2 and reports.request(experiments.find(person, again["id"])) == request
    refused = browser.post("/api/v1/experiments", json=body | {"baseline": -1})
    assert refused.status_code == 422
    refused = browser.post("/api/v1/experiments", json=body | {"baseline": 3})
    assert refused.status_code == 422 and refused.json()["error"]["message"] == "There is no rung 3 to compare the others with."


def test_the_signal_is_nothing_to_compare_with(person: Who, task: tuple[int, str]) -> None:
    large: dict[str, Any] = {"technique": "zero_shot", "model": add_remote_model(person, {}), "answer": "generate"}
    with pytest.raises(Invalid) as refused:
        experiments.create(person, name="", dataset=task[1], model=task[0], rungs=[*RUNGS, large], baseline=3)
    assert refused.value.code == "signal_as_baseline" and experiments.recent(person)[0] == []


def test_where_the_chosen_rung_failed_the_page_and_the_report_say_which_one_stands_in(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = start(person, task, 0)
    climb(10, 15)
    said = "The others were to be compared with LoRA, which is not scored yet: they are compared with zero-shot until then."
    assert get(browser, f"/experiments/{key}").text("#baseline-said") == said
    fail()
    climb(10, 15)
    said = "The others were to be compared with LoRA, which failed: they are compared with zero-shot."
    page = get(browser, f"/experiments/{key}")
    assert page.text("#baseline-said") == said and page.text("#rung-0 .badge") == "baseline" and "+16.7" in page.text("#rung-1 .badge")
    assert said in html.document_fromstring(browser.get(f"/experiments/{key}/report.html").text).text_content()
    assert f"\n{said}\n" in browser.get(f"/experiments/{key}/report.md").text
    assert browser.get(f"/api/v1/experiments/{key}").json()["baseline"] == {"rung": 0, "chosen": 2}
    experiments.rerun(person, key, 2)
    climb_by(lambda rung, cell: 29)
    page = get(browser, f"/experiments/{key}")
    assert not page.all("#baseline-said") and page.text("#rung-2 .badge") == "baseline" and page.text("#rung-0 .badge") == "worse −63.3"


def test_a_cancelled_baseline_is_called_one(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = start(person, task, 0)
    (tuning,) = [job for job in jobs.recent(person)[0] if job.kind == "tune"]
    browser.post(f"/api/v1/jobs/{tuning.id}/cancel")
    climb(10, 15)
    assert "with LoRA, which was cancelled: they" in get(browser, f"/experiments/{key}").text("#baseline-said")


def test_the_form_chooses_among_what_is_ticked(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    fields = {"drawn": "yes", "dataset": task[1], "model": str(task[0]), "lora": "on", "few_shot": "on", "shots": "4", "beside": "2", "baseline": "lora"}
    page = get(browser, "/experiments/new?" + "&".join(f"{name}={value}" for name, value in fields.items()))
    options = [(one.get("value"), one.text_content()) for one in page.all("#baseline option")]
    assert options == [("", "the first rung"), ("few_shot", "few-shot"), ("lora", "LoRA")]
    assert [one.get("value") for one in page.all("#baseline option[selected]")] == ["lora"]
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    chosen = experiments.find(person, key).chosen_baseline
    assert chosen is not None and chosen.title == "LoRA", "and not the one that is asked with shots"
    refused = browser.post("/experiments", data=fields | {"baseline": "full"})
    assert (
        refused.status_code == 422
        and "to be compared with is not ticked" in html.document_fromstring(refused.text).cssselect("#baseline-error")[0].text_content()
    )
