"""Intervals and tests against published figures, and verdicts that agree with them."""

import random
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, permutation_test

from app.domain.stats import (
    Difference,
    detectable,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    percentile,
    verdict,
    verdicts,
    wilson,
)


def difference(gained: int, lost: int, n: int) -> Difference:
    a = [True] * gained + [False] * lost + [True] * (n - gained - lost)
    b = [False] * gained + [True] * lost + [True] * (n - gained - lost)
    return paired_difference(a, b)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_figures_of_newcombe_1998(k: int, n: int, low: float, high: float) -> None:
    interval = wilson(k, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_at_the_ends() -> None:
    assert wilson(20, 20).high == 1.0 and wilson(0, 20).low == 0.0
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="21 of 20"):
        wilson(21, 20)


def test_seventeen_of_twenty_is_not_850_of_1000() -> None:
    assert wilson(17, 20).high - wilson(17, 20).low > 0.3
    assert wilson(850, 1000).high - wilson(850, 1000).low < 0.05


def test_mcnemar_is_exact() -> None:
    # Bentur et al. 2009, as in Fagerland, Lydersen and Laake 2014: 1 and 7 discordant pairs, 2 * (1 + 8) / 2**8.
    assert mcnemar(1, 7) == pytest.approx(18 / 256)
    assert mcnemar(7, 1) == pytest.approx(18 / 256)
    assert mcnemar(0, 0) == 1.0


def test_paired_difference_gives_tangos_published_interval() -> None:
    # Bentur et al. 2009: 1 and 7 discordant pairs of 21.
    one = difference(1, 7, 21)
    assert (round(one.difference, 3), round(one.low, 3), round(one.high, 3)) == (-0.286, -0.517, -0.026)
    assert (one.gained, one.lost, one.n) == (1, 7, 21)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 2, 50), (0, 1, 44), (3, 3, 20), (40, 20, 160)])
def test_the_limits_are_where_the_score_test_just_does_not_reject(gained: int, lost: int, n: int) -> None:
    one = difference(gained, lost, n)
    for delta, sign in ((one.low, 1), (one.high, -1)):
        share = constrained_share(gained, lost, n, delta)
        score = (gained - lost - n * delta) / sqrt(n * (2 * share + delta * (1 - delta)))
        assert score == pytest.approx(sign * 1.959964, abs=1e-3)


def constrained_share(gained: int, lost: int, n: int, delta: float) -> float:
    """The likeliest share of lost rows when gained - lost is delta, by searching the likelihood itself."""

    def likelihood(share: float) -> float:
        rest = 1 - 2 * share - delta
        return gained * log(share + delta) + lost * log(share) + (n - gained - lost) * log(rest)

    low, high = max(1e-9, -delta + 1e-9), (1 - delta) / 2 - 1e-9
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (a, high) if likelihood(a) < likelihood(b) else (low, b)
    return (low + high) / 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_an_interval_holds_its_difference_and_turns_round_with_it(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [first for first, _ in pairs], [second for _, second in pairs]
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert -1 <= one.low <= one.difference <= one.high <= 1
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-9)
    assert 0 < one.p_value <= 1


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw, covered = random.Random(3), 0
    for _ in range(600):
        rows = [draw.random() for _ in range(80)]
        a, b = [row < 0.12 or row > 0.4 for row in rows], [0.12 <= row < 0.2 or row > 0.4 for row in rows]
        one = paired_difference(a, b)
        covered += one.low <= 0.12 - 0.08 <= one.high
    assert 0.93 <= covered / 600 <= 0.98


def test_results_of_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        paired_difference([True], [True, False])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])


def test_holm_gives_the_figures_of_r() -> None:
    # As p.adjust gives them for the method "holm".
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_correction_can_take_a_verdict_back() -> None:
    lucky = difference(9, 1, 100)
    assert verdict(lucky).kind == "better"
    assert [one.kind for one in verdicts([lucky, difference(5, 5, 100), difference(4, 5, 100)])] == ["cannot_tell"] * 3


