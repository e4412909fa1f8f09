"""Label likelihoods: the packed tree gives what a pass per prompt and label would."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM, set_seed

from app.domain.rendering import Rendered, Shot, Template, render
from tests.engine.conftest import toy_rows
from worker.engine import score
from worker.engine.load import Loaded
from worker.engine.prefix import Prefix, read
from worker.engine.reporting import Stopped
from worker.engine.score import Scoring, plain, score_ids, score_labels

LABELS = (" positive", " negative", " not good", " not bad at all")


def prompts(count: int, shots: int = 3) -> list[Rendered]:
    examples = tuple(Shot(values["input"], answer) for values, answer in toy_rows(shots))
    return [render(Template(instruction="Judge it.", shots=examples), values) for values, _ in toy_rows(count)]


def naive(model: Any, rows: list[list[int]], labels: list[list[int]]) -> np.ndarray[Any, Any]:
    """The definition, one full sequence at a time."""
    sums = np.zeros((len(rows), len(labels)))
    for at, row in enumerate(rows):
        for index, label in enumerate(labels):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row + label])).logits[0].float().log_softmax(-1)
            sums[at, index] = sum(float(logits[len(row) + place - 1, token]) for place, token in enumerate(label))
    return sums


ids = st.lists(st.integers(0, 300), min_size=1, max_size=9)


@settings(max_examples=25, deadline=None)
@given(start=st.lists(st.integers(0, 300), max_size=12), rows=st.lists(ids, min_size=1, max_size=6), labels=st.lists(ids, min_size=1, max_size=5))
def test_scores_equal_the_naive_ones_whatever_the_shapes(loaded: Loaded, start: list[int], rows: list[list[int]], labels: list[list[int]]) -> None:
    full = [start + row for row in rows]
    found = score_ids(loaded.model, full, labels)
    expected = naive(loaded.model, full, labels)
    assert np.abs(found.sums - expected).max() < 1e-3
    assert np.abs(np.concatenate([values for _, values in plain(loaded.model, full, labels)]) - expected).max() < 1e-3
    assert found.lengths.tolist() == [len(label) for label in labels]


def test_many_packs_share_one_prefix(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score_labels(loaded, prompts(20), LABELS)
    seen: list[int] = []

    def watched(model: Any, ids: list[int], device: torch.device) -> Prefix:
        seen.append(len(ids))
        return read(model, ids, device)

    monkeypatch.setitem(score.PACK, "cpu", 80)
    monkeypatch.setattr(score, "read", watched)
    packed = score_labels(loaded, prompts(20), LABELS)
    assert np.abs(whole.sums - packed.sums).max() < 1e-3
    assert len(seen) == 1
    assert seen[0] > 40
    assert packed.seconds.shape == (20,)
    assert (packed.seconds > 0).all()


def test_the_end_token_counts_when_asked_for(loaded: Loaded) -> None:
    with_end, without = (score_labels(loaded, prompts(2), LABELS, end=end) for end in (True, False))
    assert (with_end.lengths == without.lengths + 1).all()
    assert (with_end.sums < without.sums).all()
    assert np.allclose(with_end.normalised, with_end.sums / with_end.lengths)


def test_long_prompts_lose_their_start_and_that_is_told(loaded: Loaded) -> None:
    short = score_labels(loaded, prompts(3), LABELS, max_length=30)
    assert short.cut == 3
    assert np.isfinite(short.sums).all()


def test_scoring_reports_and_stops(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(score.PACK, "cpu", 80)
    ticks: list[tuple[int, int]] = []
    score_labels(loaded, prompts(9), LABELS, progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (9, 9)
    assert len(ticks) > 2
    with pytest.raises(Stopped):
        score_labels(loaded, prompts(9), LABELS, should_stop=lambda: True)


def test_nothing_to_score_is_no_error(loaded: Loaded) -> None:
    assert score_labels(loaded, [], LABELS).sums.shape == (0, 4)


def test_a_model_with_a_sliding_window_takes_the_plain_way_and_is_right() -> None:
    set_seed(1)
    model = MistralForCausalLM(
        MistralConfig(vocab_size=310, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, sliding_window=4,
                      initializer_range=0.3)
    ).eval()  # fmt: skip
    rows, labels = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 8, 9, 4]], [[20, 21], [22]]
    assert not score._reads_trees(model)
    assert np.abs(score_ids(model, rows, labels).sums - naive(model, rows, labels)).max() < 1e-3


def test_scores_made_step_by_step_are_the_same(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = prompts(7)
    whole = score_labels(loaded, rows, LABELS).sums
    monkeypatch.setitem(score.PACK, "cpu", 40)
    work, steps = Scoring(loaded, rows, LABELS), 0
    found: dict[int, Any] = {}
    while not work.done:
        found.update(work.step())
        steps += 1
    assert steps > 1, "other work goes on between two packs"
    assert np.allclose([found[row] for row in range(7)], whole, atol=1e-4)


def test_scoring_that_nobody_waits_for_ends(loaded: Loaded) -> None:
    work = Scoring(loaded, prompts(3), LABELS)
    work.leave()
    assert work.done
