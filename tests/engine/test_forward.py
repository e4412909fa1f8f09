"""The start that all examples of a batch share, read once: the same loss and the same gradients as reading it in every row."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache, GPTNeoXConfig, GPTNeoXForCausalLM, MistralConfig, MistralForCausalLM

from tests.engine.conftest import toy_spec
from tests.engine.test_methods import ASKING, BARE, NAMES, VARIANTS
from worker.engine import forward
from worker.engine.batches import Example, collate
from worker.engine.forward import answer_logits, reads_shared_starts
from worker.engine.load import load
from worker.engine.methods import METHODS
from worker.engine.train import opening_ids

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
EXAMPLES = [Example((9, 10, 11, 12, 13 + row, *range(20, 20 + row % 3)), (30 + row, 40)) for row in range(20)]


def gradients(model: Any, share: bool) -> tuple[float, dict[str, torch.Tensor]]:
    logits, targets, _ = answer_logits(model, collate(EXAMPLES, 0, share=share))
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
    assert collate(EXAMPLES, 0, share=True)["shared"] == 4
    assert reads_shared_starts(model) and model.training
    (apart, expected), (together, found) = gradients(model, share=False), gradients(model, share=True)
    assert together == pytest.approx(apart, abs=1e-5)
    assert found.keys() == expected.keys() and found
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)


def test_the_shared_start_is_really_read_in_one_row(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny, device="cpu").model
    rows: list[tuple[int, ...]] = []
    handle = model.model.layers[0].register_forward_pre_hook(lambda module, inputs: rows.append(tuple(inputs[0].shape[:2])))
    answer_logits(model, collate(EXAMPLES, 0, share=True))
    assert rows == [(1, 4), (20, 5)]
    rows.clear()
    monkeypatch.setattr(forward, "LEAST_SHARED", 20 * 4)
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


def test_other_families_share_too() -> None:
    torch.manual_seed(1)
    assert reads_shared_starts(GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)))
