"""Label likelihoods: the packed tree gives what a pass per prompt and label would."""

from pathlib import Path
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
from worker.engine.forward import read_encoder
from worker.engine.load import Loaded, load
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


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.tuples(ids, st.sets(st.integers(0, 4), min_size=1)), min_size=1, max_size=6), labels=st.lists(ids, min_size=5, max_size=5))
def test_prompts_with_labels_of_their_own_are_scored_with_those(loaded: Loaded, rows: list[tuple[list[int], set[int]]], labels: list[list[int]]) -> None:
    full, offered = [[1, 2, *row] for row, _ in rows], [sorted(some) for _, some in rows]
    found, expected = score_ids(loaded.model, full, labels, offered=offered).sums, naive(loaded.model, full, labels)
    for at, some in enumerate(offered):
        assert np.abs(found[at, some] - expected[at, some]).max() < 1e-3
        assert np.isneginf(np.delete(found[at], some)).all(), "what is not offered has no likelihood"


def test_an_encoder_decoder_reads_a_prompt_once_and_scores_the_labels_it_is_offered(translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load(translator, device="cpu")
    rows, read = prompts(6), list[int]()

    def watched(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        read.append(len(ids))
        return read_encoder(model, ids, mask)

    monkeypatch.setattr(score, "read_encoder", watched)
    whole = score_labels(other, rows, LABELS).sums
    assert sum(read) == 6, "every prompt once, not once a label"
    offered = [[0, 2], [1], [0, 1, 2, 3], [3, 1], [0, 2], [2]]
    found = score_labels(other, rows, LABELS, offered=offered).sums
    for at, some in enumerate(offered):
        assert np.allclose(found[at, some], whole[at, some], atol=1e-4) and np.isneginf(np.delete(found[at], some)).all()


def test_prompts_asked_one_at_a_time_read_the_start_that_they_share_once(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prompts(5)
    starts, rows = [], []
    read_pack = score._read_pack

    def kept(model: Any, start: Any, device: torch.device) -> Prefix:
        starts.append(len(start))
        return read(model, start, device)

    def packed(model: Any, prefix: Prefix, own: Any, trees: Any) -> torch.Tensor:
        rows.append([len(one) for one in own])
        return read_pack(model, prefix, own, trees)

    monkeypatch.setattr(score, "read", kept)
    monkeypatch.setattr(score, "_read_pack", packed)
    took = score.alone(loaded, asked, [LABELS] * 5)
    assert len(took) == 5 and min(took) > 0 and len(starts) == 1 and starts[0] > 20
    assert len(rows) == 6 and all(len(one) == 1 and one[0] < starts[0] for one in rows), "the first one is asked twice: unmeasured, to warm up"
    assert score.alone(loaded, [], []) == []
