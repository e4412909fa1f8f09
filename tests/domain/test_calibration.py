"""Shares, calibration error and selective answering, against the definitions and scikit-learn."""

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from app.domain.scoring import adjusted, calibrated, chosen, shares
from app.domain.scoring.calibration import FLOOR, at_precision, calibration_error, reliability, risk_coverage, thinned

rows = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60)


@given(rows)
def test_bins_are_those_of_scikit_learn_and_the_error_is_their_gap(pairs: list[tuple[float, bool]]) -> None:
    sure, right = [round(one, 3) + 0.0005 for one, _ in pairs], [one for _, one in pairs]  # never on an edge, where the two sides differ
    sure = [min(one, 0.9995) for one in sure]
    bins = reliability(sure, right)
    accuracy, confidence = calibration_curve(right, sure, n_bins=10)
    assert [one.accuracy for one in bins] == pytest.approx(accuracy.tolist()) and [one.confidence for one in bins] == pytest.approx(confidence.tolist())
    assert sum(one.n for one in bins) == len(pairs)
    expected = sum(one.n * abs(a - c) for one, a, c in zip(bins, accuracy, confidence, strict=True)) / len(pairs)
    assert calibration_error(bins) == pytest.approx(expected)
    assert all(one.interval.low <= one.accuracy <= one.interval.high for one in bins)


def test_edges_belong_to_the_bin_below() -> None:
    assert [(one.low, one.n) for one in reliability([0.0, 0.1, 0.1001, 1.0], [True, False, True, True])] == [(0.0, 2), (0.1, 1), (0.9, 1)]


@given(rows)
def test_a_risk_coverage_curve_answers_the_surest_first(pairs: list[tuple[float, bool]]) -> None:
    curve = risk_coverage([one for one, _ in pairs], [one for _, one in pairs])
    assert curve[-1].coverage == 1.0 and curve[-1].right == sum(one for _, one in pairs)
    for point in curve:
        answered = [right for sure, right in pairs if sure >= point.threshold]
        assert (point.answered, point.right) == (len(answered), sum(answered)), "what a threshold answers is what it says"
    best = at_precision(curve, 0.9)
    assert best is None or (best.precision >= 0.9 and all(one.precision < 0.9 for one in curve if one.answered > best.answered))
    assert len(thinned(curve, 7)) <= 8 and thinned(curve, 7)[-1] == curve[-1]


def test_the_ways_of_weighing() -> None:
    sums, lengths = [-4.0, -6.0, -inf], [1, 3, 2]
    assert adjusted(sums, "raw") == pytest.approx(np.exp(sums) / np.exp(sums).sum())
    assert adjusted(sums, "normalised", lengths)[1] > adjusted(sums, "normalised", lengths)[0], "two nats a token beat four"
    assert adjusted(sums, "raw")[2] == adjusted(sums, "normalised", lengths)[2] == 0.0, "not offered"
    free = [[log(0.9), log(0.1)], [log(0.7), log(0.3)]]
    expected = calibrated(shares([log(0.6), log(0.4)]), [shares(row) for row in free])
    assert expected == pytest.approx([0.6 / 0.8 / 2.75, 0.4 / 0.2 / 2.75])
    assert adjusted([log(0.6), log(0.4)], "calibrated", content_free=free) == pytest.approx(expected)
    assert adjusted([-1.0, -2.0], "calibrated") == adjusted([-1.0, -2.0], "raw"), "a prompt that reads no input"


def test_the_likeliest_label_is_chosen_and_the_margin_is_the_gold_ones() -> None:
    found = {"a": 0.6, "b": 0.3, "c": 0.1}
    assert chosen(found, "a") == {"answer": "a", "confidence": 0.6, "margin": pytest.approx(log(2))}
    assert chosen(found, "c") == {"answer": "a", "confidence": 0.6, "margin": pytest.approx(log(1 / 6))}
    assert chosen(found, "not offered")["margin"] == pytest.approx(log(FLOOR / 0.6))
    assert chosen({"a": 1.0}, "a")["margin"] == pytest.approx(-log(FLOOR)), "nothing else was offered"
