"""Rungs of several cells: what is chosen on validation rows, what several seeds say together, and when the test rows are opened."""

import threading
from itertools import pairwise
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import climbing, ending, label_budget
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import LINEAR
from app.domain.job import Job
from app.domain.model import Model
from app.domain.stats import mean_interval
from app.errors import Conflict, Invalid
from app.services import experiments, jobs, label_curve, reports, what_if
from tests.rows import add_dataset, add_model, answer_evaluation, claim, climb, climb_by, tune


def start(person: Who, rungs: list[dict[str, Any]], **more: Any) -> int:
    model, version = add_model(person), add_dataset(person)
    return experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=rungs, **more)


def answer_all(right: dict[tuple[int, int], int], queue: str = "gpu") -> list[str]:
    """Do what waits, each cell with so many of 30 right by (number, seed); gives the jobs' names."""
    return climb_by(lambda rung, cell: right[cell.number, cell.seed], queue)


def test_a_grid_is_chosen_on_validation_and_only_the_chosen_cell_is_tested_once_for_each_seed(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "shots": [2, 4], "selection": ["random", "balanced"], "seeds": [0, 1]}])
    (row,) = experiments.find(person, key).rows
    assert row.title == "few-shot, 4 settings" and len(row.cells) == 8 and row.rung.chosen is None
    names = answer_all({(number, seed): 12 + 3 * number if number < 3 else 15 for number in range(4) for seed in (0, 1)})
    view = experiments.find(person, key)
    (row,) = view.rows
    assert (row.rung.chosen, row.title, [one.cell.seed for one in row.own]) == (2, "4-shot, random", [0, 1])
    assert [name for name in names if "test rows" in name] == [f"4-shot, random, seed {seed}, test rows: tickets" for seed in (0, 1)]
    assert view.state == "finished" and view.version.scored == 1, "two seeds of one rung are one look"


def test_the_first_of_equals_is_chosen(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "shots": [2, 4]}])
    answer_all({(0, 0): 20, (1, 0): 20})
    assert experiments.find(person, key).rows[0].title == "2-shot"


def test_of_several_tuning_settings_one_seed_is_tuned_before_one_is_chosen(person: Who) -> None:
    key = start(person, [{"technique": "lora", "parameters": {"learning_rate": [1e-4, 1e-3]}, "seeds": [0, 1, 2]}])
    names = answer_all({(number, seed): 15 + 6 * number for number in (0, 1) for seed in range(3)})
    tunes = [name for name in names if "rows" not in name]
    assert tunes == [f"LoRA, learning rate {rate}, seed {seed}: tickets" for rate, seed in ((1e-4, 0), (1e-3, 0), (1e-3, 1), (1e-3, 2))]
    (row,) = experiments.find(person, key).rows
    assert row.rung.chosen == 1 and row.scores and row.scores["seeds"] == pytest.approx([0.7] * 3)
    with reading() as session:
        rates = [job.settings["parameters"]["learning_rate"] for job in session.query(Job).filter_by(kind="tune").order_by(Job.id)]
    assert rates == [1e-4, 1e-3, 1e-3, 1e-3]


def test_a_failed_cell_does_not_stop_the_others(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "shots": [2, 4, 6]}])
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "out_of_memory", "message": "Too big.", "advice": "Smaller."})
    answer_all({(1, 0): 20, (2, 0): 26})
    view = experiments.find(person, key)
    assert view.rows[0].title == "6-shot" and view.state == "finished" and view.rows[0].cells[0].state == "failed"


def test_a_seed_that_failed_leaves_the_rung_to_the_others_and_is_run_again(person: Who) -> None:
    key = start(person, [{"technique": "lora", "seeds": [0, 1]}])
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "No.", "advice": ""})
    answer_all({(0, 1): 24})
    (row,) = experiments.find(person, key).rows
    assert row.state == "succeeded" and row.seeds_lost == 1 and row.scores and row.scores["seeds"] == [0.8]
    assert experiments.find(person, key).version.scored == 1, "the look is counted by the seed that is there"
    experiments.rerun(person, key, 0)
    answer_all({(0, 0): 27})
    view = experiments.find(person, key)
    (row,) = view.rows
    assert row.seeds_lost == 0 and row.scores and row.scores["seeds"] == [0.9, 0.8] and view.version.scored == 1
    with pytest.raises(Conflict) as refused:
        experiments.rerun(person, key, 0)
    assert refused.value.code == "rung_not_over"


