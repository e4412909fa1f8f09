"""A ladder from its first job to its verdict, through the services and the domain."""

from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import ending
from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.rendering import render
from app.domain.targets import Targets
from app.errors import Conflict, Invalid, NotFound
from app.services import experiments, predictions, prompts
from app.services import shots as shots_service
from tests.rows import add_dataset, add_model, claim, climb


def start(person: Who, *techniques: str) -> int:
    model, version = add_model(person), add_dataset(person)
    return experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=[{"technique": technique} for technique in techniques])


def test_rungs_stand_in_ladder_order_and_the_tuned_one_is_evaluated_after_its_training(person: Who) -> None:
    key = start(person, "lora", "few_shot", "zero_shot")
    assert [row.rung.technique for row in experiments.find(person, key).rows] == ["zero_shot", "few_shot", "lora"]
    climb(10, 15, 29, steps=3)
    assert experiments.find(person, key).state == "running"
    climb(29)
    assert experiments.find(person, key).state == "running", "the test rows are opened when the last rung has been validated"
    climb(10, 15, 29)
    view = experiments.find(person, key)
    assert view.state == "finished"
    assert [row.scores["correct"] for row in view.rows if row.scores] == [10, 15, 29]
    assert view.rows[2].model.trainable_parameters == 921_600 and view.rows[2].labels_used == 20
    assert view.recommendation is not None and view.recommendation.position == 2
    assert view.version.scored == 3


def test_with_few_labels_a_tie_asks_for_more_before_tuning(person: Who) -> None:
    key = start(person, "few_shot", "lora")
    climb(23, 24)
    found = experiments.find(person, key).recommendation
    assert found is not None and (found.position, found.kind) == (0, "label_more") and "with 20 labels (10 a class)" in found.verdict


def test_without_signal_no_rung_is_recommended(person: Who) -> None:
    key = start(person, "zero_shot", "few_shot")
    climb(15, 16)
    view = experiments.find(person, key)
    assert view.recommendation is not None and (view.recommendation.position, view.recommendation.kind, view.recommended) == (None, "no_signal", None)


def test_the_best_rung_is_chosen_on_validation_rows(person: Who) -> None:
    key = start(person, "zero_shot", "few_shot")
    climb(21, 27)
    view = experiments.find(person, key)
    assert [(row.validation or {})["n"] for row in view.rows] == [10, 10] and view.version.scored == 2
    assert view.recommendation is not None and any(
        reason.startswith("8-shot is the best rung by its validation score") for reason in view.recommendation.reasons
    )


def test_prices_make_a_request_cost_something(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    targets = Targets(machine_hour=3.6, requests_a_month=1000)
    key = experiments.create(
        person, name="", dataset=version.dataset_id, model=model, rungs=[{"technique": "zero_shot"}, {"technique": "few_shot"}], targets=targets
    )
    climb(21, 22)
    view = experiments.find(person, key)
    assert [row.request_cost for row in view.rows] == pytest.approx([20 / 1e6] * 2)
    assert view.recommendation is not None and any("set the price of a label to count it" in reason for reason in view.recommendation.reasons), (
        "the shots' labels have no price"
    )


def test_shots_come_from_train_only_and_a_tuned_rung_has_none(person: Who) -> None:
    key = start(person, "few_shot", "lora")
    few, lora = experiments.find(person, key).rows
    assert len(few.prompt.shots) == 8 and all(shot["input"].startswith("train message") for shot in few.prompt.shots)
    assert {shot["output"] for shot in few.prompt.shots} == {"billing", "delivery"}
    assert lora.prompt.shots == []


def test_a_failed_rung_says_so_and_is_rerun_alone(person: Who) -> None:
    key = start(person, "zero_shot", "one_shot")
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "out_of_memory", "message": "Too big.", "advice": "Smaller."})
    climb(20)
    assert [row.state for row in experiments.find(person, key).rows] == ["failed", "succeeded"]
    with pytest.raises(Conflict):
        experiments.rerun(person, key, 1)
    experiments.rerun(person, key, 0)
    climb(12)
    assert [row.state for row in experiments.find(person, key).rows] == ["succeeded", "succeeded"]


