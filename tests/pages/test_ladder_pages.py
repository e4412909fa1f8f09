"""A comparison's pages beside its table: grids and seeds in it, the button, the label curve, the form's lists and what they take."""

import csv
import io
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import transaction
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.job import ACTIVE, Job
from app.domain.model import Model
from app.domain.targets import Targets
from app.services import datasets, experiments, forecast, jobs, reserve
from tests.dom import Dom, get
from tests.pages.test_experiments import task
from tests.rows import add_dataset, add_rows, answer_evaluation, claim, climb, climb_by, waiting
from tests.services.test_figures_of_ladders import SUMMARIES, answer_as

__all__ = ["task"]


def add(person: Who, task: tuple[int, str], *rungs: dict[str, Any], **more: Any) -> int:
    return experiments.create(person, name="tickets", dataset=task[1], model=task[0], rungs=rungs, **more)


def test_a_grid_folds_out_its_cells_and_says_which_was_chosen(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "few_shot", "shots": [2, 4], "seeds": [0, 1]}, {"technique": "zero_shot"})
    page = get(browser, f"/experiments/{key}")
    assert page.text("#rung-1 th") == "few-shot, 2 settings" and page.text(".rung-cells summary") == "2 settings, to be chosen on validation rows"
    rows = len(page.all(".ladder > .scroll > table > tbody > tr"))
    climb(24, 21)
    page = get(browser, f"/experiments/{key}")
    assert page.text("#rung-1 th") == "2-shot 2 draws" and page.text(".rung-cells summary") == "2 settings, chosen on validation rows: 2-shot"
    assert len(page.all(".rung-cells tbody tr")) == 4 and len(page.all(".rung-cells [data-chosen]")) == 2
    assert len(page.all(".ladder > .scroll > table > tbody > tr")) == rows, "nothing jumps while it fills"
    assert page.text("#rung-1 td:nth-of-type(1)") == "0.700 0.700 to 0.700" and len(page.all("#rung-1 svg.whisker .draw")) == 2
    assert "2 draws on 30 test rows: 0.700, 0.700; score interval of the rows’ shares, 95 %." in page.text("#score-1")


def test_the_button_says_how_often_the_rows_were_opened(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, open_test=False)
    page = get(browser, f"/experiments/{key}")
    assert page.one(".open-test button").get("disabled") is not None and "Opened so far: never." in page.text(".open-test .help")
    climb(20, 28)
    page = get(browser, f"/experiments/{key}")
    assert page.one(".open-test button").get("disabled") is None and page.text(".open-test .help") == "Once, for every rung: 30 rows. Opened so far: never."
    assert "Provisional: on 10 validation rows" in page.text(".verdict .aside") and page.texts("td .sub").count("provisional") == 2
    assert browser.post(f"/experiments/{key}/test").headers["location"] == f"/experiments/{key}"
    assert not get(browser, f"/experiments/{key}").all(".open-test")
    climb(20, 28)
    page = get(browser, f"/experiments/{key}")
    assert "provisional" not in page.text(".ladder") and page.texts("#rung-1 td")[0] == "0.933"
    other = add(person, task, {"technique": "zero_shot"}, open_test=False)
    assert "Opened so far: twice." in get(browser, f"/experiments/{other}").text(".open-test .help")
    assert browser.post(f"/experiments/{key}/test").status_code == 409


