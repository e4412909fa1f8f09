"""The JSON of a report leaves nothing to a default: what it makes again is the same when the defaults are others."""

from typing import Any, ClassVar

import pytest
from pydantic import Field

from app.db import transaction
from app.domain.access import Who
from app.domain.experiment import PROMPT_RUNGS, Cell
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.lora import Lora
from app.domain.methods.soft import MOST_TOKENS
from app.domain.model import Model
from app.services import experiments, prompts, reports
from app.services.experiments import Ladder
from app.services.resolved import settings_of
from app.services.rungs import MOST_SHOTS
from tests.rows import add_dataset, add_model, add_remote_model, climb_by

WORDING = {
    "mode": "structured",
    "instruction": "Billing or delivery?",
    "shots": [{"input": "a card", "output": "billing"}, {"input": "a box", "output": "delivery"}],
}

FOUND_OUT = {"learning_rate": 0.002, "virtual_tokens": 21}
"""What a run says of parameters that were left to the model."""


class Other(Lora):
    """LoRA with other defaults, as a later release may have them."""

    default_rate: ClassVar[float] = 1.0
    rank: int = Field(64, ge=1, le=512)
    epochs: float = 9.0
    batch_size: int = 4


def run(person: Who, body: dict[str, Any]) -> Ladder:
    """An experiment whose jobs are done."""
    key = experiments.create(person, **body)
    for queue in ("gpu", "light"):
        climb_by(lambda rung, cell: 15 + rung.position + cell.number, queue)
    with transaction() as session:
        for job in session.query(Job).filter_by(kind="tune", state="succeeded"):
            left = {name: value for name, value in FOUND_OUT.items() if job.settings["parameters"].get(name, value) is None}
            job.result = {**(job.result or {}), **left}
    return experiments.find(person, key)


def cells(view: Ladder) -> list[tuple[Any, ...]]:
    """Every cell with what it ran with."""
    found = []
    for row in view.rows:
        for one in [*row.cells, *row.curve]:
            own = one.cell.settings
            parameters = {name: FOUND_OUT.get(name) if value is None else value for name, value in own.get("parameters", {}).items()}
            found.append((row.title, one.cell.number, one.cell.labels, one.cell.seed, one.prompt.reference, {**own, "parameters": parameters}))
    return found


def test_other_defaults_change_nothing_of_what_is_run_again(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = prompts.create(person, "Mine", WORDING).reference
    bare = prompts.create(person, "Bare", {"mode": "structured", "instruction": "Say which."}).reference
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "one_shot"},
        {"technique": "few_shot", "seeds": [0, 1]},
        {"technique": "few_shot", "prompt_version": mine},
        {"technique": "few_shot", "shots": [2, 4], "calibration": ["raw", "calibrated"]},
        {"technique": "lora", "parameters": {"rank": [4, 8], "dropout": 0}, "label_curve": [8, 4, 8], "seeds": [0, 1]},
        {"technique": "lora", "shots": 2, "label_budget": 12},
        {"technique": "prompt_tuning"},
    ]
    asked = {"name": "tickets", "dataset": add_dataset(person).dataset_id, "model": add_model(person), "prompt_version": bare, "rungs": rungs}
    first = run(person, asked)
    body = reports.request(first)
    said = {(rung["technique"], str(rung["shots"])): rung for rung in body["rungs"]}
    assert said["few_shot", "8"]["selection"] == "balanced" and said["few_shot", "2"]["selection"] is None, "drawn, and the prompt's own"
    assert "calibration" not in said["one_shot", "1"] and body["scheme"]["scoring"] == "raw", "which says it of all rungs that say nothing else"
    assert said["few_shot", "[2, 4]"]["calibration"] == ["raw", "calibrated"]
    lora = said["lora", "0"]
    assert (lora["label_curve"], lora["parameters"]["rank"], lora["parameters"]["learning_rate"]) == ([4, 8], [4, 8], 0.002)
    assert {
        name for rung in body["rungs"] if "parameters" in rung for name in METHODS[rung["technique"]].model_fields if name not in rung["parameters"]
    } == set()
    assert said["prompt_tuning", "0"]["parameters"]["virtual_tokens"] == 21
    assert (body["scheme"]["metric"], body["scheme"]["candidates"], body["prompt_version"]) == ("accuracy", 20, bare)

    for name in PROMPT_RUNGS:
        monkeypatch.setitem(PROMPT_RUNGS, name, 3)
    monkeypatch.setitem(METHODS, "lora", Other)
    again = run(person, {**body, "targets": None})
    assert cells(again) == cells(first) and len(cells(first)) == 18
    assert reports.request(again) == body and again.experiment.scheme == first.experiment.scheme


