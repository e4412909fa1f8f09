"""The Compare room: the verdict first, then the ladder, filled in place while its jobs run."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Job
from app.domain.lineage import Relabel
from app.services import experiments
from app.services import jobs as job_services
from app.services.versions import derive
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset, add_model, answer_evaluation, claim, climb, climb_by, make_fit, tune


@pytest.fixture
def task(person: Who) -> tuple[int, str]:
    return add_model(person), add_dataset(person).reference


def ladder(person: Who, task: tuple[int, str], *techniques: str, name: str = "tickets", margin: float = 0.0) -> int:
    rungs = [{"technique": technique} for technique in techniques]
    return experiments.create(person, name=name, dataset=task[1], model=task[0], rungs=rungs, margin=margin)


def take() -> Job:
    with transaction() as session:
        return claim(session)


def test_without_signal_no_rung_stands_out(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "few_shot", "zero_shot")
    climb(15, 16)
    page = get(browser, f"/experiments/{key}")
    assert page.text(".verdict").startswith("Do not tune: no rung is shown to beat always answering") and not page.texts("[data-best]")
    for other in (f"/experiments/{key}/report.html", f"/experiments/{key}/report.md", "/"):
        assert "no rung is shown to beat" in browser.get(other).text
    assert browser.get(f"/api/v1/experiments/{key}").json()["recommendation"]["rung"] is None


def test_a_finished_ladder_gives_the_verdict_then_the_table(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "lora", "few_shot", "zero_shot")
    climb(10, 15, 29)
    page = get(browser, f"/experiments/{key}")
    assert page.text(".verdict").startswith("Use LoRA. Every cheaper rung is shown to be worse; 8-shot by 46.7 [")
    assert page.texts(".the-verdict li")[0].startswith("zero-shot: −63.3 [−")
    assert [text.split()[0] for text in page.texts("tbody th")] == ["majority", "zero-shot", "8-shot", "LoRA"]
    assert page.texts("tbody td:nth-of-type(1)") == ["0.500", "0.333", "0.500", "0.967"]
    assert page.text("#rung-0 td:nth-of-type(3)") == "baseline"
    assert page.text("#rung-2 .badge") == "better +63.3" and "[+" in page.text("#rung-2 .against + .sub")
    assert page.text("#rung-2 td:nth-of-type(4)") == "20 ms p95 20 ms" and page.texts("#rung-2 td.num")[1:] == ["–", "922k", "1 min 35 s", "20 10 validation"]
    assert "29 of 30 test rows right; Wilson, 95 %." in page.text("#score-2") and "it gained 19 and lost 0" in page.text("#against-2")
    assert len(page.all("svg.whisker")) == 4 and page.all("tr[data-best]")[0].get("id") == "rung-2"
    assert not page.all("#poll")
    assert "scored 3 times" in page.text("main")
    assert "torch 2.13.0" in page.text("main") and "device cpu" in page.text("main")


def test_a_tie_is_told_as_one(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "few_shot", "lora")
    climb(23, 24)
    page = get(browser, f"/experiments/{key}")
    assert page.text(".verdict").startswith("Label more before tuning: with 20 labels (10 a class) no tuned rung is shown to beat 8-shot; LoRA is +3.3 [−")
    assert page.text("#rung-1 .badge") == "cannot tell +3.3" and page.one("tr[data-best]").get("id") == "rung-0"


def test_a_baseline_that_holds_is_recommended_like_any_rung(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "zero_shot", "one_shot", margin=0.1)
    climb(20, 28)
    climb(30, queue="light")
    page = get(browser, f"/experiments/{key}")
    assert page.texts("tbody th")[1].startswith("TF-IDF + logistic regression (recommended)") and page.one("tr[data-best]").get("id") == "rung--1"
    assert page.text(".verdict").startswith(
        "Use TF-IDF + logistic regression. It is the cheapest, has the best validation score, and is shown to be less than 10 points below one-shot: +6.7, at"
    )
    assert page.text("#rung-0 td:nth-of-type(3)") == "baseline" and page.texts("#rung--1 td.num")[-1] == "20 10 validation"
    assert "words and pairs of words of 20 train rows" in page.text("main")
    row = browser.get(f"/api/v1/experiments/{key}").json()["linear"]
    assert (row["technique"], row["score"], row["labels_used"]) == ("linear", 1.0, 20)
    assert "TF-IDF" in get(browser, "/").text("main")


def test_many_looks_at_the_test_rows_are_said(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "zero_shot", "one_shot")
    climb(20, 21)
    assert "Intervals assume few looks" not in get(browser, f"/experiments/{key}").text("main")
    for _ in range(5):
        ladder(person, task, "zero_shot", "one_shot")
        climb(20, 21)
    assert "These test rows have been scored 12 times. Intervals assume few looks" in get(browser, f"/experiments/{key}").text(".the-verdict .help:last-child")
    relabelled = derive(person, "1", Relabel({"billing": "invoice"})).version
    key = ladder(person, (task[0], relabelled.reference), "zero_shot", "one_shot")
    page = get(browser, f"/experiments/{key}")
    assert "scored 12 times" in page.text(".the-verdict") and "scored 12 times, viewed 0 times" in page.text("main"), "these rows, under another version"
    assert "30 test rows, scored 12 times before" in get(browser, "/experiments/new").text("main")
    assert "scored 12 times" in browser.get(f"/experiments/{key}/report.md").text and "scored 12 times" in get(browser, "/datasets/1").text(".figures")


def test_a_rung_shows_its_validation_score_until_its_test_score_is_there(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "zero_shot", "one_shot")
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, 21)
    page = get(browser, f"/experiments/{key}")
    assert (
        page.text("#rung-0 td:nth-of-type(1)") == "0.700 provisional"
        and page.one("#rung-0 svg.whisker").get("data-tone") == "soft"
        and page.text("#rung-1 td:nth-of-type(1)") == "–"
    )


def test_a_ladder_fills_without_changing_its_rows(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "zero_shot", "lora")
    page = get(browser, f"/experiments/{key}")
    assert page.text(".verdict") == "No verdict yet. 0 of 2 rungs are scored; it takes two."
    assert page.one("#poll").get("hx-get") == f"/experiments/{key}" and page.one("#poll").get("hx-target") == "#ladder"
    climb(12)
    job = take()
    with transaction() as session:
        jobs.enter(session, job.id, job.lease_token or "", "train", 50)
        metrics.record(session, job.id, job.lease_token or "", 1, [], [], step=31, total_steps=50, eta_seconds=180.0)
    response = browser.get(f"/experiments/{key}", headers={"HX-Request-Type": "partial"})
    part = Dom(response.text)
    assert "<html" not in response.text and len(part.all("tbody tr")) == len(page.all("tbody tr")) == 3
    assert [len(row) for row in part.all("tbody tr")] == [len(row) for row in page.all("tbody tr")]
    assert part.text("#rung-1 .rung-state") == "running training 62 %, about 3 min" and part.href("#rung-1 .rung-state a") == f"/jobs/{job.id}"
    assert "1 of 2 rungs is scored" in part.text(".verdict") and len(part.all("#poll")) == 1


def test_a_failed_rung_says_why_and_runs_again(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = ladder(person, task, "zero_shot", "lora")
    climb(12)
    job = take()
    with transaction() as session:
        ending.fail(session, job.id, job.lease_token or "", {"code": "out_of_memory", "message": "The machine ran out of memory.", "advice": ""})
    climb(12)
    page = get(browser, f"/experiments/{key}")
    assert page.text("#rung-1 .two-lines") == "The machine ran out of memory." and page.text(".verdict").startswith("No verdict. Only 1 of 2")
    assert browser.post(page.one("#rung-1 form").get("action") or "").headers["location"] == f"/experiments/{key}"
    assert get(browser, f"/experiments/{key}").text("#rung-1 .rung-state") == "queued"
    climb(28)
    assert "Use LoRA." in get(browser, f"/experiments/{key}").text(".verdict")


def test_the_form_queues_what_is_ticked(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    page = get(browser, "/experiments/new")
    assert [box.get("id") for box in page.all("main input[type=checkbox][checked]")] == ["zero_shot", "one_shot", "few_shot", "lora"]
    assert page.text(".sentence") == "4 rungs: 30 test rows answered 8 times, and tuning of 4 steps."
    fields = {
        "drawn": "yes",
        "dataset": task[1],
        "model": str(task[0]),
        "name": "mine",
        "zero_shot": "on",
        "few_shot": "on",
        "shots": "4",
        "margin": "2",
        "fit": "fewer_shots",
    }
    place = browser.post("/experiments", data=fields).headers["location"]
    view = experiments.find(person, int(place.rpartition("/")[2]))
    assert [row.title for row in view.rows] == ["zero-shot", "4-shot"] and view.experiment.margin == 0.02 and view.experiment.name == "mine"
    assert {row.rung.settings["fit"] for row in view.rows} == {"fewer_shots"}
    assert "shots=8" in str(page.one("#fit-said").get("hx-get"))


def test_what_a_rung_must_reach_and_costs_is_kept(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    fields = {
        "drawn": "yes",
        "dataset": task[1],
        "model": str(task[0]),
        "zero_shot": "on",
        "one_shot": "on",
        "quality": "90",
        "machine_hour": "3.6",
        "requests_a_month": "10,000",
    }
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    experiment = experiments.find(person, key).experiment
    assert experiment.targets == {"quality": 0.9, "machine_hour": 3.6, "requests_a_month": 10_000} and experiment.margin == 0.03
    climb(20, 29)
    experiments.open_test(person, key)
    climb(20, 29)
    page = get(browser, f"/experiments/{key}")
    assert page.text(".verdict").startswith("Cannot tell whether a rung meets the targets: one-shot comes nearest (96.7 % [83.3, 99.4] against 90.0 %)")
    assert page.texts("#rung-0 td.num")[1] == "$0.02", "20 ms of an hour at $3.60, a thousand times"


def test_a_wish_that_is_no_number_comes_back_beside_its_field(browser: TestClient, task: tuple[int, str]) -> None:
    fields = {"drawn": "yes", "dataset": task[1], "model": str(task[0]), "zero_shot": "on", "label_price": "cheap"}
    page = get(browser, "/experiments/new")
    assert [one.get("open") for one in page.all("main details")] == [None, None, None]
    answer = browser.post("/experiments", data=fields)
    assert answer.status_code == 422 and "“cheap” is not a number." in answer.text and "<details open>" in answer.text


def test_whether_rows_fit_is_said_or_why_nobody_knows(browser: TestClient, task: tuple[int, str]) -> None:
    said = browser.get(f"/experiments/fit?model={task[0]}&dataset={task[1]}&shots=2", headers={"HX-Request-Type": "partial"}).text
    assert "Whether the rows fit with 2 shots is not known yet: The engine process is not running" in said


def test_refused_fields_come_back_at_their_place(browser: TestClient, task: tuple[int, str]) -> None:
    fields = {"drawn": "yes", "dataset": task[1], "model": str(task[0]), "few_shot": "on"}
    for changed, field in (({"shots": "1"}, "shots"), ({"margin": "x"}, "margin"), ({"shots": "60"}, "shots"), ({"fit": "squeeze"}, "fit")):
        response = browser.post("/experiments", data={**fields, **changed})
        page = Dom(response.text)
        assert response.status_code == 422 and page.one(f"#{field}").get("aria-invalid") == "true", response.text[:300]
        assert page.one("#few_shot").get("checked") is not None and page.one("#zero_shot").get("checked") is None
    response = browser.post("/experiments", data={"dataset": task[1], "model": str(task[0])})
    assert response.status_code == 422 and "at least one rung" in Dom(response.text).text(".error")


def test_a_tuned_model_joins_a_ladder_without_being_tuned_again(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    job_services.start_tune(person, model=task[0], dataset=task[1], method="lora", parameters={}, prompt_version=None, seed=0)
    job = take()
    model = tune(job)
    page = get(browser, get(browser, f"/jobs/{job.id}").href("#job-actions a:nth-of-type(2)"))
    assert page.one("#lora").get("checked") is None and page.one("input[name=tuned]").get("value") == str(model)
    fields = {"drawn": "yes", "dataset": task[1], "model": str(task[0]), "tuned": str(model), "zero_shot": "on", "prompt_version": "1@1"}
    place = browser.post("/experiments", data=fields).headers["location"]
    climb(10, 29)
    experiments.open_test(person, int(place.rpartition("/")[2]))
    climb(10, 29)
    page = get(browser, place)
    assert page.text(".verdict strong") == f"Use LoRA, model {model}." and page.texts("#rung-1 td.num")[2] == "922k"
    with transaction() as session:
        assert session.query(Job).filter_by(kind="tune").count() == 1


def test_only_a_tuned_model_can_join_as_it_is(browser: TestClient, task: tuple[int, str]) -> None:
    get(browser, f"/experiments/new?tuned={task[0]}", 404)


def test_the_list_costs_the_same_for_twice_the_experiments(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    assert get(browser, "/experiments").text(".empty h2") == "No comparison yet"
    counts = []
    for _ in range(2):
        ladder(person, task, "zero_shot", "few_shot")
        climb(10, 20)
        ladder(person, task, "zero_shot", name="running")
        get(browser, "/experiments")  # works the new verdicts out, once
        with queries() as sent:
            page = get(browser, "/experiments")
        counts.append(len(sent))
        climb(5)
    assert counts[0] == counts[1]
    assert page.texts("tbody th a") == ["running", "tickets", "running", "tickets"]
    assert page.texts("tbody tr:nth-child(2) td")[2:5] == ["8-shot", "0.667 [0.488, 0.808]", "succeeded 2 rungs"]
    assert page.texts("tbody tr:nth-child(1) td")[2:5] == ["–", "–", "queued 0 of 1 rungs"]


def test_the_list_names_the_rung_that_the_verdict_names_with_its_figure(browser: TestClient, person: Who) -> None:
    """LoRA is lucky on the test rows; the best on validation rows, and the one to use, is cheaper. Macro F1 of two seeds is that of all their answers."""
    model, version = add_model(person), add_dataset(person, test=60)
    same: dict[str, Any] = {"dataset": version.reference, "model": model, "scheme": {"metric": "macro_f1"}}
    seeds: dict[str, Any] = {"technique": "lora", "seeds": [0, 1]}
    key = experiments.create(person, name="lucky", rungs=[{"technique": "zero_shot"}, seeds], margin=0.2, **same)
    climb_by(lambda rung, cell: 58 if rung.tunes and cell.seed else 59 if rung.tunes else 57)
    view = experiments.find(person, key)
    zero, lora = view.rows
    assert view.recommended is zero and zero.scores and lora.scores and lora.scores["value"] > zero.scores["value"]
    shown = get(browser, "/experiments").texts("tbody td")
    low, high = zero.scores["interval"]
    assert shown[2:4] == ["zero-shot", f"{zero.scores['value']:.3f} [{low:.3f}, {high:.3f}] macro F1"]
    make_fit(4)
    assert get(browser, "/experiments").texts("tbody td")[3].endswith("macro F1 4 made to fit")
    other = experiments.create(person, name="seeds", rungs=[seeds], **same)
    climb_by(lambda rung, cell: 40 if cell.seed else 20)
    (pooled,) = experiments.find(person, other).rows
    assert pooled.scores
    low, high = pooled.scores["interval"]
    assert get(browser, "/experiments").texts("tbody td")[2:4] == ["LoRA", f"{pooled.scores['value']:.3f} [{low:.3f}, {high:.3f}] macro F1"]
