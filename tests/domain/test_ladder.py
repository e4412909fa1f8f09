"""Comparisons of rungs: paired, on the rows that both were scored on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.experiment import told_apart
from app.domain.ladder import Step, compare, paired
from app.domain.results import ByRow
from tests.domain.rungs import step


def test_comparisons_use_only_rows_that_both_were_scored_on() -> None:
    short = Step(1, "LoRA", ByRow(dict.fromkeys(range(50), 1.0)))
    found = compare([step(0, "zero-shot", 100), short], baseline=0)
    assert found[1].difference.n == 50


def test_many_comparisons_are_corrected_for() -> None:
    few = compare([step(0, "zero-shot", 150), step(1, "8-shot", 162)], baseline=0)
    many = compare([step(0, "zero-shot", 150), step(1, "8-shot", 162), *(step(at, f"rung {at}", 150, shift=at) for at in range(2, 9))], baseline=0)
    assert few[1].verdict.kind == "better" and many[1].difference.p_value > few[1].difference.p_value


def test_a_rung_of_several_seeds_is_compared_by_the_share_that_is_right() -> None:
    two = Step(1, "LoRA", ByRow({row: 1.0 if row < 200 else 0.5 if row < 250 else 0.0 for row in range(300)}))
    one = paired(two, step(0, "zero-shot", 200))
    assert one.difference == 25 / 300 and (one.gained, one.lost) == (50, 0) and one.low > 0 and one.p_value < 0.001


def test_the_order_of_rungs_never_matters() -> None:
    steps = [step(0, "zero-shot", 150), step(1, "8-shot", 162), step(2, "LoRA", 190, shift=40), step(3, "full", 200, shift=9)]
    assert compare(steps, 0) == compare([steps[at] for at in (2, 0, 3, 1)], 0)


@settings(max_examples=200)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.floats(0, 0.1))
def test_more_noise_never_turns_too_few_into_better(gained: int, lost: int, noise: int, margin: float) -> None:
    """The same difference with `noise` more rows won and as many more lost says less, never more."""
    n = 300

    def told(extra: int) -> str:
        wins, losses = gained + extra, lost + extra
        one = Step(1, "LoRA", ByRow({row: float(row < wins or row >= wins + losses) for row in range(n)}))
        other = Step(0, "8-shot", ByRow({row: float(row >= wins) for row in range(n)}))
        return compare([other, one], 0, margin)[1].verdict.kind

    calm, noisy = told(0), told(noise)
    assert calm == "better" or noisy != "better", (calm, noisy)
    assert calm == "worse" or noisy != "worse" or calm == "at_most_margin_below"


def test_only_what_differs_is_said() -> None:
    same = {"answer": "generate", "fit": "refuse"}
    rungs = [("LoRA", [{**same, "parameters": {"rank": rank, "alpha": 32}}]) for rank in (4, 8)] + [("full", [same])]
    assert told_apart(rungs) == ["rank 4", "rank 8", ""]
