"""The search for defaults: how candidates are ordered, and that the learning rates in the code are what the recorded search found."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.methods import METHODS
from bench import defaults
from bench.defaults import CHECKED, PLANS, RESULTS, SPANS, Candidate, Plan, Unit, best, results
from tests.engine.conftest import make_model


def found(plan: Plan, values: dict[tuple[str, float], tuple[float, float]]) -> dict[str, dict[str, float]]:
    return {
        Unit(task, "lora", {"learning_rate": rate}, 16, plan.seeds[0], "", "").key: {"accuracy": accuracy, "loss": loss}
        for (task, rate), (accuracy, loss) in values.items()
    }


def test_candidates_are_ordered_by_their_mean_rank_over_the_tasks_and_ties_by_the_loss() -> None:
    one, two, three = ({"learning_rate": rate} for rate in (0.1, 0.2, 0.3))
    plan = Plan({"lora": [one, two, three]}, ("a", "b"))
    values = {("a", 0.1): (0.9, 1.0), ("b", 0.1): (0.1, 2.0), ("a", 0.2): (0.8, 1.0), ("b", 0.2): (0.5, 1.0), ("a", 0.3): (0.7, 0.5), ("b", 0.3): (0.5, 0.9)}
    assert best(found(plan, values), plan, "lora", [one, two, three], 16) == [three, two, one]
    values[("a", 0.3)] = (0.8, 0.9)
    assert best(found(plan, values), plan, "lora", [one, two, three], 16)[0] == three


def test_random_trials_are_the_same_every_time_lie_in_their_spans_and_are_settings_of_their_method() -> None:
    for method, span in SPANS.items():
        drawn = defaults.trials(method)
        assert drawn == defaults.trials(method) and len(drawn) == 20
        low, high = span["learning_rate"]
        assert all(low <= one["learning_rate"] <= high for one in drawn)
        assert all(METHODS[method].model_validate(one) for one in drawn)


@pytest.mark.parametrize("plan", [PLANS["narrow"], PLANS["wide"]], ids=["narrow", "wide"])
def test_every_candidate_is_a_setting_of_its_method(plan: Plan) -> None:
    assert plan.grid.keys() == METHODS.keys()
    assert all(METHODS[method].model_validate(one) for method, candidates in plan.grid.items() for one in candidates)


@pytest.mark.parametrize("method", METHODS)
def test_the_default_rate_is_the_one_the_recorded_search_chose(method: str) -> None:
    plan, measured = PLANS["narrow"], results(RESULTS / "defaults-narrow.json")
    left: list[Candidate] = list(plan.grid[method])
    for steps in plan.rounds:
        left = best(measured, plan, method, left, steps)[: plan.kept]
    assert METHODS[method].default_rate == left[0]["learning_rate"] == METHODS[method]().rate(576)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Unit]:
    """The check's runs, played: a trial is the better the higher its rate; on the test file the default of LoRA is 2, of the others 3 points worse."""
    asked: list[Unit] = []

    def play(pool: Any, file: Path, units: list[Unit]) -> None:
        asked.extend(units)
        known = results(file)
        for unit in units:
            short = 0.02 if unit.method == "lora" else 0.03
            accuracy = 0.9 - (0.0 if unit.candidate else short) if unit.split == "test" else unit.candidate["learning_rate"]
            known[unit.key] = {"accuracy": accuracy, "loss": 1.0}
        file.write_text(json.dumps(known))

    monkeypatch.setattr(defaults, "RESULTS", tmp_path)
    monkeypatch.setattr(defaults, "_run", play)
    return asked


def test_the_check_runs_all_20_trials_to_their_end_and_says_what_it_met(measured: list[Unit]) -> None:
    defaults.check(["lora", "full"], 1, "cpu")
    trials = [unit for unit in measured if unit.split == "train"]
    assert len(trials) == len(CHECKED) * 2 * 20 and {unit.steps for unit in trials} == {48}
    assert len(measured) == len(trials) + len(CHECKED) * 2 * 2
    lines = {tuple(cell.strip() for cell in line.split("|")[1:-1])[:2]: line for line in defaults.check_table().splitlines()[2:]}
    assert len(lines) == len(CHECKED) * len(SPANS)
    for task in CHECKED:
        assert lines[task, "lora"].startswith(f"| {task} | lora | 88.0 | 90.0 | ") and lines[task, "lora"].endswith("| -2.0 | met |")
        assert lines[task, "full"].endswith("| -3.0 | MISSED |")
        highest = max(one["learning_rate"] for one in defaults.trials("full"))
        assert f"learning_rate {highest}" in lines[task, "full"]
        assert lines[task, "prefix"] == f"| {task} | prefix | not measured | | | | |"
    assert not defaults.check_done()
    defaults.check(["prefix", "prompt_tuning", "p_tuning"], 1, "cpu")
    assert defaults.check_done()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_a_run_of_the_wide_grid_without_labels_is_scored_and_ordered_by_its_loss(
    method: str, threads: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = [({"input": f"name[Place {number}], area[centre]"}, f"Place {number} is in the centre.") for number in range(12)]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(defaults, "MODEL", make_model(tmp_path / "model", seed=7))
    monkeypatch.setattr(defaults, "rows", lambda *_: (drawn[:8], drawn[8:]))
    candidates = PLANS["wide"].grid[method][:2]
    units = [Unit("e2e_nlg", method, one, 2, 1, "wide", "cpu") for one in candidates]
    measured = {unit.key: defaults.measure(unit) for unit in units}
    assert all(result.keys() == {"loss", "seconds"} and 0 < result["loss"] < 20 for result in measured.values())
    ordered = best(measured, Plan({method: candidates}, ("e2e_nlg",)), method, candidates, 2)
    assert ordered == sorted(candidates, key=lambda one: measured[Unit("e2e_nlg", method, one, 2, 1, "", "").key]["loss"])