def test_every_word_holds_for_all_comparisons_together() -> None:
    near, others = difference(80, 70, 1000), [difference(80, 100, 1000)] * 8
    assert verdict(near, margin=0.015).kind == "at_most_margin_below"
    assert verdicts([near, *others], margin=0.015)[0].kind == "cannot_tell", "one of nine is 1.5 points below by chance more often"
    even = difference(10, 12, 1000)
    assert verdict(even, margin=0.013).kind == "tie" and verdicts([even, *others], margin=0.013)[0].kind == "cannot_tell"


def test_more_comparisons_ask_for_more_rows() -> None:
    few = difference(20, 6, 300)
    alone = verdict(difference(16, 6, 300)).more_rows
    one, *_ = verdicts([few, *[difference(5, 5, 300)] * 9])
    assert alone is not None and one.kind == "cannot_tell" and one.more_rows is not None and one.more_rows > 150


def test_verdicts() -> None:
    assert verdict(difference(40, 10, 300)).kind == "better"
    assert verdict(difference(10, 40, 300)).kind == "worse"
    assert verdict(difference(10, 12, 1000), margin=0.02).kind == "tie"
    assert verdict(difference(80, 70, 1000), margin=0.02).kind == "at_most_margin_below"
    assert verdict(difference(0, 0, 50)).kind == "cannot_tell"
    # A loss that is certain but within the margin is still acceptable; beyond the margin it is worse.
    assert verdict(difference(2, 20, 2000), margin=0.02).kind == "at_most_margin_below"
    assert verdict(difference(2, 60, 2000), margin=0.02).kind == "worse"


def test_sentences_are_computed() -> None:
    assert verdict(difference(40, 10, 300)).sentence == "Better than the baseline by 10.0 points [5.6, 14.8]: of 300 test rows it gained 40 and lost 10."
    assert verdict(difference(10, 40, 300)).sentence.startswith("Worse than the baseline by 10.0 points [5.6, 14.8]")
    assert verdict(difference(45, 33, 872)).sentence == (
        "Cannot tell from 872 test rows (1.4 points [-0.6, 3.4]): about 2,800 more test rows would, if the difference stays as it is."
    )
    assert verdict(difference(5, 5, 100)).sentence.endswith("more test rows are unlikely to tell either.")
    assert verdict(difference(10, 12, 1000), margin=0.02).sentence.startswith("A tie with the baseline: within 2.0 points either way (-0.2 points [")
    assert "At most 2.0 points below" in verdict(difference(80, 70, 1000), margin=0.02).sentence


def test_the_rows_that_were_asked_for_do_settle_it() -> None:
    first = difference(45, 33, 872)
    more = verdict(first).more_rows
    assert more is not None
    times = (first.n + more) / first.n
    assert verdict(difference(round(45 * times), round(33 * times), first.n + more)).kind == "better"


def test_more_rows_are_not_asked_for_where_they_do_not_help() -> None:
    assert verdict(difference(5, 5, 100)).more_rows is None
    assert verdict(difference(0, 0, 100)).more_rows is None
    assert verdict(difference(5001, 5000, 100_000)).more_rows is None


def test_detectable_differences_shrink_with_rows() -> None:
    assert [round(detectable(n), 3) for n in (100, 300, 1000)] == [0.124, 0.072, 0.04]
    assert detectable(0) == 1.0
    assert detectable(3) == 1.0


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    n, gap, draw = 400, detectable(400), random.Random(5)
    found = 0
    for _ in range(300):
        rows = [draw.random() for _ in range(n)]
        gained, lost = sum(row < 0.1 + gap / 2 for row in rows), sum(row > 0.9 + gap / 2 for row in rows)
        found += mcnemar(gained, lost) <= 0.05
    assert 0.68 <= found / 300 <= 0.88


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 100))
def test_percentile_is_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)), abs=1e-6)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="50th percentile of 0"):
        percentile([], 50)


# ---- against scipy ----
def test_wilson_is_scipys() -> None:
    for k, n in ((3, 17), (120, 300), (950, 1000)):
        theirs = binomtest(k, n).proportion_ci(method="wilson")
        assert (wilson(k, n).low, wilson(k, n).high) == pytest.approx((theirs.low, theirs.high))