def scored(person: Who, reference: str, times: int) -> None:
    """As if the test rows of a version had been scored so often."""
    with transaction() as session:
        session.get_one(DatasetVersion, datasets.find(person, reference).version.id).scored = times


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_from_the_tenth_opening_on_the_page_reminds_and_offers_a_reserve_that_nobody_has_scored(
    browser: TestClient, person: Who, task: tuple[int, str]
) -> None:
    bare = add(person, task, {"technique": "zero_shot"}, open_test=False)
    reserve.set_aside(person, task[1])
    kept = add(person, (task[0], "1@2"), {"technique": "zero_shot"}, open_test=False)
    said = {key: f"/experiments/{key}" for key in (bare, kept)}
    scored(person, "1@2", 9)
    assert not any("Intervals assume few looks" in get(browser, page).text(".the-verdict") for page in said.values())
    scored(person, "1@2", 10)
    page = get(browser, said[kept])
    assert "have been scored 10 times." in page.text(".the-verdict") and "15 rows that nobody has scored" in page.text(".the-verdict")
    assert page.href(".the-verdict a") == "/datasets/1@2?split=reserve"
    assert "Set a reserve split aside" in get(browser, said[bare]).text(".the-verdict"), "that version has none"
    reserve.open_reserve(person, "1@2", "the last figure")
    page = get(browser, said[kept])
    assert "have been scored 10 times." in page.text(".the-verdict") and not page.all(".the-verdict a") and "reserve" not in page.text(".the-verdict")


