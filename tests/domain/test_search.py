"""Searches: what is tried, what is refused by name, and how halving shares out the steps."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import search as searches
from app.domain.methods import METHODS
from app.domain.methods.prefix import Prefix
from app.domain.rendering import Template
from app.domain.search import FIRST_SHARE, MOST_TRIALS, Range, Search
from app.errors import Invalid

TRIALS, FACTORS = st.integers(2, MOST_TRIALS), st.sampled_from((2, 3))
RANKS = st.tuples(st.floats(0, 1), st.floats(-9, 0))


@given(TRIALS, FACTORS)
def test_every_rung_keeps_its_share_and_the_last_goes_to_the_end(trials: int, factor: int) -> None:
    rungs = searches.schedule(trials, factor)
    assert [rung.number for rung in rungs] == list(range(len(rungs)))
    assert rungs[0].trials == trials and rungs[-1].share == 1
    for one, two in pairwise(rungs):
        assert two.trials == max(1, one.trials // factor) and two.share == one.share * factor
    assert rungs[0].share >= FIRST_SHARE
    assert rungs[-1].trials == 1 or rungs[0].share / factor < FIRST_SHARE, "only when there is no room for one more rung"


@given(TRIALS, FACTORS, st.integers(1, 5000))
def test_steps_rise_to_the_total_and_never_cost_more_than_all_runs(trials: int, factor: int, total: int) -> None:
    rungs = searches.schedule(trials, factor)
    steps = [rung.step(total) for rung in rungs]
    assert steps == sorted(steps) and steps[0] >= 1 and steps[-1] == total
    assert all(rung.step(total) >= total * rung.share for rung in rungs)
    assert total <= searches.planned_steps(rungs, total) <= trials * total
    alone = sum(rung.trials * (rung.step(total) - before) for rung, before in zip(rungs, [0, *steps], strict=False))
    assert searches.planned_steps(rungs, total) == alone


def test_the_schedule_by_hand() -> None:
    assert [(rung.trials, rung.share) for rung in searches.schedule(9, 3)] == [(9, Fraction(1, 9)), (3, Fraction(1, 3)), (1, Fraction(1))]
    assert [(rung.trials, rung.share) for rung in searches.schedule(8, 2)] == [(8, Fraction(1, 8)), (4, Fraction(1, 4)), (2, Fraction(1, 2)), (1, Fraction(1))]
    assert searches.planned_steps(searches.schedule(9, 3), 90) == 9 * 10 + 3 * 20 + 60


@given(st.dictionaries(st.integers(1, 64), RANKS, min_size=1), st.integers(1, 64))
def test_nobody_who_stays_is_worse_than_one_who_goes(standings: dict[int, tuple[float, float]], keep: int) -> None:
    stay = searches.survivors(standings, keep)
    assert len(stay) == min(keep, len(standings)) == len(set(stay))
    for gone in standings.keys() - set(stay):
        assert all((standings[one], -one) > (standings[gone], -gone) for one in stay)


def test_ties_go_to_the_smaller_loss_then_to_the_smaller_number() -> None:
    assert searches.survivors({1: (0.8, -0.5), 2: (0.8, -0.4), 3: (0.9, -2.0), 4: (0.8, -0.4)}, 3) == [3, 2, 4]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["grid", "random"])
def test_a_search_without_a_space_tries_rates_around_the_usual_one_and_the_main_setting(method: str, how: Any) -> None:
    defaults = METHODS[method]()
    for width in (64, 576, 4096):
        tried = searches.combinations(Search(how=how), method, defaults, width)
        usual = defaults.rate(width)
        assert 3 <= len(tried) <= 9 and all(set(one) == {"learning_rate", *METHODS[method].searched} for one in tried)
        assert all(usual / 6.5 <= one["learning_rate"] <= min(1.0, usual * 6.5) for one in tried)
        assert len({tuple(one.items()) for one in tried}) == len(tried)


@given(st.integers(0, 2**31 - 1), st.integers(2, 20))
def test_draws_are_the_seeds_own_different_and_within_bounds(seed: int, trials: int) -> None:
    space: dict[str, Any] = {
        "learning_rate": Range(low=1e-6, high=1e-2, log=True),
        "rank": Range(low=2, high=64, log=True),
        "targets": ["attention", "all_linear"],
    }
    search = Search(how="random", trials=trials, space=space, seed=seed)
    tried = searches.combinations(search, "lora", METHODS["lora"]())
    assert tried == searches.combinations(search, "lora", METHODS["lora"]()) and len(tried) == trials
    assert all(1e-6 <= one["learning_rate"] <= 1e-2 and isinstance(one["rank"], int) and 2 <= one["rank"] <= 64 for one in tried)
    assert all(tried.count(one) == 1 for one in tried)


def test_a_logarithmic_range_is_even_over_the_orders_of_magnitude() -> None:
    import random

    chance = random.Random(1)
    drawn = [math.log10(Range(low=1e-6, high=1e-2, log=True).draw(chance)) for _ in range(4000)]
    quarters = [sum(low <= value < low + 1 for value in drawn) for low in (-6, -5, -4, -3)]
    assert all(900 < count < 1100 for count in quarters)
    assert 0.48 < sum(Range(low=0, high=1).draw(chance) for _ in range(4000)) / 4000 < 0.52


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"how": "bayes"}, "search.how", "'none', 'rate_finder', 'grid' or 'random'"),
        ({"how": "random", "trials": 65}, "search.trials", "64"),
        ({"colour": 1}, "search.colour", "not permitted"),
        ({"how": "grid", "space": {"colour": [1, 2]}}, "search.space.colour", "no parameter of lora"),
        ({"how": "grid", "space": {"epochs": [1, 2]}}, "search.space.epochs", "is not searched"),
        ({"how": "grid", "space": {"validate_by": ["accuracy", "loss"]}}, "search.space.validate_by", "how it is judged"),
        ({"how": "grid", "space": {"rank": [4, 0]}}, "search.space.rank", "greater than or equal to 1: 0"),
        ({"how": "grid", "space": {"rank": 4}}, "search.space.rank", "neither a list of values nor a range"),
        ({"how": "grid", "space": {"rank": []}}, "search.space.rank", "no value to try"),
        ({"how": "grid", "space": {"rank": [4]}}, "search.space", "1 combination"),
        ({"how": "grid", "space": {"rank": list(range(1, 70))}}, "search.space", "69 combinations"),
        ({"how": "grid", "space": {"rank": {"low": 2, "high": 8}}}, "search.space.rank", "not a range"),
        ({"how": "random", "space": {"learning_rate": {"low": 1, "high": 0.1}}}, "search.space.learning_rate", "low must be below high"),
        ({"how": "random", "space": {"learning_rate": {"low": 0, "high": 0.1, "log": True}}}, "search.space.learning_rate", "above 0"),
        ({"how": "random", "space": {"learning_rate": {"low": 1.5, "high": 2}}}, "search.space.learning_rate", "less than or equal to 1"),
        ({"how": "random", "trials": 5, "space": {"rank": [1, 2, 4]}}, "search.trials", "only 3 different"),
        ({"how": "rate_finder", "space": {"rank": [1, 2]}}, "search.space", "searches no space"),
        ({"how": "random", "seed": -1}, "search.seed", "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(values: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        searches.check(searches.parse(values), "lora", METHODS["lora"](), 10)
    assert refused.value.detail["field"] == field and said in refused.value.message and refused.value.advice


def test_a_combination_of_values_that_are_fine_alone_is_refused_too() -> None:
    with pytest.raises(Invalid, match="accumulation"):
        searches.check(Search(how="grid", space={"batch_size": [2, 16]}), "lora", METHODS["lora"](accumulation=4), 10)


def test_trials_of_a_job_share_its_prompt() -> None:
    asking, both = Template(instruction="Good or bad?"), Search(how="grid", space={"init": ["text", "small"]})
    with pytest.raises(Invalid) as refused:
        searches.share_prompt(both, Prefix(), asking, encoder_decoder=False)
    assert refused.value.detail["field"] == "search.space.init" and "one prompt" in refused.value.message
    searches.share_prompt(Search(how="grid", space={"init": ["small", "zero"]}), Prefix(init="zero"), asking, encoder_decoder=False)


def test_where_no_text_leaves_the_input_trials_may_start_from_any() -> None:
    """An encoder-decoder's prefix takes no text's place, and a prompt without an instruction has none to give."""
    both = Search(how="grid", space={"init": ["text", "small"]})
    searches.share_prompt(both, Prefix(), Template(instruction="Good or bad?"), encoder_decoder=True)
    searches.share_prompt(both, Prefix(), Template(), encoder_decoder=False)
    searches.check(both, "prefix", Prefix(), 10)


def test_a_search_needs_validation_rows_and_a_finder_needs_the_rate_open() -> None:
    lora = METHODS["lora"]
    with pytest.raises(Invalid, match="has none"):
        searches.check(Search(how="random"), "lora", lora(), 0)
    searches.check(Search(how="rate_finder"), "lora", lora(), 0)
    with pytest.raises(Invalid, match="one is given"):
        searches.check(Search(how="rate_finder"), "lora", lora(learning_rate=1e-3), 10)
    with pytest.raises(Invalid, match="runs on one device, and this run is spread over 2"):
        searches.check(Search(how="rate_finder"), "lora", lora(devices=2), 10)
    searches.check(Search(how="random"), "lora", lora(devices=2), 10)


def test_a_job_has_the_runs_of_its_trials_or_the_one_of_its_parameters() -> None:
    lora = METHODS["lora"]()
    assert searches.runs(Search(), lora) == [lora]
    tried = searches.runs(Search(how="grid", space={"rank": [4, 8], "alpha": [8.0, 16.0]}), lora)
    assert [(one.model_dump()["rank"], one.model_dump()["alpha"]) for one in tried] == [(4, 8.0), (4, 16.0), (8, 8.0), (8, 16.0)]


def test_a_search_has_the_jobs_seed_unless_it_names_its_own() -> None:
    assert searches.parse({"how": "random"}, 7).seed == 7 and searches.parse({"how": "random", "seed": 2}, 7).seed == 2