def test_a_model_is_said_by_its_number_and_brings_what_it_was_tuned_with(person: Who) -> None:
    """A name may be another model's by then."""
    version, base, large = add_dataset(person), add_model(person), add_remote_model(person, {})
    made = run(person, {"name": "", "dataset": version.reference, "model": base, "rungs": [{"technique": "lora"}]})
    tuned = made.rows[0].model
    rungs = [{"technique": "zero_shot", "model": "there/m", "answer": "generate"}, {"technique": "lora", "model": tuned.slug}]
    view = experiments.find(person, experiments.create(person, name="", dataset=version.reference, model=base, rungs=rungs))
    signal, lora = reports.request(view)["rungs"]
    assert (signal["model"], lora["model"]) == (large, tuned.id) and "parameters" not in lora and lora["prompt_version"] == view.rows[1].prompt.reference
    again = experiments.find(person, experiments.create(person, **{**reports.request(view), "targets": None}))
    assert [row.model.id for row in again.rows] == [large, tuned.id]


def test_wordings_that_bring_their_own_shots_are_asked_for_as_they_were(person: Who) -> None:
    one = prompts.create(person, "One", WORDING).reference
    other = prompts.create(person, "Other", {"mode": "structured", "instruction": "Say which."}).reference
    rung: dict[str, Any] = {"technique": "few_shot", "prompt_version": [one, other]}
    made: dict[str, Any] = {"name": "", "dataset": add_dataset(person).reference, "model": add_model(person), "rungs": [rung]}
    view = experiments.find(person, experiments.create(person, **made))
    assert [cell.cell.settings["shots"] for cell in view.rows[0].cells] == [2, 8]
    (said,) = reports.request(view)["rungs"]
    assert said["prompt_version"] == [one, other] and "shots" not in said
    again = experiments.find(person, experiments.create(person, **{**reports.request(view), "targets": None}))
    assert [cell.prompt.reference for cell in again.rows[0].cells] == [cell.prompt.reference for cell in view.rows[0].cells]


def test_what_older_cells_do_not_keep_is_taken_from_the_request_and_the_prompt(person: Who) -> None:
    version, base = add_dataset(person), add_model(person)
    mine = prompts.create(person, "Mine", WORDING).reference
    where: dict[str, Any] = {"name": "", "dataset": version.reference, "model": base}
    made = run(person, {**where, "rungs": [{"technique": "lora", "shots": 2, "selection": "random"}]})
    with transaction() as session:
        session.get_one(Model, made.rows[0].model.id).prompt_version_id = prompts.find(person, mine)[1].id
        cell = session.get_one(Cell, made.rows[0].cells[0].cell.id)
        cell.settings = {name: value for name, value in cell.settings.items() if name != "selection"}
    (said,) = reports.request(experiments.find(person, made.experiment.id))["rungs"]
    assert (said["shots"], said["selection"]) == (2, "random")
    key = experiments.create(person, **where, rungs=[{"technique": "lora", "model": made.rows[0].model.id}])
    with transaction() as session:
        cell = session.get_one(Cell, experiments.find(person, key).rows[0].cells[0].cell.id)
        cell.settings = {"parameters": cell.settings["parameters"]}
    (said,) = reports.request(experiments.find(person, key))["rungs"]
    assert (said["shots"], said["selection"]) == (2, None)


def test_what_is_more_than_can_be_asked_for_is_left_to_the_prompt_it_follows_from(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOUND_OUT, "virtual_tokens", MOST_TOKENS + 1)
    shots = [{"input": f"a card {at}", "output": "billing"} for at in range(MOST_SHOTS + 1)]
    many = prompts.create(person, "Many", {**WORDING, "shots": shots}).reference
    rungs: list[dict[str, Any]] = [{"technique": "few_shot"}, {"technique": "prompt_tuning"}]
    first = run(person, {"name": "", "dataset": add_dataset(person).reference, "model": add_model(person), "prompt_version": many, "rungs": rungs})
    ran = [settings_of(row, row.lead) for row in first.rows]
    assert (ran[0]["shots"], ran[1]["parameters"]["virtual_tokens"]) == (MOST_SHOTS + 1, MOST_TOKENS + 1)
    body = reports.request(first)
    assert "shots" not in body["rungs"][0] and body["rungs"][1]["parameters"]["virtual_tokens"] is None
    assert cells(run(person, {**body, "targets": None})) == cells(first)
