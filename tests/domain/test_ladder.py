"""The verdict over rungs: cheapest that holds, from paired results."""

from app.domain.ladder import Step, compare, recommend


def step(position: int, title: str, right: int, n: int = 300, shift: int = 0) -> Step:
    """A rung with `right` of n rows correct; `shift` moves which ones."""
    return Step(position, title, {row: (row + shift) % n < right for row in range(n)}, tunes=title == "LoRA")


def test_a_clear_winner_is_recommended_even_when_it_is_dearest() -> None:
    found = recommend([step(0, "zero-shot", 90), step(1, "8-shot", 120), step(2, "LoRA", 240)])
    assert found is not None and found.position == 2 and found.kind == "better"
    assert "better than 8-shot by 40.0 [" in found.verdict


def test_what_cannot_be_told_apart_goes_to_the_cheaper_rung() -> None:
    found = recommend([step(0, "zero-shot", 90), step(1, "8-shot", 230, shift=10), step(2, "LoRA", 236)])
    assert found is not None and found.position == 1 and found.kind == "cannot_tell"
    assert found.verdict.startswith("Use 8-shot: do not tune. LoRA is +2.0 [") and "cannot be told apart" in found.verdict


def test_the_verdict_names_the_tuned_rung_even_when_another_prompt_scored_best() -> None:
    found = recommend([step(0, "zero-shot", 224, shift=9), step(1, "8-shot", 234), step(2, "LoRA", 228, shift=4)])
    assert found is not None and found.position == 0
    assert found.verdict.startswith("Use zero-shot: do not tune. LoRA is +1.3 [") and "cannot be told apart" in found.verdict


def test_a_prompt_that_beats_tuning_says_so() -> None:
    found = recommend([step(0, "zero-shot", 250), step(1, "LoRA", 180)])
    assert found is not None and found.verdict.startswith("Use zero-shot: do not tune. It is better than LoRA by 23.3 [")


def test_a_loss_within_the_margin_goes_to_the_cheaper_rung() -> None:
    steps = [step(0, "8-shot", 275), step(1, "LoRA", 290)]
    strict, lenient = recommend(steps), recommend(steps, margin=0.1)
    assert strict is not None and strict.position == 1
    assert lenient is not None and lenient.position == 0 and lenient.kind == "at_most_margin_below"


def test_one_rung_alone_gives_no_verdict() -> None:
    assert recommend([step(0, "zero-shot", 90)]) is None


def test_comparisons_use_only_rows_that_both_were_scored_on() -> None:
    short = Step(1, "LoRA", dict.fromkeys(range(50), True))
    found = compare([step(0, "zero-shot", 100), short], baseline=0)
    assert found[1].difference.n == 50


def test_the_same_results_are_no_difference() -> None:
    found = recommend([step(0, "zero-shot", 200), step(1, "LoRA", 200)])
    assert found is not None and found.position == 0 and found.kind == "cannot_tell"
