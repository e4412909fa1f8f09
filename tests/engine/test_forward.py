"""The start that all examples of a batch share, read once, and short examples that share a row: the same loss and gradients as row by row."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from app.domain.methods import METHODS as PARAMETERS
from tests.engine.conftest import toy_spec
from tests.engine.test_methods import ASKING, BARE, NAMES, VARIANTS
from worker.engine import batches
from worker.engine.batches import BUCKET, Example, collate, decoder_start
from worker.engine.forward import Savings, answer_logits, reads_lanes, reads_shared_starts
from worker.engine.load import load
from worker.engine.methods import METHODS
from worker.engine.train import opening_ids

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
EXAMPLES = [Example((9, 10, 11, 12, 13 + row, *range(20, 20 + row % 3)), (30 + row, 40)) for row in range(20)]


MIXED = [Example((9, 10, 11, *range(12, 12 + length)), (30 + length, 40)) for length in (1, 20, 3, 2, 9, 4, 12, 1)]
"""Of lengths of which several share a row."""


def gradients(model: Any, examples: list[Example] = EXAMPLES, **ways: bool) -> tuple[float, dict[str, torch.Tensor]]:
    logits, targets, _ = answer_logits(model, collate(examples, 0, **ways))
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(loss.detach()), found


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_a_start_read_once_gives_the_same_loss_and_gradients(tiny: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    dropout = {"dropout": 0.0} if method == "lora" else {}
    spec = toy_spec(tiny, tmp_path, method, template=BARE, opening=ASKING, **(values | dropout))
    loaded = load(tiny, device="cpu")
    model = METHODS[method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec)).train()
    assert collate(EXAMPLES, 0, share=True)["start"].tolist() == [[9, 10, 11, 12]]
    assert reads_shared_starts(model) and model.training
    same(gradients(model), gradients(model, share=True))


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_examples_that_share_a_row_have_the_same_loss_and_gradients(tiny: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    dropout = {"dropout": 0.0} if method == "lora" else {}
    spec = toy_spec(tiny, tmp_path, method, template=BARE, opening=ASKING, **(values | dropout))
    loaded = load(tiny, device="cpu")
    model = METHODS[method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec)).train()
    assert reads_lanes(model, 100) and model.training
    assert len(collate(MIXED, 0, pack=True)["input_ids"]) < len(MIXED)
    alone = gradients(model, MIXED)
    same(alone, gradients(model, MIXED, share=True, pack=True))
    if not spec.parameters.soft:
        same(alone, gradients(model, MIXED, pack=True))


def same(expected: tuple[float, dict[str, torch.Tensor]], found: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1].keys() == expected[1].keys() and found[1]
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=2e-5, rtol=1e-3)


def test_each_logit_knows_its_example_wherever_that_lies(tiny: Path) -> None:
    model = load(tiny, device="cpu").model
    logits, targets, owners = answer_logits(model, collate(MIXED, 0, pack=True))
    assert len(logits) == len(targets) == 2 * len(MIXED)
    for row, example in enumerate(MIXED):
        assert tuple(targets[owners == row].tolist()) == example.answer


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_nothing_but_an_answers_tokens_is_projected_onto_the_vocabulary(tiny: Path, translator: Path, tmp_path: Path, family: str, method: str) -> None:
    base = tiny if family == "decoder" else translator
    loaded, spec = load(base, device="cpu"), toy_spec(base, tmp_path, method)
    model = METHODS[method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec))
    rows: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: rows.append(inputs[0].shape[:-1].numel()))
    examples = [replace(example, answer=(*range(30, 31 + number),)) for number, example in enumerate(MIXED)]
    for ways in ({}, {"share": True}, {"share": True, "pack": True}) if family == "decoder" else ({},):
        logits, targets, _ = answer_logits(model, collate(examples, 0, decoder_start(model), **ways))
        assert rows.pop() == len(logits) == len(targets) == sum(len(example.answer) for example in examples)
        assert rows in ([], [1]), "of a start that is read before them a single position"
        rows.clear()


@pytest.mark.parametrize("named", [lambda model: None, lambda model: model.encoder.block[0].layer[0].SelfAttention.q], ids=["none", "another"])
def test_an_output_layer_that_is_not_where_it_is_said_to_be_is_no_harm(translator: Path, monkeypatch: pytest.MonkeyPatch, named: Callable[[Any], Any]) -> None:
    model = load(translator, device="cpu").model
    batch = collate(MIXED, 0, decoder_start(model))
    logits, *_ = answer_logits(model, batch)
    monkeypatch.setattr(model, "get_output_embeddings", lambda: named(model))
    assert torch.allclose(answer_logits(model, batch)[0], logits, atol=1e-5)


def test_what_a_run_may_save_follows_from_model_and_parameters(tiny: Path, translator: Path) -> None:
    decoder, both = (load(folder, device="cpu").model for folder in (tiny, translator))
    chosen = {name: METHOD() for name, METHOD in PARAMETERS.items()}
    assert Savings.of(decoder, chosen["lora"], 100) == Savings(share=True, pack=True)
    again = Savings.of(decoder, chosen["lora"].model_copy(update={"checkpointing": True}), 100)
    assert again == Savings(pack=True)
    assert Savings.of(decoder, chosen["lora"], 100).under(chosen["lora"].model_copy(update={"devices": 2})) == again
    assert Savings.of(decoder, chosen["prompt_tuning"].model_copy(update={"devices": 2}), 100) == Savings()
    assert Savings.of(both, chosen["lora"], 100) == Savings(bucket=BUCKET)


def test_the_shared_start_is_really_read_in_one_row(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny, device="cpu").model
    rows: list[tuple[int, ...]] = []
    handle = model.model.layers[0].register_forward_pre_hook(lambda module, inputs: rows.append(tuple(inputs[0].shape[:2])))
    answer_logits(model, collate(EXAMPLES, 0, share=True))
    assert rows == [(1, 4), (20, 5)]
    rows.clear()
    monkeypatch.setattr(batches, "LEAST_SHARED", 20 * 4 + 1)
    answer_logits(model, collate(EXAMPLES, 0, share=True))
    handle.remove()
    assert rows == [(20, 9)]


def test_large_logits_do_not_hide_that_a_model_shares(tiny: Path) -> None:
    model = load(tiny, device="cpu").model
    with torch.no_grad():
        model.model.norm.weight.mul_(1000.0)
        assert answer_logits(model, collate(EXAMPLES, 0))[0].abs().max() > 1000.0
    assert reads_shared_starts(model)


def test_an_encoder_decoder_is_read_row_by_row(translator: Path) -> None:
    assert not reads_shared_starts(load(translator, device="cpu").model)


def test_a_model_whose_cache_cannot_be_repeated_is_read_row_by_row(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny, device="cpu").model
    assert reads_shared_starts(model)
    monkeypatch.setattr(DynamicCache, "batch_repeat_interleave", lambda *_: None)  # what a cache does that keeps a state instead of keys
    assert not reads_shared_starts(model)


def test_what_a_window_has_left_behind_is_not_read() -> None:
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=3)).eval()
    assert reads_shared_starts(model)
    with torch.no_grad():
        apart, together = (answer_logits(model, collate(EXAMPLES, 0, share=share))[0] for share in (False, True))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-3)


def test_a_row_is_shared_only_where_no_example_is_longer_than_the_window() -> None:
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=60)).eval()
    assert reads_lanes(model, 60) and not reads_lanes(model, 61)


def test_other_families_share_too() -> None:
    torch.manual_seed(1)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL))
    assert reads_shared_starts(model) and reads_lanes(model, 100)


@pytest.mark.parametrize(
    "family",
    [
        partial(BloomForCausalLM, BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)),
        partial(MptForCausalLM, MptConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4, max_seq_len=128)),
        partial(GPTNeoForCausalLM, GPTNeoConfig(vocab_size=64, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["local"], 2]], window_size=40)),
    ],
    ids=["bloom", "mpt", "gpt_neo"],
)
def test_a_family_with_windows_or_distances_of_its_own_is_read_row_by_row(family: Callable[[], Any]) -> None:
    torch.manual_seed(1)
    model = family()
    assert not reads_lanes(model, 30) and Savings.of(model, PARAMETERS["lora"](), 30).bucket == BUCKET


def test_a_start_and_a_row_that_are_both_shared_are_tried_together() -> None:
    torch.manual_seed(1)
    model = MptForCausalLM(MptConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4, max_seq_len=128, initializer_range=0.5)).eval()
    model._supports_attention_backend = True  # as a family would say that it is not true of
    assert not reads_lanes(model, 30)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_kind_of_attention_takes_the_mask(attention: str) -> None:
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, attn_implementation=attention))
    assert reads_lanes(model, 100)


def test_a_model_that_ignores_how_examples_lie_is_read_row_by_row(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny, device="cpu").model
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, logits_to_keep, **ignored: forward(input_ids=input_ids, logits_to_keep=logits_to_keep))
    assert not reads_lanes(model, 100)
