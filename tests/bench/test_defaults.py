"""The search for defaults: how candidates are ordered, and that the learning rates in the code are what the recorded search found."""

import pytest

from app.domain.methods import METHODS
from bench import defaults
from bench.defaults import PLANS, RESULTS, SPANS, Candidate, Plan, Unit, best, results


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