def test_the_look_is_the_first_seed_that_is_scored_whichever_that_is(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "seeds": [0, 1]}])
    climb(24, steps=2)
    with transaction() as session:
        job = claim(session)
        assert "test rows" in job.name
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "No.", "advice": ""})
    assert experiments.find(person, key).version.scored == 0, "nobody has seen anything"
    answer_all({(0, 1): 24})
    view = experiments.find(person, key)
    assert view.rows[0].seeds_lost == 1 and view.rows[0].scores and view.version.scored == 1
    experiments.rerun(person, key, 0)
    answer_all({(0, 0): 27})
    view = experiments.find(person, key)
    assert view.rows[0].seeds_lost == 0 and view.version.scored == 1, "a further seed is no further look"


def test_two_seeds_that_are_scored_at_the_same_moment_are_one_look(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "seeds": [0, 1]}])
    climb(24, steps=2)
    with transaction() as session:
        first, second = claim(session), claim(session)
    at_once = threading.Barrier(2)

    def score(job: Job) -> None:
        at_once.wait()
        answer_evaluation(job, 24)

    threads = [threading.Thread(target=score, args=(job,)) for job in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = experiments.find(person, key)
    assert view.state == "finished" and view.version.scored == 1


def test_what_somebody_cancelled_holds_the_test_rows_closed_and_what_failed_does_not(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "prompt_tuning"}, {"technique": "lora"}])
    with reading() as session:
        tunes = session.query(Job).filter_by(kind="tune").order_by(Job.id).all()
    jobs.cancel(person, tunes[1].id)
    climb(20, steps=1)
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "No.", "advice": ""})
    view = experiments.find(person, key)
    assert (view.state, view.ready, view.version.scored, [row.title for row in view.held]) == ("provisional", True, 0, ["LoRA"])
    experiments.rerun(person, key, 2)
    assert experiments.find(person, key).held == [], "nothing to decide while it runs"
    climb(20, 28)
    view = experiments.find(person, key)
    assert view.state == "finished" and view.version.scored == 2 and [row.state for row in view.rows] == ["succeeded", "failed", "succeeded"]


def test_without_a_cancelled_rung_a_person_opens_the_test_rows(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "few_shot"}])
    with reading() as session:
        last = session.query(Job).filter_by(queue="gpu").order_by(Job.id.desc()).first()
    assert last is not None
    jobs.cancel(person, last.id)
    climb(20)
    assert experiments.find(person, key).state == "provisional"
    experiments.open_test(person, key)
    climb(20)
    view = experiments.find(person, key)
    assert view.state == "finished" and view.version.scored == 1 and view.held == []


def test_several_draws_are_one_row_with_an_interval_over_rows(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "few_shot", "seeds": [0, 1, 2]}])
    right = {(0, 0): 21, (0, 1): 24, (0, 2): 27}
    answer_all(right)
    view = experiments.find(person, key)
    zero, few = view.rows
    assert few.scores and zero.scores and few.scores["accuracy"] == pytest.approx(0.8) and few.scores["correct"] is None
    each = [1.0] * 21 + [2 / 3] * 3 + [1 / 3] * 3 + [0.0] * 3
    assert few.scores["interval"] == pytest.approx([(found := mean_interval(each)).low, found.high])
    assert few.scores["seeds"] == pytest.approx([0.7, 0.8, 0.9]) and zero.scores["seeds"] == [0.7]
    assert few.comparison is not None and few.comparison.difference.by_row and few.comparison.difference.difference == pytest.approx(0.1)


def test_nothing_drawn_is_scored_once_whatever_the_seeds(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "shots": [0, 2], "seeds": [0, 1, 2]}])
    assert [one.title for one in experiments.find(person, key).rows[0].cells] == ["zero-shot", "2-shot", "2-shot", "2-shot"]