def test_where_only_the_margin_is_kept_the_mark_says_the_margin(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot", "seeds": [0, 1]}, {"technique": "one_shot"}, margin=0.125)
    climb(26, 27, 27)
    for page in (get(browser, f"/experiments/{key}"), Dom(browser.get(f"/experiments/{key}/report.html").text)):
        assert [text for text in page.texts(".badge") if "below" in text] == ["at most 12.5 below: +3.3"] * 2
    assert "0.900 to 0.900" in get(browser, f"/experiments/{key}").texts("#rung-2 .sub.nowrap"), "it is not broken over two lines"


def test_the_api_opens_the_test_rows_when_it_is_asked(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    body = {
        "dataset": task[1],
        "model": task[0],
        "open_test": False,
        "validation_rows": 10,
        "rungs": [{"technique": "few_shot", "shots": [2, 4], "seeds": [0, 1]}],
    }
    made = browser.post("/api/v1/experiments", json=body).json()
    assert made["provisional"] and made["test"] == {"opened_at": None, "scored": 0, "ready": False, "held_by": []} and len(made["rows"][0]["cells"]) == 4
    assert browser.post(f"/api/v1/experiments/{made['id']}/test").status_code == 409
    climb(21)
    assert browser.post(f"/api/v1/experiments/{made['id']}/test").status_code == 202
    climb(21)
    (row,) = (found := browser.get(f"/api/v1/experiments/{made['id']}").json())["rows"]
    assert found["state"] == "finished" and [(one["seed"], one["score"]) for one in row["seeds"]] == [(0, 0.7), (1, 0.7)] and row["score"] == 0.7
    refused = browser.post("/api/v1/experiments", json=body | {"rungs": [{"technique": "few_shot", "seeds": list(range(30))}]})
    assert refused.status_code == 422


def test_a_cancelled_rung_leaves_the_opening_to_a_person(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    body = {"dataset": task[1], "model": task[0], "rungs": [{"technique": "zero_shot"}, {"technique": "lora"}]}
    key = browser.post("/api/v1/experiments", json=body).json()["id"]
    (tuning,) = [job for job in jobs.recent(person, states=ACTIVE)[0] if job.kind == "tune"]
    browser.post(f"/api/v1/jobs/{tuning.id}/cancel")
    assert not get(browser, f"/experiments/{key}").all(".open-test"), "a rung is under way: nothing to decide yet"
    climb(20)
    found = browser.get(f"/api/v1/experiments/{key}").json()
    assert found["state"] == "provisional" and found["test"] == {"opened_at": None, "scored": 0, "ready": True, "held_by": [1]}
    page = get(browser, f"/experiments/{key}")
    assert page.one(".open-test button").get("disabled") is None
    assert "LoRA was cancelled: run it again, or open without. Once, for every rung: 30 rows." in page.text(".open-test .help")
    browser.post(f"/experiments/{key}/test")
    climb(20)
    assert browser.get(f"/api/v1/experiments/{key}").json()["state"] == "finished"


def test_a_rung_that_somebody_ended_early_says_so(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "lora"})
    climb(20, 28)
    assert "ended by hand" not in get(browser, f"/experiments/{key}").text("#rung-1")
    with transaction() as session:
        job = session.scalars(select(Job).where(Job.kind == "tune")).one()
        job.finish, job.result = True, {**(job.result or {}), "steps": 40, "planned_steps": 96}
    assert "ended by hand at step 40 of 96" in get(browser, f"/experiments/{key}").text("#rung-1")


def test_the_signal_is_said_or_that_it_is_missing(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "lora"})
    climb(15, 29)
    said = get(browser, f"/experiments/{key}").text(".signal")
    assert (
        said.startswith("Without a large endpoint this signal is missing. The best local prompt, zero-shot, is not shown to beat")
        and "check the labels" not in said
    )


def test_quality_is_drawn_over_cost(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"})
    climb(20, 29)
    for page in (get(browser, f"/experiments/{key}"), Dom(browser.get(f"/experiments/{key}/report.html").text)):
        assert [(mark.text or "").replace("\u00a0", " ") for mark in page.all(".pareto .wide-plot g title")] == [
            "8-shot: 0.967, 20 ms",
            "zero-shot: 0.667, 20 ms",
        ]
        assert page.texts(".pareto .across-title") == 2 * ["Latency of one request, p50"], "a drawing for a wide screen, and one for a narrow"
        assert page.text(".pareto .narrow-plot .across-title") == "Latency of one request, p50"


def test_a_point_is_drawn_with_its_interval_and_the_line_passes_by_what_another_beats(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, {"technique": "lora"})
    climb_by(lambda rung, cell: [20, 17, 28][rung.position], latency_ms=lambda rung: [20.0, 90.0, 40.0][rung.position])
    page = get(browser, f"/experiments/{key}")
    ticks = [(float(tick.text or ""), float(tick.get("y") or "") - 4) for tick in page.all(".pareto .wide-plot text.up")]
    (low, bottom), (high, top) = ticks[0], ticks[-1]
    drawn: dict[str, tuple[float, float]] = {}
    for mark in page.all(".pareto .wide-plot g"):
        title, span, dot = mark.cssselect("title")[0].text or "", mark.cssselect("line.span")[0], mark.cssselect("circle")[0]
        scores = next(row.scores for row in experiments.find(person, key).rows if title.startswith(row.title)) or {}
        heights = [float(span.get("y1")), float(span.get("y2")), float(dot.get("cy"))]
        told = [low + (bottom - height) / (bottom - top) * (high - low) for height in heights]
        assert told == pytest.approx([*scores["interval"], scores["value"]], abs=0.002) and span.get("x1") == span.get("x2") == dot.get("cx")
        drawn[title.partition(":")[0]] = (float(dot.get("cx")), float(dot.get("cy")))
    line = [tuple(float(number) for number in point.split()) for point in (page.one(".pareto .wide-plot path.front").get("d") or "")[1:].split("L")]
    assert line == [drawn["zero-shot"], drawn["LoRA"]] and len(drawn) == 3, "8-shot is slower than both, and worse"


def test_a_rung_that_cannot_be_compared_is_not_drawn(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, {"technique": "lora"}, targets=Targets(machine_hour=36.0))
    climb(20, 29, 28)
    with transaction() as session:
        row = session.get_one(Evaluation, experiments.find(person, key).rows[2].evaluation.id)  # type: ignore[union-attr]
        row.scores = {**(row.scores or {}), "measured": {"device": "cuda:0", "dtype": "bfloat16"}}
    for page in (get(browser, f"/experiments/{key}"), Dom(browser.get(f"/experiments/{key}/report.html").text)):
        assert [(mark.text or "").partition(":")[0] for mark in page.all(".pareto .wide-plot g title")] == ["8-shot", "zero-shot"]
        assert page.texts(".pareto .across-title") == 2 * ["Price of 1,000 requests"], "what cannot be priced does not take the others' price away"
        assert page.text(".pareto + .help") == "Not drawn, because it cannot be compared: LoRA (on cuda:0 bfloat16)."
    row = browser.get(f"/api/v1/experiments/{key}").json()["rows"][2]
    assert (row["cost_per_request"], row["elsewhere"], row["score"]) == (None, "cuda:0 bfloat16", pytest.approx(28 / 30))


def test_validation_rows_are_not_drawn_beside_test_rows(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, {"technique": "lora"}, open_test=False)
    climb(20, 29, 28)
    assert not get(browser, f"/experiments/{key}").all(".pareto + .help"), "all of validation rows"
    browser.post(f"/experiments/{key}/test")
    climb_by(lambda rung, cell: None if rung.tunes else 25)
    page = get(browser, f"/experiments/{key}")
    assert len(page.all(".pareto .wide-plot g title")) == 2 and "LoRA (validation rows so far)" in page.text(".pareto + .help")


def test_the_label_curve_is_a_tab_of_its_own(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "lora", "label_curve": [4, 8, 12]})
    climb_by(lambda rung, cell: 15 + (cell.labels or 20) // 2)
    page = get(browser, f"/experiments/{key}")
    assert page.texts(".tabs a") == ["Table", "Label curve"] and page.href(".tabs a:nth-of-type(2)") == f"/experiments/{key}/labels"
    page = get(browser, f"/experiments/{key}/labels?more=40&price=0.5")
    assert "40 more labels buy +" in page.text("main") and "for $20.00" in page.text("main")
    assert page.text(".pareto .wide-plot text.here") == "you are here" and page.texts(".table.curve tbody th")[-1].startswith("20")
    plain = add(person, task, {"technique": "zero_shot"})
    assert not get(browser, f"/experiments/{plain}").all(".tabs") and "No rung of this comparison" in get(browser, f"/experiments/{plain}/labels").text("main")


FIELDS = {"drawn": "yes", "few_shot": "on", "lora": "on"}


def test_the_form_makes_grids_of_lists(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    lists = {
        "shots": "2, 4",
        "draws": "2",
        "selection": "every",
        "calibration": "every",
        "rates": "0.0001, 0.001",
        "seeds": "2",
        "curve": "8, 4",
        "steps": "20",
    }
    fields = {**FIELDS, "dataset": task[1], "model": str(task[0]), **lists, "look": "quick"}
    place = browser.post("/experiments", data=fields).headers["location"]
    view = experiments.find(person, int(place.rpartition("/")[2]))
    few, lora = view.rows
    assert len(few.cells) == 2 * 3 * 3, "a quick look at so many draws shots once"
    assert len(lora.cells) == 2 * 3 and lora.rung.settings["curve"] == [4, 8] and lora.rung.seeds == [0, 1]
    assert lora.cells[0].cell.settings["parameters"]["max_steps"] == 20
    assert (view.experiment.validation_rows, view.experiment.opens) == (100, False)


@pytest.mark.parametrize(("field", "text"), [("shots", "2, x"), ("draws", "0"), ("rates", "7"), ("curve", "1"), ("seeds", "30")])
def test_a_list_that_cannot_be_read_comes_back_at_its_field(browser: TestClient, task: tuple[int, str], field: str, text: str) -> None:
    answer = browser.post("/experiments", data={**FIELDS, "dataset": task[1], "model": str(task[0]), field: text})
    assert answer.status_code == 422 and Dom(answer.text).one(f"#{field}").get("aria-invalid") == "true"


def test_what_it_takes_stands_beside_the_buttons_and_is_measured_once_something_was(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    page = get(browser, "/experiments/new")
    assert page.texts(".actions button")[0].startswith("Full run") and page.texts(".actions button")[1].startswith("Quick look")
    assert "rough: some of it was never measured here" in page.text("#takes")
    add(person, task, {"technique": "zero_shot"})
    while (job := waiting()) is not None:
        with transaction() as session:
            job = claim(session)
            session.get_one(Job, job.id).phases = {"evaluate": job.started_at}
        answer_evaluation(job, 20)
    same: dict[str, Any] = {"dataset": task[1], "model": task[0], "prompt_version": None, "validation_rows": 100}
    found = forecast.experiment(person, **same, rungs=[{"technique": "zero_shot"}, {"technique": "few_shot", "shots": [2, 4], "seeds": [0, 1]}])
    assert found.measured and found.jobs == 2 + (4 + 2) and found.tokens > 0 and found.dollars == 0.0
    tuned = forecast.experiment(person, **same, rungs=[{"technique": "lora", "parameters": {"learning_rate": [1e-4, 1e-3]}, "seeds": [0, 1]}], machine_hour=3.6)
    assert not tuned.measured and tuned.jobs == 3 + 3 + 2 and tuned.dollars == pytest.approx(tuned.seconds / 1000)


def test_the_form_offers_the_figures_of_the_dataset_and_compares_by_the_chosen_one(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    page = get(browser, "/experiments/new")
    assert page.texts("#metric option") == ["accuracy", "balanced accuracy", "macro F1", "MCC"] and page.all("#calibration")
    fields = {**FIELDS, "dataset": task[1], "model": str(task[0]), "draws": "1", "metric": "macro_f1", "checks": "length: at most 3 words"}
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    climb(20, 29)
    experiments.open_test(person, key)
    climb(20, 29)
    page = get(browser, f"/experiments/{key}")
    assert page.texts("thead th")[1] == "Macro F1" and "Answers swapped within rows, p" in page.text("#against-1")
    assert "30 test rows; bootstrap over rows, 95 %. Accuracy 0.967, off the list 0, length at most 3 words passed 100 %." in page.text(
        "#score-1"
    ) and "points of macro F1" in page.text("main")
    assert page.texts("#rung-1 .sub a") == ["+9", "\u22120"] and "both are right on 20" in page.text("#against-1")
    report = browser.get(f"/experiments/{key}/report.md").text
    assert "| rung | rows | macro F1 | low |" in report and "Compared by macro F1" in report and "bootstraps over rows" in report
    assert get(browser, "/experiments").text("td .sub") == "macro F1"
    answer = browser.post("/experiments", data={**fields, "metric": "chrf"})
    assert answer.status_code == 422 and Dom(answer.text).one("#metric").get("aria-invalid") == "true"


@pytest.mark.parametrize("metric", ["json_valid", "accuracy"])
def test_rows_are_counted_and_opened_by_right_and_wrong_only_where_the_figure_goes_by_it(
    browser: TestClient, person: Who, task: tuple[int, str], metric: str
) -> None:
    """Every answer of one rung is JSON and wrong, of the other none is JSON: it gains all rows, and is right on none."""
    rows = [(f"{split} {at}", json.dumps({"total": at}), split) for split, count in (("train", 12), ("validation", 10), ("test", 20)) for at in range(count)]
    scheme = {"shape": "json", "metric": metric}
    key = add(person, (task[0], add_rows(person, "orders", rows).reference), {"technique": "zero_shot"}, {"technique": "few_shot"}, scheme=scheme)
    climb(0, 0)
    few = experiments.find(person, key).rows[1].evaluation
    assert few is not None
    answer_as(few, lambda row, at: "{}")
    page = get(browser, f"/experiments/{key}")
    assert ("Of 20 rows it gained 20 and lost 0." if metric == "json_valid" else "neither on 20.") in page.text("#against-1")
    assert page.texts("#rung-1 .sub a") == (["rows"] if metric == "json_valid" else ["+0", "\u22120"])


def test_free_text_is_offered_no_label_rungs(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    reference = add_rows(person, "summaries", SUMMARIES).reference
    page = get(browser, f"/experiments/new?dataset={reference}&metric=mcc&calibration=every")
    assert page.texts("#metric option")[:2] == ["chrF", "ROUGE-L"] and not page.all("#calibration")
    fields = {"drawn": "yes", "zero_shot": "on", "lora": "on", "dataset": reference, "model": str(task[0]), "metric": "rouge_l", "calibration": "every"}
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    climb(10, 29)
    page = get(browser, f"/experiments/{key}")
    assert page.texts("thead th")[1] == "ROUGE-L" and page.texts("tbody th")[0].startswith("zero-shot") and "majority" not in page.text(".ladder")
    assert "10 validation rows; score interval over rows, 95 %. chrF" in page.text("#score-1") and "are higher and" in page.text("#against-1")
    assert page.text("#rung-1 .sub a") == "rows", "right and wrong say nothing of a text"


def test_the_form_asks_tuned_rungs_with_shots_and_holds_written_answers_to_the_labels(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    assert not get(browser, "/experiments/new").all("#constrained")
    fields = {"drawn": "yes", "zero_shot": "on", "lora": "on", "dataset": task[1], "model": str(task[0]), "beside": "4", "constrained": "every"}
    key = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    rows = experiments.find(person, key).rows
    assert [row.title for row in rows] == ["zero-shot", "LoRA", "LoRA, 4-shot"], "by likelihood there is nothing to hold"
    written = fields | {"extractor": "first_line", "beside": ""}
    assert get(browser, f"/experiments/new?dataset={task[1]}&extractor=first_line").texts("#constrained option")[0] == "no"
    key = int(browser.post("/experiments", data=written).headers["location"].rpartition("/")[2])
    assert [len(row.cells) for row in experiments.find(person, key).rows] == [2, 2]
    answer = browser.post("/experiments", data={**fields, "beside": "x"})
    assert answer.status_code == 422 and Dom(answer.text).one("#beside").get("aria-invalid") == "true"


def test_a_page_that_only_waits_for_its_button_asks_seldom_and_a_toast_tells_the_verdict(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot"}, open_test=False)
    assert get(browser, f"/experiments/{key}").one("#poll").get("hx-trigger") == "every 2s"
    climb(20, 28)
    page = get(browser, f"/experiments/{key}")
    assert page.one("#poll").get("hx-trigger") == "every 30s"
    (news,) = json.loads(page.one("[data-ended]").get("data-ended") or "")
    assert news["text"] == "The verdict of tickets is provisional: open its test rows for the final one." and news["href"] == f"/experiments/{key}"


def test_a_quick_look_says_how_far_tuning_is_cut(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    with transaction() as session:
        session.get_one(Model, task[0]).parameters = 135_000_000
    reference = add_dataset(person, "many", train=4000, validation=100).reference
    fields = {"drawn": "yes", "zero_shot": "on", "lora": "on", "dataset": reference, "model": str(task[0])}
    said = get(browser, f"/experiments/new?{urlencode(fields)}").text("#takes")
    key = int(browser.post("/experiments", data=fields | {"look": "quick"}).headers["location"].rpartition("/")[2])
    steps = experiments.find(person, key).rows[1].rung.settings["capped"]
    assert f"A quick look scores 100 validation rows and cuts tuning to {steps} steps." in said
    assert get(browser, f"/experiments/{key}").text("#rung-1 .sub") == f"cut to {steps} steps for a quick look"
    full = int(browser.post("/experiments", data=fields).headers["location"].rpartition("/")[2])
    assert "capped" not in experiments.find(person, full).rows[1].rung.settings


def test_labels_that_were_not_offered_and_checks_stand_in_the_table_its_csv_and_the_api(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = add(person, task, {"technique": "zero_shot"}, {"technique": "few_shot", "seeds": [0, 1]}, scheme={"checks": [{"kind": "length", "most": 1}]})
    climb(20, 28)
    with transaction() as session:
        for at, evaluation in enumerate(session.scalars(select(Evaluation).where(Evaluation.split == "test", Evaluation.answer != "linear"))):
            evaluation.scores = {**(evaluation.scores or {}), "offered": 20, "not_offered": (3, 6, 12)[at]}
    page = get(browser, f"/experiments/{key}")
    assert "off the list 0, label not offered 3, length at most 1 words passed 100 %." in page.text("#score-0")
    assert "label not offered 9," in page.text("#score-1"), "of two draws the mean"
    rows = browser.get(f"/api/v1/experiments/{key}").json()["rows"]
    assert [row["not_offered"] for row in rows] == [0.1, 0.3] and rows[1]["checks"] == [{"name": "length at most 1 words", "rate": 1.0}]
    table = csv.DictReader(io.StringIO(browser.get(f"/experiments/{key}/report.csv").text))
    assert [row["not_offered"] for row in table] == ["", "", "0.1", "0.3"]
