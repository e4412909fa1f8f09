"""What tuning will take, from a model's headers: never another number of parameters than peft really trains."""

import json
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS

from app.domain.methods import METHODS
from app.domain.shape import PROCESS_BYTES, QUERY_VALUE, SHAPE_UNKNOWN, Micro, memory, shape_of
from app.errors import Invalid
from app.services.shapes import shape
from tests.engine.conftest import toy_spec
from tests.engine.test_methods import NAMES, VARIANTS
from worker.engine.load import load, needed_bytes, parameters
from worker.engine.methods import METHODS as HALVES
from worker.engine.reporting import NullReporter
from worker.engine.train import train
from worker.tune import footprint_of


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


@pytest.mark.parametrize(("method", "values"), [*VARIANTS, ("p_tuning", {"encoder": "lstm", "encoder_size": 24})], ids=[*NAMES, "lstm-24"])
@pytest.mark.parametrize("opening", [[], list(range(5, 28))], ids=["no-text", "text"])
def test_what_is_trained_is_what_was_said(base: Path, method: str, values: dict[str, object], opening: list[int]) -> None:
    chosen = METHODS[method].model_validate(values)
    model = HALVES[method](load(base, device="cpu").model, chosen, opening)
    found = shape(base)
    assert (chosen.trainable(found, len(opening)), found.parameters) == (parameters(model)[0], parameters(load(base, device="cpu").model)[1])


def test_query_and_value_are_the_layers_peft_takes() -> None:
    assert {family: set(names) for family, names in QUERY_VALUE.items()} == {family: set(PEFT_TARGETS[family]) for family in QUERY_VALUE}


def test_an_unknown_family_has_no_query_and_value(base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "nonesuch"}))
    lora = METHODS["lora"].model_validate({"targets": "attention"})
    with pytest.raises(Invalid, match="nonesuch"):
        lora.trainable(shape(copy))
    assert METHODS["lora"]().trainable(shape(copy)) > 0


@pytest.mark.parametrize("harm", [{"hidden_size": "wide"}, {"num_attention_heads": 0, "head_dim": None}, {"text_config": "none"}, {"vocab_size": None}])
def test_sizes_that_are_not_said_as_usual_are_one_refusal(tiny: Path, harm: dict[str, object]) -> None:
    config, tensors = json.loads((tiny / "config.json").read_text()), {"model.layers.0.mlp.up_proj.weight": [64, 32]}
    with pytest.raises(Invalid) as refused:
        shape_of(config | harm, tensors)
    with pytest.raises(Invalid) as nameless:
        shape_of(config, {"weight": [64, 32]})
    assert refused.value.code == nameless.value.code == SHAPE_UNKNOWN


@pytest.mark.parametrize("code", [SHAPE_UNKNOWN, "no_attention_targets", "model_unreadable"])
def test_a_run_that_cannot_be_reckoned_waits_for_what_holds_its_model(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def unknown(folder: Path) -> None:
        raise Invalid(code, "It is not known.")

    for reader in ("worker.tune.shape", "worker.engine.train.shape"):
        monkeypatch.setattr(reader, unknown)
    spec = toy_spec(tiny, tmp_path, device="cpu", max_steps=1)
    if code == "model_unreadable":
        with pytest.raises(Invalid, match="not known"):
            footprint_of(spec)
        return
    assert footprint_of(spec) == PROCESS_BYTES["cpu"] + needed_bytes(tiny, device="cpu")
    if code == SHAPE_UNKNOWN:
        train(spec, NullReporter())


def test_an_output_layer_of_its_own_is_a_second_table(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    rows = [config["vocab_size"], config["hidden_size"]]
    tensors = {"model.embed_tokens.weight": rows, "lm_head.weight": rows, "model.layers.0.mlp.up_proj.weight": [64, 32]}
    tied, untied = (shape_of(config | {"tie_word_embeddings": tie}, tensors) for tie in (True, False))
    assert (tied.tables, untied.tables) == (1, 2)

    def held(pieces: int) -> int:
        return memory(untied, 0, 0.0, Micro(0, 0), checkpointing=False, four_bit=False, device="cpu", pieces=pieces)

    assert held(2) - held(1) == 4 * (2 * prod(rows) + 2 * 64 * 32 // untied.blocks) - 4 * untied.parameters // 2


@pytest.mark.parametrize("damage", ["no config", "no weights", "short header", "huge header", "no json"])
def test_a_folder_that_is_no_model_is_said(base: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    weights = copy / "model.safetensors"
    harm: dict[str, Callable[[], object]] = {
        "no config": (copy / "config.json").unlink,
        "no weights": weights.unlink,
        "short header": lambda: weights.write_bytes(b"\x00"),
        "huge header": lambda: weights.write_bytes(b"\xff" * 16),
        "no json": lambda: weights.write_bytes((4).to_bytes(8, "little") + b"nope"),
    }
    harm[damage]()
    with pytest.raises(Invalid) as refused:
        shape(copy)
    assert refused.value.code == "shape_unknown"


def test_memory_grows_with_what_it_is_made_of(base: Path) -> None:
    found, lora = shape(base), METHODS["lora"]()

    def needed(tokens: int, *, checkpointing: bool = False, device: str = "cpu", four_bit: bool = False) -> int:
        size = Micro(tokens, tokens // 10)
        return memory(found, lora.trainable(found), lora.floats_per_token(found), size, checkpointing=checkpointing, four_bit=four_bit, device=device)

    assert needed(1000) < needed(2000) and needed(2000, checkpointing=True) < needed(2000)
    assert needed(0, device="cuda", four_bit=True) < needed(0, device="cuda") and needed(0, device="cpu") - needed(0) == 0
    full = METHODS["full"]()
    assert (
        memory(found, found.parameters, full.floats_per_token(found), Micro(0, 0), checkpointing=False, four_bit=False, device="cuda") >= 16 * found.parameters
    )