def test_a_model_that_is_there_is_scored_once_whatever_the_seeds_and_takes_nothing_of_tuning(person: Who) -> None:
    start(person, [{"technique": "lora"}])
    with transaction() as session:
        job = claim(session)
    model = tune(job)
    rung: dict[str, Any] = {"technique": "lora", "model": model, "seeds": [0, 1, 2]}
    dataset = experiments.recent(person)[0][0].dataset_version_id
    with reading() as session:
        reference = session.get_one(DatasetVersion, dataset).reference
        base = session.get_one(Model, model).base_model_id
    again: dict[str, Any] = {"name": "again", "dataset": reference, "model": base}
    for field, value in (("parameters", {"learning_rate": [1e-4, 1e-3]}), ("label_budget", 4), ("label_curve", [4, 8])):
        with pytest.raises(Invalid) as refused:
            experiments.create(person, **again, rungs=[rung | {field: value}])
        assert refused.value.code == "only_scored" and refused.value.detail == {"field": field}
    (row,) = experiments.find(person, experiments.create(person, **again, rungs=[rung])).rows
    assert [one.model.id for one in row.cells] == [model] and row.tune_job is None


def test_the_test_rows_wait_for_the_button_and_are_opened_once(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "lora"}], open_test=False, validation_rows=6)
    with pytest.raises(Conflict):
        experiments.open_test(person, key)
    climb(20, 28)
    view = experiments.find(person, key)
    assert (view.state, view.ready, view.version.scored) == ("provisional", True, 0)
    assert view.recommendation is not None and all(row.validation and row.validation["n"] == 6 and row.scores is None for row in view.rows)
    experiments.open_test(person, key)
    climb(20, 28)
    view = experiments.find(person, key)
    assert view.state == "finished" and view.version.scored == 2 and all(row.scores for row in view.rows)
    with pytest.raises(Conflict):
        experiments.open_test(person, key)


def test_of_two_who_press_the_button_at_once_one_opens_the_test_rows(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "few_shot"}], open_test=False)
    climb(20, 24)
    refused: list[str] = []

    def press() -> None:
        try:
            experiments.open_test(person, key)
        except Conflict as error:
            refused.append(error.code)

    second = threading.Thread(target=press)
    with transaction() as session:
        climbing.open_test(session, person, key)
        second.start()
        second.join(0.5)  # by then it has read what is not committed yet, unless it waits
    second.join()
    with reading() as session:
        assert session.query(Evaluation).filter_by(split="test").count() == 2 and refused == ["test_opened"]


def test_a_verdict_before_that_says_which_rows_it_is_from(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "few_shot"}], open_test=False)
    climb(24, 27)
    view = experiments.find(person, key)
    said, moved = view.recommendation, what_if.ask(person, key, {}).recommendation
    assert said is not None and said.kind == "no_signal", "ten rows show no rung to beat the most frequent label"
    assert moved is not None and moved.verdict == said.verdict
    against = view.rows[1].comparison
    assert against is not None and against.verdict.sentence.startswith("Cannot tell from 10 validation rows (")
    assert all("more validation rows" in words and "test rows" not in words for words in (said.verdict, against.verdict.sentence))


def test_without_validation_rows_there_is_no_grid_but_a_ladder(person: Who) -> None:
    model, version = add_model(person), add_dataset(person, validation=0)
    same: dict[str, Any] = {"name": "", "dataset": version.reference, "model": model}
    with pytest.raises(Invalid) as refused:
        experiments.create(person, **same, rungs=[{"technique": "few_shot", "shots": [2, 4]}])
    assert refused.value.code == "no_validation"
    key = experiments.create(person, **same, rungs=[{"technique": "zero_shot"}, {"technique": "lora"}])
    climb(29, 20)
    view = experiments.find(person, key)
    assert view.state == "finished" and [row.scores and row.scores["correct"] for row in view.rows] == [20, 29]


def test_the_linear_baseline_is_tested_when_it_is_ready_and_nobody_waits_for_it(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}])
    climb(20)
    view = experiments.find(person, key)
    assert view.state == "finished" and view.linear is not None and view.linear.scores is None
    climb(25, queue="light")
    linear = experiments.find(person, key).linear
    assert linear is not None and linear.scores and linear.scores["correct"] == 25