def test_a_foreign_workspace_sees_nothing(person: Who) -> None:
    key = start(person, "zero_shot")
    stranger = Who(person.user_id, person.workspace_id + 1, "Eve", "member")
    with pytest.raises(NotFound):
        experiments.find(stranger, key)
    assert experiments.recent(stranger)[0] == []


@pytest.mark.parametrize(
    ("rungs", "code"),
    [
        ([], "no_rungs"),
        ([{"technique": "magic"}], "unknown_technique"),
        ([{"technique": "lora", "parameters": {"rank": 0}}], "bad_parameter"),
        ([{"technique": "few_shot", "shots": 50}], "too_few_shots"),
    ],
)
def test_a_wrong_request_leaves_nothing_behind(person: Who, rungs: list[dict[str, object]], code: str) -> None:
    model, version = add_model(person), add_dataset(person)
    with pytest.raises(Invalid) as caught:
        experiments.create(person, name="x", dataset=version.dataset_id, model=model, rungs=rungs)
    assert caught.value.code == code
    assert experiments.recent(person)[0] == []
    with transaction() as session:
        assert session.query(Job).count() == 0


def test_predictions_of_a_sealed_test_split_are_kept_back(person: Who) -> None:
    from app.errors import Sealed
    from app.services import datasets

    key = start(person, "zero_shot")
    climb(10)
    with transaction() as session:
        evaluation = session.query(Evaluation).filter_by(split="test", answer="likelihood").one()
    with pytest.raises(Sealed):
        predictions.find(person, evaluation.id)
    view = experiments.find(person, key)
    datasets.reveal(person, view.version.dataset_id, "looking for label errors")
    rows = predictions.find(person, evaluation.id).rows
    assert len(rows) == 30 and not rows[0].prediction.correct
    assert datasets.find(person, view.version.dataset_id).version.viewed == 1


def test_shots_of_a_rung_are_drawn_as_it_says(person: Who) -> None:
    add_model(person)
    version = add_dataset(person)
    rungs = [{"technique": "few_shot", "shots": 4, "selection": name} for name in ("random", "balanced", "diverse")]
    key = experiments.create(person, name="", dataset=version.reference, model=1, rungs=rungs)
    rows = experiments.find(person, key).rows
    drawn = [[shot["input"] for shot in row.prompt.shots] for row in rows]
    for shots, way in zip(drawn, ("random", "balanced", "diverse"), strict=True):
        assert shots == [shot.input for shot in shots_service.drawn(person, version.reference, 4, 0, way).shots]  # type: ignore[arg-type]
    assert [row.title for row in rows] == ["4-shot, random", "4-shot", "4-shot, diverse"]


@pytest.mark.parametrize(
    ("prompt", "rung", "code"),
    [
        ({}, {"technique": "few_shot", "selection": "nearest"}, "no_such_selection"),
        ({"mode": "chat", "messages": [{"role": "user", "content": "{input}"}]}, {"technique": "few_shot"}, "no_place_for_shots"),
        ({"mode": "freeform", "text": "{input} {tone}"}, {"technique": "zero_shot"}, "unknown_variable"),
    ],
)
def test_what_a_rung_cannot_have_is_refused_in_a_sentence(person: Who, prompt: dict[str, Any], rung: dict[str, Any], code: str) -> None:
    add_model(person)
    version = add_dataset(person)
    saved = prompts.create(person, "Mine", prompt)
    with pytest.raises(Invalid) as error:
        experiments.create(person, name="", dataset=version.reference, model=1, rungs=[rung], prompt_version=saved.reference)
    assert error.value.code == code and error.value.advice


def test_a_default_stands_in_for_a_column_that_the_data_lacks(person: Who) -> None:
    add_model(person)
    version = add_dataset(person)
    saved = prompts.create(person, "Mine", {"mode": "freeform", "text": "{input} {tone}", "defaults": {"tone": "warm"}})
    key = experiments.create(person, name="", dataset=version.reference, model=1, rungs=[{"technique": "zero_shot"}], prompt_version=saved.reference)
    (row,) = experiments.find(person, key).rows
    with reading() as session:
        case = next(datasets.cases(session, version, "test"))
    assert render(row.prompt.template(), case.values).text == f"{case.input} warm"
