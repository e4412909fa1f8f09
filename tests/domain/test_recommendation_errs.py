"""How often the recommendation errs, and how often it can tell, over many drawn experiments."""

import pytest
from scipy.stats import binom

from app.domain.stats import holds
from bench.verdicts import drawn, recommended, whole


@pytest.mark.parametrize(("n", "cheaper", "discordant"), [(300, 1, 0.1), (300, 9, 0.2), (1000, 1, 0.1), (1000, 9, 0.1)])
def test_a_rung_that_is_truly_the_margin_below_is_seldom_recommended(n: int, cheaper: int, discordant: float) -> None:
    wrong = sum(any(holds(rows, 0.03)) for rows in drawn(4000, n, cheaper, 0.03, discordant))
    # The binomial interval of the simulation: at most 5 %, and 3 standard errors of 4,000 draws.
    assert wrong / 4000 <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


@pytest.mark.parametrize("cheaper", [1, 9])
def test_equal_rungs_are_recommended_with_a_thousand_rows(cheaper: int) -> None:
    right = sum(holds(rows, 0.03)[0] for rows in drawn(2000, 1000, cheaper, 0.0, 0.1))
    assert right / 2000 >= 0.75


@pytest.mark.parametrize(("validation", "n"), [(100, 300), (300, 300), (300, 1000)])
def test_the_luck_of_validation_recommends_nothing_that_is_the_margin_below(validation: int, n: int) -> None:
    """The whole recommendation, validation rows drawn as well: where few of them put the cheaper rung first, it is not recommended for that."""
    assert recommended(whole(1000, validation, n, 1, 0.03)) <= binom.ppf(0.999, 1000, 0.05)
