"""Which labelled rows the rungs of a comparison read, and how many: shots, rows that are learnt from, rows that candidates are found by."""

from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import evaluation as evaluations
from app.domain import label_budget, reliability
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.rendering import Template
from app.domain.targets import Targets
from app.services import experiments, label_curve, reports
from app.services.experiments import Ladder
from tests.rows import add_dataset, add_model, add_rows, claim, climb_by, tune

TOPICS = 40
"""Above so many labels as are offered at once."""


@pytest.fixture
def topics(person: Who) -> DatasetVersion:
    """40 labels with two train rows each, of which every one has a word of its own."""
    rows = [(f"word{at} again", f"topic {at % TOPICS}", split) for split, count in (("train", 80), ("validation", 40), ("test", 40)) for at in range(count)]
    return add_rows(person, "topics", rows)


def start(person: Who, version: DatasetVersion, rungs: list[dict[str, Any]], **more: Any) -> int:
    return experiments.create(person, name="", dataset=version.reference, model=add_model(person), rungs=rungs, **more)


def labels(view: Ladder) -> list[int]:
    return [row.labels_used for row in view.rows]


def offered(evaluation: Evaluation | None, text: str) -> set[str]:
    """The labels that a row of this text is offered."""
    assert evaluation is not None
    with reading() as session:
        found = evaluations.candidates(session, session.get_one(Evaluation, evaluation.id))
        assert found is not None
        return set(found.of(text))


def test_rows_that_candidates_are_found_by_are_labels_that_were_read(person: Who, topics: DatasetVersion) -> None:
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "zero_shot", "label_budget": 50},
        {"technique": "zero_shot", "answer": "generate"},
        {"technique": "few_shot", "shots": 4},
    ]
    view = experiments.find(person, start(person, topics, rungs, targets=Targets(label_price=0.5, requests_a_month=1000, machine_hour=1.0)))
    assert labels(view) == [80, 50, 0, 80], "what is written is free where the prompt names no labels"
    few = experiments.find(person, start(person, add_dataset(person), [{"technique": "zero_shot"}, {"technique": "few_shot", "shots": 4}]))
    assert labels(few) == [0, 4], "two labels are always offered both"


def test_a_prompt_that_names_the_labels_reads_what_they_are_chosen_by(person: Who, topics: DatasetVersion) -> None:
    with transaction() as session:
        prompt = prompts.create(session, person, "listed", prompts.fields_of(Template(instruction="One of {labels}."))).reference
    view = experiments.find(person, start(person, topics, [{"technique": "zero_shot", "answer": "generate"}], prompt_version=prompt))
    assert labels(view) == [80]


def test_candidates_are_found_by_the_rows_within_the_label_budget(person: Who, topics: DatasetVersion) -> None:
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot", "label_budget": 50, "seeds": [3]},
        {"technique": "zero_shot"},
        {"technique": "lora", "label_curve": [2]},
    ]
    key = start(person, topics, rungs, scheme={"candidates": 2})
    climb_by(lambda rung, cell: 20)
    view = experiments.find(person, key)
    with reading() as session:
        known = {row.input: row.answer for row in label_budget.train_rows(session, topics, None, 0)}
        within = {row.input for row in label_budget.train_rows(session, topics, 50, 3)}
        two = {row.input for row in label_budget.train_rows(session, topics, 2, 0)}
    budget, whole, tuned = view.rows
    assert all(answer in offered(whole.evaluation, text) for text, answer in known.items())
    for evaluation in (budget.lead.validation, budget.evaluation):
        found = {text for text, answer in known.items() if answer in offered(evaluation, text)}
        assert within <= found and len(found) < 60, "a row is found by itself where it may be read; another one by chance alone"
    (point,) = tuned.curve
    found = {text for text, answer in known.items() if answer in offered(point.validation, text)}
    assert two <= found and len(found) < 10 and point.labels == 2


def test_a_check_of_reliability_finds_the_candidates_of_the_evaluation_that_is_checked(person: Who, topics: DatasetVersion) -> None:
    key = start(person, topics, [{"technique": "zero_shot", "label_budget": 2}], scheme={"candidates": 2})
    climb_by(lambda rung, cell: 20)
    checked = experiments.find(person, key).rows[0].evaluation
    assert checked is not None
    with transaction() as session:
        check = reliability.add(session, person, session.get_one(Evaluation, checked.id), 1, [], 0)
        (run,) = reliability.runs(session, check)[1:]
    assert all(offered(run, f"word{at} again") == offered(checked, f"word{at} again") for at in range(20))


