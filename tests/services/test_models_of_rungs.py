"""A rung with another model of its own: asked, tuned from, and named by it."""

from typing import Any

import pytest

from app.db import reading, transaction
from app.domain.access import Who
from app.domain.job import Job
from app.domain.model import Model
from app.errors import Invalid
from app.services import experiments, forecast, label_curve, quick_look, reports
from tests.rows import add_dataset, add_model, add_remote_model, climb_by


@pytest.fixture
def place(person: Who) -> dict[str, Any]:
    return {"model": add_model(person), "dataset": add_dataset(person).reference}


def bases(person: Who) -> list[int]:
    with reading() as session:
        return [job.settings["model"] for job in session.query(Job).filter_by(kind="tune").order_by(Job.id)]


def test_each_model_is_tuned_for_its_own_rung(person: Who, place: dict[str, Any]) -> None:
    other = add_model(person, "Large", "large")
    rungs = [{"technique": technique, **more} for technique in ("zero_shot", "lora") for more in ({}, {"model": other})]
    key = experiments.create(person, name="", **place, rungs=rungs)
    assert bases(person) == [place["model"], other], "two runs, though their settings are the same"
    climb_by(lambda rung, cell: 20)
    climb_by(lambda rung, cell: 20, queue="light")
    view = experiments.find(person, key)
    assert [row.title for row in view.rows] == ["zero-shot", "zero-shot, Large", "LoRA", "LoRA, Large"]
    assert [row.state for row in view.rows] == ["succeeded"] * 4 and view.signal is not None
    assert [row.model.base_model_id for row in view.rows[2:]] == [place["model"], other]
    assert view.recommendation is not None and any(reason.startswith("LoRA, Large: ") for reason in view.recommendation.reasons)


def test_its_seeds_its_curve_and_its_shots_are_of_the_same_model(person: Who, place: dict[str, Any]) -> None:
    other = add_model(person, "Large", "large")
    grid = {"technique": "lora", "model": other, "parameters": {"rank": [4, 8]}, "seeds": [0, 1], "label_curve": [4, 8]}
    beside = {"technique": "lora", "model": other, "shots": 2}
    key = experiments.create(person, name="", **place, rungs=[{"technique": "zero_shot"}, {"technique": "lora"}, grid, beside])
    climb_by(lambda rung, cell: 20)
    climb_by(lambda rung, cell: 20, queue="light")
    assert bases(person) == [place["model"], *[other] * (2 + 1 + 1 + 4)], "two ranks, shots beside the usual rank, the other seed, two points of two seeds"
    curve = next(one for one in label_curve.find(person, key).rising if "Large" in one.title)
    assert [point.labels for point in curve.points] == [4, 8, 20]


def test_it_is_asked_for_again_and_reckoned(person: Who, place: dict[str, Any]) -> None:
    other = add_model(person, "Large", "large")
    key = experiments.create(person, name="", **place, rungs=[{"technique": "zero_shot"}, {"technique": "lora", "model": "large"}])
    climb_by(lambda rung, cell: 20)
    body = reports.request(experiments.find(person, key))
    assert body["rungs"][1]["model"] == other
    again = experiments.create(person, **{name: body[name] for name in ("name", "dataset", "model", "rungs", "prompt_version")})
    assert [row.title for row in experiments.find(person, again).rows] == ["zero-shot", "LoRA, Large"]
    where: dict[str, Any] = {**place, "prompt_version": None}
    rungs: list[dict[str, Any]] = [{"technique": "lora"}, {"technique": "lora", "model": other}, {"technique": "lora", "model": other, "shots": 4}]
    said = forecast.experiment(person, **where, rungs=rungs, validation_rows=10)
    assert said.jobs == 2 * (1 + 2) + 2, "shots beside a model are tuned with it"


def test_a_quick_look_cuts_both_to_as_many_steps(person: Who, place: dict[str, Any]) -> None:
    other = add_model(person, "Large", "large")
    with transaction() as session:
        session.query(Model).update({"parameters": 10**9})
    rungs: list[dict[str, Any]] = [{"technique": "lora", **more, "parameters": {"epochs": 100}} for more in ({}, {"model": other})]
    first, second = quick_look.capped(person, rungs, **place, prompt_version=None)
    assert first["capped"] == second["capped"] == first["parameters"]["max_steps"] and second["model"] == other


def test_what_cannot_be_tuned_is_refused(person: Who, place: dict[str, Any]) -> None:
    there = add_remote_model(person, {})
    with pytest.raises(Invalid, match="was not tuned by lora"):
        experiments.create(person, name="", **place, rungs=[{"technique": "lora", "model": there}])
