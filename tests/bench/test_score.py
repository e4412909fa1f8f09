"""The table of bench/score.py says what was measured, and what falls short."""

import pytest

from bench.score import ROWS, batch_of, line

OURS = {"rows": 100, "seconds": 10.0, "peak_memory_bytes": 2**29, "sums": [[-1.0, -2.0]] * 100, "texts": ["a"] * 100, "held": 1000, "longest": 120}


def test_their_batch_holds_no_more_tokens_than_ours() -> None:
    assert (
        batch_of(OURS) == 8 and batch_of({**OURS, "longest": 125}) == 8 and batch_of({**OURS, "longest": 126}) == 4 and batch_of({**OURS, "longest": 5000}) == 1
    )


def test_a_line_says_the_ratio_and_whether_it_is_reached() -> None:
    theirs = {**OURS, "seconds": 90.0, "sums": [[-1.0, -2.001]] * 99 + [[-3.0, -2.0]]}
    found = line(ROWS["few"], OURS, theirs, 2)
    assert "**9.0** | 8.0 met | 99.0 % TOO FEW | 2.0e+00 TOO FAR |" in found and "512 / 512 | 2 |" in found
    assert "8.0 MISSED" in line(ROWS["few"], OURS, {**OURS, "seconds": 70.0}, 2)
    written = line(ROWS["generate"], OURS, {**OURS, "seconds": 70.0, "texts": ["a"] * 99 + ["b"]}, 8)
    assert "6.0 met | 99.0 % TOO FEW | texts" in written, "greedy answers have to be the same, all of them"


@pytest.mark.parametrize(("apart", "said"), [(0.0009, "9.0e-04 |"), (0.0011, "1.1e-03 TOO FAR |"), (float("nan"), "nan TOO FAR |")])
def test_likelihoods_that_lie_too_far_apart_are_called_so_though_the_labels_agree(apart: float, said: str) -> None:
    theirs = {**OURS, "seconds": 90.0, "sums": [[-1.0, -2.0]] * 99 + [[-1.0, -2.0 - apart]]}
    assert f"| 100.0 % | {said}" in line(ROWS["few"], OURS, theirs, 2)
