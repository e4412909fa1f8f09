"""Weights in the processor's own order: the same answers from as many bytes, and a model that cannot do with them is left as it was."""

import platform
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaMLP

from app.domain.generation import Parameters
from app.domain.rendering import Template, render
from tests.engine.conftest import toy_spec
from worker.engine import prepacked as module
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.prepacked import Prepacked, prepack
from worker.engine.reporting import NullReporter
from worker.engine.score import score_labels
from worker.engine.train import train

TEXTS = ["the plot is good", "it was not worth it, long and dull", "a"]
LABELS = [" positive", " negative", " very good"]


def layers(loaded: Loaded) -> dict[str, int]:
    kinds = [type(module).__name__ for module in loaded.model.modules() if isinstance(module, nn.Linear | Prepacked)]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def answers(loaded: Loaded) -> tuple[list[str], Any]:
    """What it writes by itself, and the likelihoods of labels."""
    prompts = [render(Template(), {"input": text}) for text in TEXTS]
    written = complete(loaded, [prepare(loaded, prompt, Parameters(max_tokens=12, min_tokens=12, stop=[])) for prompt in prompts])
    return [one.text for one in written], score_labels(loaded, prompts, LABELS).sums


def alike(one: Loaded, other: Loaded) -> None:
    (texts, sums), (same, others) = answers(one), answers(other)
    assert texts == same
    assert torch.as_tensor(sums) == pytest.approx(torch.as_tensor(others), abs=1e-4)


@pytest.mark.parametrize(("name", "ready", "left"), [("tiny", 14, 1), ("translator", 32, 1)])
def test_a_prepacked_model_answers_as_it_did_from_as_many_bytes(name: str, ready: int, left: int, request: pytest.FixtureRequest) -> None:
    """The head, which is the table of embeddings too, stays as it is."""
    folder: Path = request.getfixturevalue(name)
    plain, made = load(folder, device="cpu"), load(folder, device="cpu", answering=True)
    assert layers(plain) == {"Linear": ready + left} and layers(made) == {"Prepacked": ready, "Linear": left}
    assert made.bytes == plain.bytes and not made.model.training
    alike(made, plain)


@pytest.mark.parametrize(("method", "changes"), [("lora", {}), ("lora", {"variant": "pissa"}), ("prefix", {}), ("prompt_tuning", {}), ("p_tuning", {})])
def test_so_does_one_with_an_adapter(tiny: Path, tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    tuned = train(toy_spec(tiny, tmp_path, method, max_steps=4, **changes), NullReporter())
    plain, made = (load(tiny, adapter=tuned.artefact, device="cpu", answering=ready) for ready in (False, True))
    assert layers(made)["Prepacked"] >= 14
    alike(made, plain)


def test_dora_reckons_with_the_weights_and_keeps_them(tiny: Path, tmp_path: Path) -> None:
    tuned = train(toy_spec(tiny, tmp_path, "lora", max_steps=4, variant="dora"), NullReporter())
    plain, made = (load(tiny, adapter=tuned.artefact, device="cpu", answering=ready) for ready in (False, True))
    assert layers(made) == layers(plain)
    alike(made, plain)


def test_a_model_that_looks_into_its_weights_gets_them_back(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: LlamaMLP, states: torch.Tensor) -> Any:
        gate = nn.functional.linear(states, self.gate_proj.weight)
        return self.down_proj(self.act_fn(gate) * self.up_proj(states))

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    plain, made = load(tiny, device="cpu"), load(tiny, device="cpu", answering=True)
    assert layers(made) == layers(plain)
    assert all(torch.equal(one, other) for one, other in zip(plain.model.state_dict().values(), made.model.state_dict().values(), strict=True))
    alike(made, plain)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(0, 48), (1, 48), (2, 3, 48), (0, 7, 48)])
def test_a_prepacked_layer_is_the_layer(bias: bool, shape: tuple[int, ...]) -> None:
    layer, states = nn.Linear(48, 40, bias=bias), torch.randn(shape)
    with torch.no_grad():
        ready = Prepacked(layer)
        assert ready(states).shape == (*shape[:-1], 40) and torch.allclose(ready(states), layer(states), atol=1e-5)
        assert torch.equal(ready.plain().weight, layer.weight)


def test_no_more_than_one_layer_has_its_weight_twice(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny, device="cpu").model
    weights = [weakref.ref(module.weight) for module in model.modules() if type(module) is nn.Linear]
    there: list[int] = []

    class Counted(Prepacked):
        def __init__(self, layer: nn.Linear) -> None:
            there.append(sum(weight() is not None for weight in weights))
            super().__init__(layer)

    monkeypatch.setattr(module, "Prepacked", Counted)
    prepack(model)
    assert there == list(range(15, 1, -1)) and sum(weight() is not None for weight in weights) == 1


def test_where_nothing_can_be_prepacked_nothing_is_tried(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(model: Any) -> Any:
        raise AssertionError(model)

    monkeypatch.setattr(module, "_trial", tried)
    monkeypatch.setattr(platform, "machine", lambda: "another")
    assert layers(load(tiny, device="cpu", answering=True)) == {"Linear": 15}


def test_a_layer_that_stands_in_two_places_is_left_alone(tiny: Path) -> None:
    model = load(tiny, device="cpu").model
    first, second = model.model.layers
    second.mlp.up_proj = first.mlp.up_proj
    prepack(model)
    assert type(first.mlp.up_proj) is nn.Linear and first.mlp.up_proj is second.mlp.up_proj and type(first.mlp.gate_proj) is Prepacked


def test_a_model_that_gives_something_else_then_gets_its_weights_back(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a step over a cache looks into the weights here."""

    def forward(self: LlamaMLP, states: torch.Tensor) -> Any:
        gate = self.gate_proj(states) * (2.0 if states.shape[1] == 1 and type(self.gate_proj) is Prepacked else 1.0)
        return self.down_proj(self.act_fn(gate) * self.up_proj(states))

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    assert layers(load(tiny, device="cpu", answering=True)) == {"Linear": 15}
