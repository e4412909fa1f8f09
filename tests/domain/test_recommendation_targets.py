"""The recommendation where a quality, a latency or a price was asked for: known answers."""

from app.domain.ladder import Cost
from tests.domain.rungs import found, majority, step


def test_a_target_must_be_reached_by_more_the_more_rungs_are_asked() -> None:
    lucky = step(9, "LoRA", 874, 1000)
    assert found(lucky, step(8, "full", 700, 1000), quality=0.85).kind == "meets_targets"
    others = [step(at, f"{at}-shot", 840, 1000, shift=at) for at in range(8)]
    assert found(*others, lucky, quality=0.85).kind == "cannot_tell"


def test_targets_take_the_cheapest_that_is_shown_to_meet_them() -> None:
    steps = [step(0, "zero-shot", 700, 1000), step(1, "8-shot", 880, 1000), step(2, "LoRA", 960, 1000)]
    assert (found(*steps, quality=0.85).position, found(*steps, quality=0.85).kind) == (1, "meets_targets")
    assert found(*steps, quality=0.94).position == 2


def test_a_target_that_nobody_meets_is_said() -> None:
    answer = found(step(0, "zero-shot", 200), step(1, "LoRA", 240), quality=0.95)
    assert (answer.position, answer.kind) == (1, "target_unmet") and "80.0 % [75.1, 84.1] against 95.0 %" in answer.verdict


def test_a_target_within_the_interval_cannot_be_told() -> None:
    answer = found(step(0, "zero-shot", 200), step(1, "LoRA", 246), quality=0.8)
    assert answer.kind == "cannot_tell" and answer.more_rows is not None


def test_a_rung_that_is_too_slow_or_too_dear_is_passed_over() -> None:
    slow = step(0, "8-shot", 280, latency_ms=900.0, cost=Cost(request=0.001))
    quick = step(1, "LoRA", 280, latency_ms=80.0, cost=Cost(request=0.0001, labels=200))
    assert found(slow, quick, latency_ms=200.0).position == 1
    assert found(slow, quick, price=0.5).position == 1
    assert found(slow, quick, latency_ms=50.0).kind == "target_unmet"


def test_being_quick_enough_is_not_yet_being_of_use() -> None:
    """Without a quality to reach, a rung within the limits has to hold against the others that are."""
    useless, good = step(0, "zero-shot", 90, latency_ms=100.0), step(1, "LoRA", 270, latency_ms=100.0)
    answer = found(useless, good, step(2, "full", 290, latency_ms=900.0), latency_ms=200.0)
    assert (answer.position, answer.kind) == (1, "meets_targets") and "2 of 3 rungs meet the targets; LoRA: p95 100 ms" in answer.verdict
    near = found(step(0, "zero-shot", 268, shift=20, latency_ms=100.0), good, latency_ms=200.0)
    assert near.kind == "cannot_tell"


def test_what_is_said_of_the_rungs_within_limits_is_said_of_them_alone() -> None:
    steps = [step(0, "zero-shot", 90, latency_ms=50.0), step(1, "LoRA", 255, latency_ms=50.0), step(2, "8-shot", 270, latency_ms=900.0)]
    reasons = found(*steps, latency_ms=100.0).reasons
    assert "8-shot does not meet the targets: p95 900 ms of 0 requests against 100 ms." in reasons
    assert "LoRA is the best rung by its validation score of those that meet the targets." in reasons


def test_a_rung_within_limits_has_to_beat_the_most_frequent_label() -> None:
    slow = step(2, "LoRA", 290, latency_ms=900.0)
    for quick in ([step(0, "zero-shot", 90, latency_ms=50.0)], [step(0, "zero-shot", 90, latency_ms=50.0), step(1, "8-shot", 100, latency_ms=60.0)]):
        answer = found(*quick, slow, floor=majority(180), latency_ms=100.0)
        assert (answer.position, answer.kind) == (None, "target_unmet")
        assert answer.verdict.startswith("No rung that meets the targets is shown to beat always answering “ham”: ")


def test_a_rung_that_is_good_enough_but_too_slow_meets_nothing() -> None:
    slow = step(0, "8-shot", 290, latency_ms=900.0, timed=12)
    quick = step(1, "LoRA", 200, latency_ms=80.0, timed=12)
    answer = found(slow, quick, quality=0.9, latency_ms=200.0)
    assert (answer.position, answer.kind) == (1, "target_unmet") and answer.verdict.endswith("against 90.0 %, p95 80 ms of 12 requests against 200 ms).")
    nobody = found(slow, quick, quality=0.9, latency_ms=50.0)
    assert (nobody.position, nobody.kind) == (0, "target_unmet")


def test_only_quality_is_shown_what_else_is_met_was_measured() -> None:
    steps = [step(0, "8-shot", 290, latency_ms=80.0, timed=12), step(1, "LoRA", 290, latency_ms=80.0, timed=12)]
    assert "2 of 2 rungs meet the targets; 8-shot: p95 80 ms of 12 requests against 200 ms" in found(*steps, latency_ms=200.0).verdict
    assert (
        "the cheapest rung shown to meet the targets: 96.7 %, shown to be at least 94.0 %, against 90.0 %, p95 80 ms"
        in found(*steps, latency_ms=200.0, quality=0.9).verdict
    )


def test_a_figure_that_is_not_known_meets_no_target() -> None:
    steps = [step(0, "8-shot", 290), step(1, "LoRA", 290)]
    for answer, words in ((found(*steps, latency_ms=200.0), "p95 not known against"), (found(*steps, price=0.5), "no price set against 0.50")):
        assert answer.kind == "target_unmet" and words in answer.verdict


def test_without_signal_no_target_is_met() -> None:
    answer = found(step(0, "zero-shot", 150), step(1, "LoRA", 158, shift=40), floor=majority(155), quality=0.3)
    assert (answer.position, answer.kind) == (None, "no_signal")
