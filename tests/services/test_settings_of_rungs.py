"""What a rung is asked for is what its cells are run with: also of a tuned rung, of a tuned model that is there, and of a model at an endpoint."""

from typing import Any

import pytest

from app.db import reading
from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.errors import Invalid
from app.services import experiments, forecast, prompts, reports
from app.services.ladders import CellRow
from app.services.rungs import combinations
from tests.rows import add_dataset, add_model, add_remote_model, climb_by

TELLS = {"completions": True, "reason": ""}
"""What the test of an endpoint found that gives likelihoods."""


@pytest.fixture
def place(person: Who) -> dict[str, Any]:
    return {"model": add_model(person), "dataset": add_dataset(person).reference}


def cells(person: Who, place: dict[str, Any], rung: dict[str, Any], **more: Any) -> list[CellRow]:
    """The cells of a comparison of one rung."""
    (row,) = experiments.find(person, experiments.create(person, name="", **place, rungs=[rung], **more)).rows
    return row.cells


def weighed() -> list[str]:
    """How the likelihoods of each evaluation that was scored on validation rows are weighed."""
    with reading() as session:
        scored = session.query(Evaluation).filter_by(split="validation", answer="likelihood").order_by(Evaluation.id)
        return [one.scheme.get("scoring", "raw") for one in scored]


def tuned(person: Who, place: dict[str, Any]) -> int:
    """A model tuned through a prompt that is not the usual one."""
    mine = prompts.create(person, "Mine", {"mode": "structured", "instruction": "Say billing or delivery."}).reference
    key = experiments.create(person, name="", **place, rungs=[{"technique": "lora"}], prompt_version=mine)
    climb_by(lambda rung, cell: 20)
    return experiments.find(person, key).rows[0].model.id


def test_a_tuned_rung_is_tuned_once_and_weighed_in_every_way(person: Who, place: dict[str, Any]) -> None:
    found = cells(person, place, {"technique": "lora", "calibration": ["raw", "calibrated"]})
    assert [one.title for one in found] == ["LoRA", "LoRA, calibrated"]
    climb_by(lambda rung, cell: 20)
    with reading() as session:
        assert session.query(Job).filter_by(kind="tune").count() == 1
    assert weighed() == ["raw", "calibrated"]
    grid: dict[str, Any] = {"technique": "lora", "calibration": ["raw", "calibrated"], "parameters": {"rank": [4, 8]}, "seeds": [0, 1]}
    said = forecast.experiment(person, **place, rungs=[grid], prompt_version=None, validation_rows=10)
    assert said.jobs == (2 + 1) + (4 + 1) + 2, "each rank is tuned once, then the other seed of one of them"


def test_a_tuned_model_that_is_there_is_asked_as_the_rung_says(person: Who, place: dict[str, Any]) -> None:
    model = tuned(person, place)
    other = prompts.create(person, "Other", {"mode": "structured", "instruction": "Which is it?"}).reference
    asked: dict[str, Any] = {"technique": "lora", "model": model, "shots": [0, 4], "selection": "random", "calibration": "calibrated", "seeds": [0, 1]}
    found = cells(person, place, {**asked, "prompt_version": other})
    name = f"LoRA, model {model}"
    assert [one.title for one in found] == [f"{name}, calibrated", *2 * [f"{name}, 4-shot, random, calibrated"]]
    assert [len(one.prompt.shots) for one in found] == [0, 4, 4] and found[1].prompt.shots != found[2].prompt.shots, "each seed is a draw"
    assert {one.prompt.instruction for one in found} == {"Which is it?"} and {one.model.id for one in found} == {model}
    assert weighed()[-3:] == ["calibrated"] * 3
    said = forecast.experiment(person, **place, rungs=[asked], prompt_version=None, validation_rows=10)
    assert said.jobs == 2 * 2 + 2, "at most: each draw of each number of shots, then the draws of one of them"
    held = cells(person, place, {"technique": "lora", "model": model, "answer": "generate", "constrained": [False, True]})
    assert [one.prompt.parameters.get("choices") for one in held] == [None, ["billing", "delivery"]]


def test_without_a_prompt_version_it_is_asked_through_its_own_also_when_its_json_is_sent_again(person: Who, place: dict[str, Any]) -> None:
    model = tuned(person, place)
    key = experiments.create(person, name="", **place, rungs=[{"technique": "lora", "model": model}])
    body = reports.request(experiments.find(person, key)) | {"targets": None}
    for one in (key, experiments.create(person, **body)):
        view = experiments.find(person, one)
        assert view.rows[0].prompt.instruction == "Say billing or delivery." and view.rows[0].title == f"LoRA, model {model}"


def test_raw_is_raw_where_the_experiment_calibrates(person: Who, place: dict[str, Any]) -> None:
    found = cells(person, place, {"technique": "zero_shot", "calibration": ["raw", "calibrated"]}, scheme={"scoring": "calibrated"})
    assert [one.title for one in found] == ["zero-shot, raw", "zero-shot"] and weighed() == ["raw", "calibrated"]


@pytest.mark.parametrize("calibration", ["normalised", ["raw", "normalised"]])
def test_an_endpoint_does_not_say_how_many_tokens_a_label_has(person: Who, place: dict[str, Any], calibration: Any) -> None:
    rung: dict[str, Any] = {"technique": "zero_shot", "model": add_remote_model(person, {}, TELLS)}
    with pytest.raises(Invalid, match="how many tokens a label has") as refused:
        cells(person, place, rung | {"calibration": calibration})
    assert refused.value.code == "no_token_counts" and experiments.recent(person)[0] == []
    assert len(cells(person, place, rung | {"calibration": ["raw", "calibrated"]})) == 2
    assert [one.title for one in cells(person, place, rung | {"calibration": "raw"}, scheme={"scoring": "normalised"})] == ["zero-shot, raw, there/m"]


@pytest.mark.parametrize("technique", ["zero_shot", "lora"])
def test_a_selection_without_shots_is_refused(person: Who, place: dict[str, Any], technique: str) -> None:
    with pytest.raises(Invalid) as refused:
        cells(person, place, {"technique": technique, "selection": ["random", "diverse"]})
    assert refused.value.code == "no_shots_to_draw" and refused.value.detail == {"field": "selection"} and experiments.recent(person)[0] == []


def test_a_list_within_a_list_is_refused_at_its_field_and_true_is_not_one(person: Who, place: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        cells(person, place, {"technique": "lora", "parameters": {"learning_rate": [[0.1]]}})
    assert refused.value.code == "bad_parameter" and refused.value.detail == {"field": "learning_rate"}
    grid = combinations({"technique": "lora", "parameters": {"rank": [1, True, 1.0, None]}})
    assert [repr(one["parameters"]["rank"]) for one in grid] == ["1.0", "True", "None"]
