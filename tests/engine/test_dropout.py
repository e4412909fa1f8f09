"""The dropout of adapters on a processor."""

from pathlib import Path

import pytest
import torch
from torch import nn

from app.domain.methods import METHODS
from worker.engine.dropout import BitDropout
from worker.engine.load import load
from worker.engine.methods import METHODS as HALVES


def test_bits_drop_as_many_numbers_as_asked_and_keep_the_sum() -> None:
    torch.manual_seed(0)
    dropout, ones = BitDropout(0.05).train(), torch.ones(1001, 999)
    kept = dropout(ones)
    share = float((kept == 0).float().mean())
    assert share == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / ones.numel()) ** 0.5 + 1 / 65536)
    assert float(kept.mean()) == pytest.approx(1.0, abs=2e-3)
    rows, columns = (kept == 0).float().mean(1), (kept == 0).float().mean(0)
    assert float((rows - 0.05).abs().max()) < 0.04 and float((columns - 0.05).abs().max()) < 0.04


def test_bits_are_torchs_own_random_numbers_and_gradients_pass_where_numbers_did() -> None:
    dropout = BitDropout(0.5).train()
    inputs = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(inputs)
    torch.manual_seed(3)
    assert torch.equal(dropout(inputs), first)
    first.sum().backward()
    assert inputs.grad is not None and torch.equal(inputs.grad != 0, first != 0)
    assert set(inputs.grad.flatten().tolist()) <= {0.0, 2.0}


def test_nothing_is_dropped_outside_of_training_or_with_a_probability_of_none() -> None:
    ones = torch.ones(64, 64)
    assert BitDropout(0.5).eval()(ones) is ones and BitDropout(0.0).train()(ones) is ones


def test_every_adapter_on_the_processor_has_it(tiny: Path) -> None:
    model = HALVES["lora"](load(tiny, device="cpu").model, METHODS["lora"](), [])
    own = [module for name, module in model.named_modules() if ".lora_dropout." in name]
    assert own and all(isinstance(module, BitDropout) and module.p == 0.05 for module in own)
    assert not any(type(module) is nn.Dropout for module in own)
