"""A ladder from its first job to its verdict, through the services and the domain."""

import pytest

from app.db import transaction
from app.domain import experiment as experiment_rules
from app.domain import job as jobs
from app.domain import model as models
from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.errors import Conflict, Invalid, NotFound
from app.services import evaluations, experiments
from tests.rows import add_dataset, add_model, answer_evaluation, claim


def start(person: Who, *techniques: str) -> int:
    model, version = add_model(person), add_dataset(person)
    return experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=[{"technique": technique} for technique in techniques])


def run_next(right: int) -> Job:
    """Do the next queued job as a worker would: evaluations get `right` correct answers, tunes a registered model."""
    with transaction() as session:
        job = claim(session)
    if job.kind == "evaluate":
        answer_evaluation(job, right)
        return job
    with transaction() as session:
        model = models.register_tuned(
            session,
            job.person(),
            name="tuned",
            folder="jobs/1",
            content_hash="1" * 64,
            parameters=1000,
            base_model_id=job.settings["model"],
            method="lora",
            trainable_parameters=42,
            training_seconds=9.5,
            job_id=job.id,
        )
        experiment_rules.advance(session, job, model)
        jobs.succeed(session, job.id, job.lease_token or "", {"model": model.id})
    return job


def test_rungs_stand_in_ladder_order_and_the_tuned_one_is_evaluated_after_its_training(person: Who) -> None:
    key = start(person, "lora", "few_shot", "zero_shot")
    assert [row.rung.technique for row in experiments.find(person, key).rows] == ["zero_shot", "few_shot", "lora"]
    kinds = [run_next(right).kind for right in (10, 15)]
    assert kinds == ["evaluate", "evaluate"] and experiments.find(person, key).state == "running"
    assert run_next(0).kind == "tune" and run_next(29).kind == "evaluate"
    view = experiments.find(person, key)
    assert view.state == "finished"
    assert [row.scores["correct"] for row in view.rows if row.scores] == [10, 15, 29]
    assert view.rows[2].model.trainable_parameters == 42 and view.rows[2].labels_used == 30
    assert view.recommendation is not None and view.recommendation.position == 2
    assert view.version.scored == 3


def test_a_tie_recommends_the_prompt_and_says_that_they_cannot_be_told_apart(person: Who) -> None:
    key = start(person, "few_shot", "lora")
    run_next(23)
    run_next(0)
    run_next(24)
    found = experiments.find(person, key).recommendation
    assert found is not None and found.position == 0 and "cannot be told apart" in found.verdict


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
        jobs.fail(session, job.id, job.lease_token or "", {"code": "out_of_memory", "message": "Too big.", "advice": "Smaller."})
    run_next(20)
    assert [row.state for row in experiments.find(person, key).rows] == ["failed", "succeeded"]
    with pytest.raises(Conflict):
        experiments.rerun(person, key, 1)
    experiments.rerun(person, key, 0)
    run_next(12)
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
    run_next(10)
    with transaction() as session:
        evaluation = session.query(Evaluation).one()
    with pytest.raises(Sealed):
        evaluations.predictions(person, evaluation.id)
    view = experiments.find(person, key)
    datasets.reveal(person, view.version.dataset_id, "looking for label errors")
    rows = evaluations.predictions(person, evaluation.id)
    assert len(rows) == 30 and not rows[0][0].correct
    assert datasets.find(person, view.version.dataset_id).version.viewed == 1