def test_label_budgets_are_nested_and_make_a_curve(person: Who) -> None:
    key = start(person, [{"technique": "zero_shot"}, {"technique": "lora", "label_curve": [4, 8, 12], "seeds": [0, 1]}])
    for queue in ("gpu", "light"):
        climb_by(lambda rung, cell: 15 + (cell.labels or 20) // 2, queue)
    curves = label_curve.find(person, key, more=20, label_price=0.5)
    assert [one.title for one in curves.rising] == ["TF-IDF + logistic regression", "LoRA"]
    lora = curves.rising[1]
    assert [(at.labels, len(at.seeds)) for at in lora.points] == [(4, 2), (8, 2), (12, 2), (20, 2)] and lora.now == 20
    assert lora.gain is not None and lora.gain.more == 20 and lora.gain.low <= lora.gain.gain <= lora.gain.high and lora.price == 10.0
    with reading() as session:
        version = experiments.find(person, key).version
        budgets = [{row.position for row in label_budget.train_rows(session, version, budget, 1)} for budget in (4, 8, 12, None)]
        asked = {job.settings.get("label_budget") for job in session.query(Job).filter_by(kind="tune")}
        linear = [job.settings for job in session.query(Job).filter_by(kind="evaluate") if job.settings["answer"] == LINEAR and "label_budget" in job.settings]
    assert all(small < large for small, large in pairwise(budgets)) and asked == {None, 4, 8, 12}
    assert sorted(one["label_budget"] for one in linear) == [4, 8, 12]
    assert experiments.find(person, key).version.scored == 3, "the curve never opens the test rows"


def test_shots_are_drawn_within_a_label_budget(person: Who) -> None:
    key = start(person, [{"technique": "few_shot", "shots": 4, "label_budget": 6, "seeds": [3]}])
    (row,) = experiments.find(person, key).rows
    with reading() as session:
        within = {case.input for case in label_budget.train_rows(session, experiments.find(person, key).version, 6, 3)}
    assert {shot["input"] for shot in row.prompt.shots} <= within and row.labels_used == 4


@pytest.mark.parametrize(
    ("rung", "code"),
    [
        ({"technique": "few_shot", "shots": []}, "empty_list"),
        ({"technique": "few_shot", "calibration": "loud"}, "no_such_calibration"),
        ({"technique": "few_shot", "calibration": "calibrated", "answer": "generate"}, "no_such_calibration"),
        ({"technique": "zero_shot", "label_curve": [4]}, "no_curve"),
        ({"technique": "lora", "label_curve": [4, 50]}, "bad_budget"),
        ({"technique": "lora", "parameters": {"learning_rate": [1e-4, 7.0]}}, "bad_parameter"),
        ({"technique": "lora", "parameters": {"batch_size": list(range(1, 10)), "rank": list(range(1, 10))}}, "too_many_cells"),
    ],
)
def test_a_rung_that_cannot_be_is_refused_whole(person: Who, rung: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        start(person, [{"technique": "zero_shot"}, rung])
    assert refused.value.code == code and refused.value.advice and experiments.recent(person)[0] == []


def test_a_grid_is_asked_for_again_by_its_json(person: Who) -> None:
    rungs: list[dict[str, Any]] = [
        {"technique": "few_shot", "shots": [2, 4], "seeds": [0, 1], "calibration": ["raw", "calibrated"]},
        {"technique": "lora", "parameters": {"learning_rate": [1e-4, 1e-3]}, "label_curve": [4, 8]},
    ]
    first = start(person, rungs, validation_rows=50)
    body = reports.request(experiments.find(person, first)) | {"targets": None}
    second = experiments.find(person, experiments.create(person, **body))
    for one, other in zip(experiments.find(person, first).rows, second.rows, strict=True):
        assert {**one.rung.settings, "wanted": None} == {**other.rung.settings, "wanted": None}
        assert [(cell.cell.number, cell.cell.seed, cell.cell.settings, cell.cell.prompt_version_id) for cell in one.cells] == [
            (cell.cell.number, cell.cell.seed, cell.cell.settings, cell.cell.prompt_version_id) for cell in other.cells
        ]
    assert second.experiment.validation_rows == 50 and reports.request(second) | {"targets": None} == body
