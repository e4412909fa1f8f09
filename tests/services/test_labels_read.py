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
from app.domain.rendering import Template
from app.domain.targets import Targets
from app.services import experiments
from app.services.experiments import Ladder
from tests.rows import add_dataset, add_model, add_rows, climb_by

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
        {"technique": "few_shot", "shots": 4},
        {"technique": "zero_shot", "label_budget": 50},
        {"technique": "zero_shot", "answer": "generate"},
    ]
    view = experiments.find(person, start(person, topics, rungs, targets=Targets(label_price=0.5, requests_a_month=1000, machine_hour=1.0)))
    assert labels(view) == [80, 80, 50, 0], "what is written is free where the prompt names no labels"
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
        {"technique": "lora", "label_curve": [2]},
        {"technique": "zero_shot"},
    ]
    key = start(person, topics, rungs, scheme={"candidates": 2})
    climb_by(lambda rung, cell: 20)
    view = experiments.find(person, key)
    with reading() as session:
        known = {row.input: row.answer for row in label_budget.train_rows(session, topics, None, 0)}
        within = {row.input for row in label_budget.train_rows(session, topics, 50, 3)}
        two = {row.input for row in label_budget.train_rows(session, topics, 2, 0)}
    budget, tuned, whole = view.rows
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
