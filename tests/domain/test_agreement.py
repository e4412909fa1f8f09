"""Agreement against the libraries and books that define it, and by its properties."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from app.domain.agreement import agreement, alpha, consensus, kappa, more_rows

GRADES = st.integers(0, 4)
PAIRS = st.lists(st.tuples(GRADES, GRADES), min_size=1, max_size=40)


@given(PAIRS, st.booleans())
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]], weighted: bool) -> None:
    found = kappa(pairs, weighted)
    if found is None:
        assert len({grade for pair in pairs for grade in pair}) == 1
    else:
        expected = cohen_kappa_score([one for one, _ in pairs], [other for _, other in pairs], weights="quadratic" if weighted else None, labels=range(5))
        assert found == pytest.approx(expected, abs=1e-9)


@given(PAIRS)
def test_agreement_says_the_same_from_either_side(pairs: list[tuple[int, int]]) -> None:
    found, turned = agreement(pairs, 5), agreement([(other, one) for one, other in pairs], 5)
    assert (found.n, found.same, found.interval) == (turned.n, turned.same, turned.interval) and found.kappa == pytest.approx(turned.kappa)
    assert found.share is not None and found.interval is not None and found.interval[0] <= found.share <= found.interval[1] and found.weighted


def test_few_rows_ask_for_more_and_many_do_not() -> None:
    assert agreement([], 2).more == more_rows(0, 0) > 80 and agreement([], 2).kappa is None
    assert more_rows(40, 50) > 0 == more_rows(80, 100)
    assert [more_rows(n, n) > 0 for n in (3, 10, 60)] == [True, True, False]
    for k, n in ((0, 5), (3, 9), (20, 30), (45, 60)):
        more = more_rows(k, n)
        grown = round(k / n * (n + more))
        assert more_rows(grown, n + more) <= 20, "what it asks for is about what it takes"


def test_kappas_interval_is_about_its_value() -> None:
    found = agreement([(0, 0), (1, 1), (2, 2), (1, 2), (0, 1), (2, 2), (0, 0), (1, 1)] * 5, 3)
    assert found.kappa is not None and found.kappa_interval is not None and found.kappa_interval[0] < found.kappa < found.kappa_interval[1] < 1


KRIPPENDORFF: list[list[int | None]] = [
    [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [None, 5, 5, 5],
    [None, None, 1, 1], [None, None, 3, None],
]  # fmt: skip
"""The example of Krippendorff 2011, Computing Krippendorff's Alpha-Reliability: twelve units, four observers; 0.849 with interval distances."""


def test_alpha_is_that_of_the_book() -> None:
    found = alpha([[value for value in row if value is not None] for row in KRIPPENDORFF])
    assert found.value == pytest.approx(0.849, abs=5e-4) and found.rows == 11
    assert found.interval is not None and found.interval[0] < 0.849 < found.interval[1]


@given(st.lists(st.lists(st.sampled_from((-1.0, 0.0, 1.0)), max_size=4), max_size=25))
def test_alpha_takes_any_rows(rows: list[list[float]]) -> None:
    found = alpha(rows)
    assert found.rows == sum(len(row) > 1 for row in rows) and (found.value is None or found.value <= 1.0 + 1e-9)
    if found.value is not None and all(len(set(row)) == 1 for row in rows if len(row) > 1):
        assert found.value == pytest.approx(1.0)


@given(st.lists(GRADES, min_size=1, max_size=7))
def test_a_row_has_one_grade_whoever_comes_first(grades: list[int]) -> None:
    found = consensus(grades)
    assert found in grades and found == consensus(grades[::-1])
    assert sum(one < found for one in grades) <= len(grades) / 2 and all(one <= other for one, other in pairwise(sorted(grades)))
