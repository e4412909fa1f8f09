"""The signal: what prompting says of whether a task can be learnt."""

from app.domain.signal import signal
from tests.domain.rungs import step

FLOOR = step(-2, "always answering “ham”", 150)
LINEAR = step(-1, "TF-IDF + logistic regression", 180, shift=90)


def test_a_large_model_that_beats_one_of_the_two_is_a_sign() -> None:
    found = signal([step(0, "zero-shot, large", 240, signal=True), step(1, "zero-shot", 100)], FLOOR, LINEAR)
    assert found is not None and not (found.missing or found.warns)
    assert found.sentence == "zero-shot, large is shown to beat always answering “ham” and TF-IDF + logistic regression."


def test_a_large_model_that_beats_neither_sends_to_the_labels() -> None:
    found = signal([step(0, "zero-shot, large", 152, signal=True), step(1, "LoRA", 150)], FLOOR, LINEAR)
    assert found is not None and found.warns and not found.missing
    assert found.sentence.endswith("prompting gives no sign that this is learnable: check the labels first.")


def test_a_tuned_rung_that_stands_out_shows_that_the_labels_can_be_learnt() -> None:
    found = signal([step(0, "zero-shot, large", 152, signal=True), step(1, "LoRA", 290)], FLOOR, LINEAR)
    assert found is not None and not (found.warns or found.missing) and "check the labels" not in found.sentence
    assert found.sentence.endswith(
        ", but LoRA is shown to beat always answering “ham” and TF-IDF + logistic regression: tuning learns what prompting gives no sign of."
    )


def test_without_an_endpoint_the_local_prompts_are_asked_and_what_is_missing_is_said() -> None:
    found = signal([step(0, "zero-shot", 100), step(1, "8-shot", 250), step(2, "LoRA", 290)], FLOOR, LINEAR)
    assert found is not None and found.missing and not found.warns
    assert found.sentence.startswith("Without a large endpoint this signal is missing. The best local prompt, 8-shot, is shown to beat always")
    weak = signal([step(0, "zero-shot", 100), step(2, "LoRA", 290)], FLOOR, LINEAR)
    assert weak is not None and weak.missing and not weak.warns, "a small model that fails says nothing of the labels"
    assert weak.sentence.endswith("zero-shot, is not shown to beat always answering “ham” or TF-IDF + logistic regression.")


def test_nothing_is_said_before_a_prompt_is_scored() -> None:
    assert signal([step(2, "LoRA", 290)], FLOOR, LINEAR) is None