def end_tuning(steps: int, validated: int) -> None:
    """End the tune job that waits, after so many steps."""
    with transaction() as session:
        key = claim(session).id
    with reading() as session:
        job = session.get_one(Job, key)
    tune(job)
    with transaction() as session:
        job = session.get_one(Job, key)
        job.result = {**(job.result or {}), "steps": steps, "validated_rows": validated}


def test_a_run_of_few_steps_reads_the_rows_of_those_steps(person: Who) -> None:
    version = add_dataset(person, train=4000, validation=200)
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "lora", "parameters": {"max_steps": 8}},
        {"technique": "lora", "parameters": {"max_steps": 8}, "shots": 4},
        {"technique": "full", "parameters": {"epochs": 0.5}},
        {"technique": "prefix"},
    ]
    key = start(person, version, rungs, validation_rows=100)
    view = experiments.find(person, key)
    assert sorted(labels(view)) == [0, 128, 132, 2000, 4000] and view.linear is not None and view.linear.labels_used == 4000
    climb_by(lambda rung, cell: 20 if not rung.tunes else None)
    end_tuning(steps=3, validated=64)
    view = experiments.find(person, key)
    (row,) = [row for row in view.rows if row.tune_job and (row.tune_job.result or {}).get("steps") and row.settings.get("shots") is None]
    assert row.labels_used == 16 * 3 and row.validation_labels == 164, "an end before the last step, and what watched the run beside what chooses"


def test_validation_labels_stand_beside_the_others(person: Who) -> None:
    key = start(person, add_dataset(person), [{"technique": "zero_shot"}, {"technique": "lora"}])
    climb_by(lambda rung, cell: 20)
    climb_by(lambda rung, cell: 20, "light")
    view = experiments.find(person, key)
    assert [(row.labels_used, row.validation_labels) for row in view.all_rows] == [(20, 10), (0, 10), (20, 10)]
    assert [(line["labels_used"], line["validation_labels"]) for line in reports.table(view)] == [(0, 0), (20, 10), (0, 10), (20, 10)]


def test_the_model_of_an_earlier_run_brings_the_labels_that_it_read(person: Who) -> None:
    version = add_dataset(person, train=4000)
    first = start(person, version, [{"technique": "lora", "parameters": {"max_steps": 8}, "label_budget": 100}])
    climb_by(lambda rung, cell: 20)
    model = experiments.find(person, first).rows[0].model
    second = experiments.create(person, name="", dataset=version.reference, model="starter", rungs=[{"technique": "lora", "model": model.id}])
    assert labels(experiments.find(person, first)) == [100] == labels(experiments.find(person, second))


def test_a_point_of_a_curve_stands_at_the_labels_that_its_run_read(person: Who) -> None:
    version = add_dataset(person, train=4000)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "label_curve": [64, 100, 1600], "parameters": {"max_steps": 8}}]
    key = start(person, version, rungs)
    climb_by(lambda rung, cell: 20)
    lora = next(one for one in label_curve.find(person, key).rising if one.title == "LoRA")
    assert [(at.labels, len(at.seeds)) for at in lora.points] == [(64, 1), (100, 1), (128, 2)] and lora.now == 128


def test_nobody_is_told_to_label_more_where_tuning_read_few_of_the_labels_there(person: Who) -> None:
    """Where two steps of 16 rows read all labels, 16 a class, more are what is missing; of 4,000 labels they read too few to say so."""
    for train, kind in ((32, True), (4000, False)):
        version = add_dataset(person, f"with {train}", train=train, test=100)
        rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "parameters": {"max_steps": 2}}]
        key = experiments.create(person, name="", dataset=version.reference, model=add_model(person, f"m{train}", f"m{train}"), rungs=rungs)
        climb_by(lambda rung, cell: 80 + rung.position)
        climb_by(lambda rung, cell: 60, "light")
        view = experiments.find(person, key)
        assert labels(view) == [0, 32] and view.recommendation is not None
        assert (view.recommendation.kind == "label_more") is kind
