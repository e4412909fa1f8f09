"""Rungs that are tuned and asked with shots, and rungs whose answers are held to their form."""

import json
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import ending
from app.domain.access import Who
from app.domain.job import Job
from app.errors import Invalid
from app.services import experiments, forecast, prompts
from tests.rows import add_dataset, add_model, add_rows, claim, climb, climb_by


def tunings() -> list[Job]:
    with reading() as session:
        return list(session.query(Job).filter_by(kind="tune").order_by(Job.id))


def test_a_tuned_rung_with_shots_takes_the_model_of_the_one_without(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "seeds": [0, 1]}, {"technique": "lora", "seeds": [0, 1], "shots": 4}]
    same: dict[str, Any] = {"dataset": version.reference, "model": model, "prompt_version": None, "validation_rows": 100}
    assert forecast.experiment(person, **same, rungs=rungs).jobs == 2 + (2 + 4) + 4
    key = experiments.create(person, name="tickets", dataset=version.reference, model=model, rungs=rungs)
    assert len(tunings()) == 2, "one for each seed, and none for the shots"
    climb(15, 24, 27)
    view = experiments.find(person, key)
    _, bare, shown = view.rows
    assert (bare.title, shown.title, view.state) == ("LoRA", "LoRA, 4-shot", "finished") and len(tunings()) == 2
    assert [one.model.id for one in bare.own] == [one.model.id for one in shown.own] and shown.labels_used == 20
    assert bare.prompt.shots == [] and len(shown.prompt.shots) == 4 and all(shot["input"].startswith("train") for shot in shown.prompt.shots)
    assert shown.scores and shown.scores["value"] == pytest.approx(0.9)


def test_a_soft_prompt_with_shots_is_asked_through_the_prompt_under_it(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    mine = prompts.create(person, "Mine", {"mode": "structured", "instruction": "Say billing or delivery."})
    rungs: list[dict[str, Any]] = [{"technique": "prompt_tuning", "shots": 2, "parameters": {"init": "text"}}, {"technique": "zero_shot"}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, prompt_version=mine.reference)
    climb_by(lambda rung, cell: 25)
    row = experiments.find(person, key).rows[1]
    assert row.title == "Prompt tuning, 2-shot" and len(row.prompt.shots) == 2 and row.prompt.template().instruction == ""


def test_a_lost_tuning_is_run_again_once_for_both(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    rungs: list[dict[str, Any]] = [{"technique": "lora"}, {"technique": "lora", "shots": 2}]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs)
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "No.", "advice": ""})
    assert [row.state for row in experiments.find(person, key).rows] == ["failed", "failed"]
    experiments.rerun(person, key, 0)
    climb_by(lambda rung, cell: 25)
    experiments.rerun(person, key, 1)
    climb_by(lambda rung, cell: 25)
    view = experiments.find(person, key)
    assert [row.state for row in view.rows] == ["succeeded"] * 2 and len(tunings()) == 2 and all(row.scores for row in view.rows)


def test_answers_are_held_to_the_labels_or_to_the_fields_of_the_train_rows(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    rung: dict[str, Any] = {"technique": "zero_shot", "answer": "generate", "constrained": [False, True]}
    (row,) = experiments.find(person, experiments.create(person, name="", dataset=version.reference, model=model, rungs=[rung])).rows
    assert [one.title for one in row.cells] == ["zero-shot", "zero-shot, constrained"]
    assert [one.prompt.parameters.get("choices") for one in row.cells] == [None, ["billing", "delivery"]]
    climb_by(lambda rung, cell: 20)
    rows = [(f"{split} {at}", json.dumps({"id": f"{split} {at}"}), split) for split, n in (("train", 9), ("validation", 6), ("test", 9)) for at in range(n)]
    orders = add_rows(person, "orders", rows)
    rungs: list[dict[str, Any]] = [{"technique": "lora", "constrained": [False, True]}, {"technique": "few_shot", "shots": 2, "constrained": True}]
    key = experiments.create(person, name="", dataset=orders.reference, model=model, rungs=rungs)
    climb_by(lambda rung, cell: 9 if cell.settings.get("constraint") else 3)
    few, lora = experiments.find(person, key).rows
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], "additionalProperties": False}
    assert (few.title, few.prompt.parameters["json_schema"]) == ("2-shot, constrained", schema)
    assert lora.title == "LoRA, constrained" and lora.prompt.parameters["json_schema"] == schema and len(tunings()) == 1


@pytest.mark.parametrize(
    ("rung", "code"),
    [
        ({"technique": "zero_shot", "constrained": True}, "not_written"),
        ({"technique": "lora", "shots": 2, "label_curve": [4]}, "no_curve"),
        ({"technique": "lora", "shots": 50}, "too_few_shots"),
    ],
)
def test_what_cannot_be_is_refused(person: Who, rung: dict[str, Any], code: str) -> None:
    model, version = add_model(person), add_dataset(person)
    with pytest.raises(Invalid) as refused:
        experiments.create(person, name="", dataset=version.reference, model=model, rungs=[rung])
    assert refused.value.code == code and refused.value.advice and experiments.recent(person)[0] == []


def test_free_text_has_no_form(person: Who) -> None:
    rows = [(f"{split} {at}", f"the {split} answer {at}", split) for split, n in (("train", 9), ("validation", 6), ("test", 9)) for at in range(n)]
    model, version = add_model(person), add_rows(person, "texts", rows)
    with pytest.raises(Invalid) as refused:
        experiments.create(person, name="", dataset=version.reference, model=model, rungs=[{"technique": "zero_shot", "constrained": True}])
    assert refused.value.code == "no_form"