def seeds(n: int, gap: float, seed: int) -> tuple[list[float], list[float]]:
    """Two systems of three seeds each, a better by `gap`."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(2, 1, n)
    a, b = (rng.binomial(3, np.clip(easy + shift, 0, 1)) / 3 for shift in (gap, 0.0))
    return a.tolist(), b.tolist()


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.08])
def test_several_seeds_are_compared_as_scipy_does(gap: float) -> None:
    a, b = seeds(200, gap, 3)
    one, by_row = paired_difference(a, b), np.subtract(a, b)
    theirs = permutation_test((by_row,), np.mean, permutation_type="samples", n_resamples=9_999, rng=1, vectorized=False)
    assert one.p_value == pytest.approx(theirs.pvalue, abs=0.02)
    plain = 1.96 * by_row.std(ddof=1) / sqrt(len(by_row))
    assert (one.low, one.high) == pytest.approx((one.difference - plain, one.difference + plain), abs=0.01)


def test_shares_that_are_all_alike_are_no_difference() -> None:
    one = paired_difference([0.5] * 30, [0.5] * 30)
    assert (one.difference, one.p_value) == (0.0, 1.0) and one.low < 0 < one.high
    assert mean_interval([1.0, 0.0, 1.0, 1.0]) == wilson(3, 4)


# ---- how often they err ----
@pytest.mark.parametrize("n", [200, 300, 1000])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.5, 0.8, 0.95])
def test_ninety_five_percent_are_ninety_five_percent(n: int, p: float) -> None:
    """Summed over every count there is, which no number of draws can better."""
    covering = [k for k in range(n + 1) if wilson(k, n).low <= p <= wilson(k, n).high]
    assert 0.93 <= binom.pmf(covering, n, p).sum() <= 0.97


def better(count: int, n: int, gap: float, comparisons: int) -> tuple[float, float]:
    """Over drawn experiments of `comparisons` rungs with 10 % discordant rows, the first better by `gap` and the others not at all: how often the first,
    and how often any, is called better."""
    rng, first, some = np.random.default_rng(5), 0, 0
    ahead = rng.multinomial(n, [(0.1 + gap) / 2, (0.1 - gap) / 2, 0.9], size=(count, 1))
    equal = rng.multinomial(n, [0.05, 0.05, 0.9], size=(count, comparisons - 1))
    for rows in np.concatenate([ahead, equal], axis=1):
        kinds = [one.kind == "better" for one in verdicts([difference(int(g), int(x), n) for g, x, _ in rows])]
        first, some = first + kinds[0], some + any(kinds)
    return first / count, some / count


@pytest.mark.parametrize("n", [50, 100, 300, 1000])
def test_without_a_difference_nothing_is_called_better(n: int) -> None:
    """Judged by what a true 5 % would give: at most so many of 400 as come in 999 of 1,000 simulations."""
    assert 400 * better(400, n, 0.0, 9)[1] <= binom.ppf(0.999, 400, 0.05)


def test_without_a_difference_no_rung_of_several_seeds_is_called_better() -> None:
    some = 0
    for draw in range(200):
        base = seeds(100, 0.0, 1000 + draw)[0]
        rungs = [seeds(100, 0.0, 7000 + 9 * draw + at)[1] for at in range(4)]
        some += any(one.kind == "better" for one in verdicts([paired_difference(rung, base) for rung in rungs]))
    assert some <= binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize(("n", "power"), [(1000, 0.95), (500, 0.7)])
def test_five_points_are_found(n: int, power: float) -> None:
    assert better(2000, n, 0.05, 9)[0] >= power


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 200))
def test_more_noise_never_turns_too_few_into_better(gained: int, lost: int, noise: int) -> None:
    n = 400
    before, after = difference(gained, lost, n), difference(gained + noise // 2, lost + noise // 2, n + noise)
    if verdict(before).kind == "cannot_tell":
        assert verdict(after).kind != "better"
