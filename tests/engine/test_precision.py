"""Training in bfloat16 on a processor: the same learning, the same bits after a stop, and nothing of it where it was not asked for."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.methods import METHODS
from app.errors import Invalid
from tests.engine.conftest import multiplying, toy_spec
from worker.engine import precision
from worker.engine.artefact import check
from worker.engine.batches import Example
from worker.engine.forward import Savings
from worker.engine.load import load
from worker.engine.preflight import Measured, preflight
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.train import train


@pytest.fixture
def multiplies() -> Iterator[None]:
    with multiplying():
        yield


def curve(base: Path, folder: Path, method: str = "lora", **changes: Any) -> list[float]:
    reporter = NullReporter()
    exact = {"dropout": 0.0} if method == "lora" else {}
    train(toy_spec(base, folder, method, validation=[], learning_rate=1e-3, **exact, **changes), reporter)
    return list(reporter.points("loss").values())


@pytest.mark.usefixtures("multiplies")
@pytest.mark.parametrize("model", ["tiny", "translator"])
def test_it_learns_as_in_float32(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    base = request.getfixturevalue(model)
    rounded, exact = curve(base, tmp_path / "rounded"), curve(base, tmp_path / "exact", precision="float32")
    assert rounded != exact and rounded[:3] == pytest.approx(exact[:3], rel=0.05)  # random weights magnify what later steps differ in
    assert [check(tmp_path / name / "artefact").facts["computes_in"] for name in ("rounded", "exact")] == ["bfloat16", "float32"]


@pytest.mark.usefixtures("multiplies")
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if "checkpointing" not in method.impossible])
@pytest.mark.parametrize("model", ["tiny", "translator"])
def test_layers_are_recomputed_as_they_were_computed(model: str, method: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    base = request.getfixturevalue(model)
    again, kept = curve(base, tmp_path / "again", method, checkpointing=True), curve(base, tmp_path / "kept", method)
    assert again[:3] == pytest.approx(kept[:3], rel=0.02)


@pytest.mark.usefixtures("multiplies")
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_bit_for_bit(tiny: Path, tmp_path: Path, method: str) -> None:
    control, first, second = NullReporter(), NullReporter(stop_after=5), NullReporter()
    train(toy_spec(tiny, tmp_path / "whole", method, accumulation=None), control)
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path / "halves", method, accumulation=None), first)
    train(toy_spec(tiny, tmp_path / "halves", method, accumulation=None, resume=True), second)
    for name in ("loss", "validation_loss"):
        assert {**first.points(name), **second.points(name)} == control.points(name)


@pytest.mark.parametrize("hardware", ["amx_bf16", "avx512_bf16"])
def test_only_hardware_that_gains_by_it_and_wide_models_use_it(tiny: Path, monkeypatch: pytest.MonkeyPatch, hardware: str) -> None:
    model, full = load(tiny, device="cpu").model, METHODS["full"]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {hardware: True})
    assert not precision.is_mixed(model, full())
    monkeypatch.setattr(precision, "WIDE", model.config.hidden_size)
    assert precision.is_mixed(model, full())
    assert not precision.is_mixed(model, full(precision="float32")) and not precision.is_mixed(model, full(compile=True))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, hardware: False})
    assert not precision.is_mixed(model, full())


def test_attention_stays_exact_and_an_input_is_converted_once() -> None:
    reads, numbers = torch.nn.Linear(4, 4), torch.randn(2, 3, 4)
    with precision.computing(torch.device("cpu"), mixed=True):
        query, key = reads(numbers), reads(numbers)
        assert query.dtype == torch.bfloat16 and torch.equal(query, key)
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value=query, is_causal=True)
        before = reads(numbers)
        numbers.add_(1)
        assert not torch.equal(reads(numbers), before)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.nn.functional.scaled_dot_product_attention(query.float(), key.float(), query.float(), is_causal=True))


def test_a_frozen_weight_is_converted_once_and_anew_when_it_changed() -> None:
    reads, numbers = torch.nn.Linear(4, 4).requires_grad_(False), torch.randn(3, 4)
    made: list[torch.Tensor] = []
    for _ in range(2):
        with precision.computing(torch.device("cpu"), mixed=True):
            reads(numbers)
        made.append(precision._frozen[reads.weight][1])
    assert made[0] is made[1]
    reads.weight.add_(1)
    with precision.computing(torch.device("cpu"), mixed=True):
        changed = reads(numbers)
    assert torch.equal(changed, torch.nn.functional.linear(numbers.bfloat16(), reads.weight.bfloat16(), reads.bias.bfloat16()))
    precision.give_back()
    assert not precision._frozen


def test_what_did_not_fit_is_tried_again_in_float32(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def spoilt(model: Any, parts: Any, pad: int, savings: Savings) -> Measured:
        asked.append(savings.mixed)
        if savings.mixed:
            raise RuntimeError("could not create a primitive")
        return Measured(1.0, 8, 1_000_000)

    monkeypatch.setattr("worker.engine.preflight.measure", spoilt)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(Invalid) as error:
        preflight(
            load(tiny, device="cpu").model,
            [Example((5, 6), (7,))] * 4,
            0,
            METHODS["full"](batch_size=4),
            lambda _: None,
            lambda: None,
            savings=Savings(mixed=True),
        )
    assert error.value.detail["suggestion"] == {"accumulation": 2} and asked == [True, False]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
