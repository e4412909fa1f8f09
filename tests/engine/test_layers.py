"""Recomputing and compiling change what a step costs, and nothing of what it learns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.domain.methods import METHODS
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from worker.engine import forward, layers
from worker.engine.batches import Example, collate, decoder_start
from worker.engine.load import load
from worker.engine.methods import METHODS as HALVES
from worker.engine.preflight import answer_loss
from worker.engine.reporting import NullReporter
from worker.engine.train import train

EXAMPLES = [Example(tuple(range(9, 9 + 4 * number)), (20, 21)) for number in range(2, 9)]
RECOMPUTED = [name for name, method in METHODS.items() if "checkpointing" not in method.impossible]


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


def step(base: Path, method: str, **values: object) -> tuple[float, float, int]:
    """(loss, norm of the gradients, bytes kept for the way back) of one pass."""
    parameters = METHODS[method].model_validate(values)
    torch.manual_seed(3)
    model = HALVES[method](load(base, device="cpu").model, parameters, [9, 10, 11])
    layers.arrange(model.train(), parameters)
    kept: dict[int, int] = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = answer_loss(model, collate(EXAMPLES, 0, decoder_start(model)), 14)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = sum(float(tensor.grad.square().sum()) for tensor in model.parameters() if tensor.grad is not None)
    return float(loss.detach()), norm**0.5, sum(kept.values())


@pytest.mark.parametrize("method", RECOMPUTED)
def test_recomputing_keeps_less_and_changes_no_gradient(base: Path, method: str) -> None:
    loss, norm, kept = step(base, method)
    again, same, less = step(base, method, checkpointing=True)
    assert again == pytest.approx(loss, rel=1e-5) and same == pytest.approx(norm, rel=1e-3)
    assert less < kept / 2


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Layers are traced and differentiated by the compiler, without its minute of C++."""
    monkeypatch.setattr(layers, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


COMPILED = [
    pytest.param(method, again, id=f"{method}{'-recomputed' * again}") for method in METHODS for again in (False, True) if method in RECOMPUTED or not again
]
LOOKED_AT = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # what the compiler looks at while it traces


@LOOKED_AT
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("method", "again"), COMPILED)
def test_compiled_layers_change_no_gradient_under_any_method(tiny: Path, method: str, again: bool) -> None:
    loss, norm, _ = step(tiny, method)
    compiled, same, _ = step(tiny, method, compile=True, checkpointing=again)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert compiled == pytest.approx(loss, rel=1e-5) and same == pytest.approx(norm, rel=1e-3)


@LOOKED_AT
@pytest.mark.usefixtures("traced")
def test_compiled_layers_give_the_same_losses(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "reads_lanes", lambda *_: False)  # compiled layers read examples one by one: the same steps for both
    losses: list[list[float]] = []
    for compiled in (False, True):
        reporter = NullReporter()
        train(toy_spec(tiny, tmp_path / str(compiled), max_steps=3, dropout=0.0, evaluations=1, compile=compiled), reporter)
        losses.append([*reporter.points("loss").values(), *reporter.points("validation_loss").values()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_validation_runs_the_layers_as_they_are_written(tiny: Path) -> None:
    compiled: list[Any] = []

    def watch(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = load(tiny, device="cpu").model
    for layer in layers._layers(model):
        layer.compile(backend=watch)
    assert layers.is_compiled(model)
    with layers.uncompiled(model), torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert not compiled
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    torch._dynamo.reset()
    assert compiled


def test_a_prefix_cannot_be_recomputed_and_says_why(tiny: Path) -> None:
    with pytest.raises(ValidationError, match="cache"):
        METHODS["prefix"].model_validate({"checkpointing": True})
    loose = METHODS["prefix"]().model_copy(update={"checkpointing": True})
    model = HALVES["prefix"](load(tiny, device="cpu").model, loose, []).train()
    layers.arrange(model, loose)
    with pytest.raises(RuntimeError):  # the reason for the refusal: should peft mend it, this fails and the refusal can go
        answer_loss(model, collate(EXAMPLES, 0), 14)


def test_an_architecture_without_recomputing_is_refused(tiny: Path) -> None:
    model = load(tiny, device="cpu").model
    model.supports_gradient_checkpointing = False
    with pytest.raises(Invalid, match="no activation checkpointing"):
        layers.recompute(model)
